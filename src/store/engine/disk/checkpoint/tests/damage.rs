//! Nothing but what was written is taken for good, and no bytes make a reader panic or ask for more memory than a chunk can have.

use std::fs;
use std::ops::Range;

use super::*;

const HEADER: usize = 85;
const CHUNK_HEAD: usize = 13;
const FOOTER: usize = 32;

/// The chunks of a file, from outside: the format's documentation in code.
fn chunks(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut chunks) = (HEADER, Vec::new());
    while at < bytes.len() - FOOTER {
        let stored = u32::from_le_bytes(bytes[at + 5..at + 9].try_into().unwrap()) as usize;
        chunks.push(at..at + CHUNK_HEAD + stored);
        at += CHUNK_HEAD + stored;
    }
    assert_eq!(at, bytes.len() - FOOTER);
    chunks
}

/// A file of these chunks with a footer that fits them.
fn assemble(header: &[u8], chunks: &[&[u8]]) -> Vec<u8> {
    let mut out = [header, &chunks.concat()].concat();
    let trailer = (out.len() - chunks.last().map_or(0, |chunk| chunk.len())) as u64;
    let mut footer = b"grps.end".to_vec();
    footer.extend(trailer.to_le_bytes());
    footer.extend((chunks.len() as u64).saturating_sub(1).to_le_bytes());
    footer.extend_from_slice(&header[HEADER - 4..]);
    footer.extend(crc32fast::hash(&footer).to_le_bytes());
    out.append(&mut footer);
    out
}

/// A chunk with a CRC that fits, whatever it says.
fn chunk(header: &[u8], index: u64, kind: u8, raw: u32, stored: &[u8]) -> Vec<u8> {
    let mut head = vec![kind];
    head.extend(raw.to_le_bytes());
    head.extend((stored.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(u32::from_le_bytes(header[HEADER - 4..].try_into().unwrap()));
    [&index.to_le_bytes()[..], &head, stored].iter().for_each(|part| crc.update(part));
    head.extend(crc.finalize().to_le_bytes());
    [&head, stored].concat()
}

fn set_footer(bytes: &mut [u8], offset: u64, index: u64) {
    let start = bytes.len() - FOOTER;
    let footer = &mut bytes[start..];
    footer[8..16].copy_from_slice(&offset.to_le_bytes());
    footer[16..24].copy_from_slice(&index.to_le_bytes());
    let crc = crc32fast::hash(&footer[..28]).to_le_bytes();
    footer[28..].copy_from_slice(&crc);
}

fn small_file(path: &Path, lock: Option<&Lock>) -> Vec<u8> {
    Content::small().write(path, lock);
    fs::read(path).unwrap()
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_dir, path) = file();
    for lock in [None, Some(key_lock())] {
        let good = small_file(&path, lock.as_ref());
        let mut codes = BTreeMap::new();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            let code = check(&path, lock.as_ref()).err().map(|error| error.code().to_owned());
            *codes.entry(code.unwrap_or_else(|| panic!("bit {bit} was not noticed"))).or_insert(0) += 1;
            assert!(items(&path, lock.as_ref()).is_err());
            let _ = inspect(&path);
        }
        // Damage is not taken for a wrong key, and damage that is not in the first bytes not for anything else.
        assert!(!codes.contains_key("checkpoint.wrong_key"), "{codes:?}");
        assert_eq!((codes["checkpoint.foreign"], codes["checkpoint.newer"]), (64, 15));
        println!("{} of {} flipped bits were noticed: {codes:?}", codes.values().sum::<usize>(), good.len() * 8);
    }
}

#[test]
fn every_cut_is_noticed() {
    let (_dir, path) = file();
    for lock in [None, Some(key_lock())] {
        let good = small_file(&path, lock.as_ref());
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            let code = refused(&path, lock.as_ref());
            assert_eq!(code, "checkpoint.cut_short", "cut to {length}");
            assert_eq!(inspect(&path).unwrap_err().code(), "checkpoint.cut_short", "cut to {length}");
        }
        for more in [&b"\0"[..], &good, &good[good.len() - FOOTER..]] {
            fs::write(&path, [&good, more].concat()).unwrap();
            assert_eq!(refused(&path, lock.as_ref()), "checkpoint.damaged");
        }
        println!("{} cuts were noticed", good.len());
    }
}

#[test]
fn chunks_in_another_order_are_noticed() {
    let (_dir, path) = file();
    for lock in [None, Some(key_lock())] {
        Content::large().write(&path, lock.as_ref());
        let good = fs::read(&path).unwrap();
        let header = &good[..HEADER];
        let parts: Vec<&[u8]> = chunks(&good).into_iter().map(|range| &good[range]).collect();
        assert!(parts.len() > 8);
        assert!(assemble(header, &parts) == good);

        let mut others = Vec::new();
        for a in 0..parts.len() {
            let mut dropped = parts.clone();
            dropped.remove(a);
            others.push(dropped);
            for b in 0..parts.len() {
                let mut repeated = parts.clone();
                repeated.insert(b, parts[a]);
                others.push(repeated);
                let mut swapped = parts.clone();
                swapped.swap(a, b);
                others.push(swapped);
                let mut replaced = parts.clone();
                replaced[b] = parts[a];
                others.push(replaced);
            }
            others.push(parts[..a].to_vec());
        }
        others.retain(|other| *other != parts);
        for other in &others {
            fs::write(&path, assemble(header, other)).unwrap();
            let code = refused(&path, lock.as_ref());
            assert!(matches!(&*code, "checkpoint.damaged" | "checkpoint.cut_short"), "{code}");
        }
        println!("{} other orders of {} chunks were noticed", others.len(), parts.len());
    }
}

#[test]
fn chunks_of_another_file_are_noticed() {
    let (_dir, path) = file();
    for lock in [None, Some(key_lock())] {
        let write = |created| {
            let mut writer = Writer::create(&path, Head { created, ..HEAD }, lock.as_ref()).unwrap();
            writer.row(b"aa", b"the same").unwrap();
            let census = [(Bytes::from("aa"), Bytes::from("the same"))].into_iter().collect();
            finish(writer, &path, HEAD.start, &census);
            fs::read(&path).unwrap()
        };
        let (one, other) = (write(Time(1)), write(Time(2)));
        let parts = chunks(&one);
        assert_eq!(parts.len(), 2);
        for part in parts {
            let mut spliced = one.clone();
            spliced[part.clone()].copy_from_slice(&other[part]);
            fs::write(&path, spliced).unwrap();
            assert_eq!(refused(&path, lock.as_ref()), "checkpoint.damaged");
        }
    }
}

#[test]
fn a_change_with_a_checksum_that_fits_does_not_pass_the_seal() {
    let (_dir, path) = file();
    let good = small_file(&path, Some(&key_lock()));
    let parts = chunks(&good);
    for (index, part) in parts.iter().enumerate() {
        let bytes = &good[part.clone()];
        let raw = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
        let mut stored = bytes[CHUNK_HEAD..].to_vec();
        stored[0] ^= 1;
        let changed = chunk(&good[..HEADER], index as u64, bytes[0], raw, &stored);
        let mut all: Vec<&[u8]> = parts.iter().map(|part| &good[part.clone()]).collect();
        all[index] = &changed;
        fs::write(&path, assemble(&good[..HEADER], &all)).unwrap();
        let error = check(&path, Some(&key_lock())).unwrap_err();
        assert_eq!(error.code(), "checkpoint.damaged");
        assert!(error.detail().contains("without the key"), "{}", error.detail());
    }
}

#[test]
fn a_newer_format_and_a_foreign_file_are_told_apart() {
    let (_dir, path) = file();
    let mut bytes = small_file(&path, None);
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..HEADER - 4]).to_le_bytes();
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc);
    fs::write(&path, &bytes).unwrap();
    let error = check(&path, None).unwrap_err();
    assert_eq!((error.code(), inspect(&path).unwrap_err().code()), ("checkpoint.newer", "checkpoint.newer"));
    assert!(error.detail().contains("format 2") && error.hint_text().unwrap().contains("newer grps"));
    fs::write(&path, "PK\u{3}\u{4} and so on").unwrap();
    assert_eq!(refused(&path, None), "checkpoint.foreign");
    fs::remove_file(&path).unwrap();
    assert_eq!(refused(&path, None), "checkpoint.missing");
    assert_eq!(inspect(&path).unwrap_err().code(), "checkpoint.missing");
}

#[test]
fn inspecting_does_not_read_the_middle() {
    let (_dir, path) = file();
    let info = Content::large().write(&path, None);
    let mut bytes = fs::read(&path).unwrap();
    let trailer = chunks(&bytes).pop().unwrap();
    bytes[HEADER..trailer.start].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(inspect(&path).unwrap(), info);
    assert_eq!(refused(&path, None), "checkpoint.damaged");
}

#[test]
fn hostile_lengths_are_refused_before_memory_is_taken() {
    let (_dir, path) = file();
    let good = small_file(&path, None);
    let header = &good[..HEADER];
    let compressed = |raw: &[u8]| lz4_flex::block::compress(raw);
    let max = format::CHUNK as u32 + 6 + 384 + MAX_VALUE as u32;
    let of = |kind, raw: &[u8]| chunk(header, 0, kind, raw.len() as u32, &compressed(raw));
    let row = |key: u16, value: u32| [&key.to_le_bytes()[..], &value.to_le_bytes(), b"aa", b"b"].concat();
    let mut huge_stored = chunk(header, 0, 1, 10, b"0123456789");
    huge_stored[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
    let hostile = [
        chunk(header, 0, 1, u32::MAX, b"x"),
        chunk(header, 0, 1, max + 1, b"x"),
        chunk(header, 0, 3, 1 << 20, b"x"),
        chunk(header, 0, 1, max, b"x"),
        chunk(header, 0, 1, 0, b"x"),
        chunk(header, 0, 1, 10, b""),
        chunk(header, 0, 1, 10, &[0; 200]),
        chunk(header, 0, 0, 10, b"x"),
        chunk(header, 0, 4, 10, b"x"),
        huge_stored,
        of(1, &row(2, 2)),
        of(1, &row(3, 1)),
        of(1, &row(u16::MAX, 1)),
        of(1, &row(2, u32::MAX - 1)),
        of(1, &row(2, u32::MAX)),
        of(1, &[row(2, 1), row(2, 1)].concat()),
        of(2, &[&u32::MAX.to_le_bytes()[..], &[0; 30]].concat()),
        of(2, &[&18u32.to_le_bytes()[..], &41u64.to_le_bytes(), &[0; 8], &[0xFF; 2]].concat()),
        of(2, &[&22u32.to_le_bytes()[..], &41u64.to_le_bytes(), &[0; 10], &[0xFF; 4]].concat()),
        of(2, &[&20u32.to_le_bytes()[..], &43u64.to_le_bytes(), &[0; 12]].concat()),
        of(3, &[0; 10]),
        of(3, &[&40u64.to_le_bytes()[..], &[0; 24], &[0xFF, 0xFF]].concat()),
        of(3, &[&41u64.to_le_bytes()[..], &[0; 26]].concat()),
        of(3, &[&40u64.to_le_bytes()[..], &[0; 8], &1u64.to_le_bytes(), &[0; 10]].concat()),
        of(3, &[&40u64.to_le_bytes()[..], &[0; 16], &1u64.to_le_bytes(), &[0; 2]].concat()),
    ];
    for (n, chunk) in hostile.iter().enumerate() {
        fs::write(&path, assemble(header, &[chunk])).unwrap();
        let code = refused(&path, None);
        assert!(matches!(&*code, "checkpoint.damaged" | "checkpoint.cut_short"), "chunk {n}: {code}");
        let _ = inspect(&path);
    }
    // With lengths that fit the same is taken, so it is the lengths that are refused.
    fs::write(&path, assemble(header, &[&of(1, &row(2, 1))])).unwrap();
    let mut reader = Reader::open(&path, None).unwrap();
    assert_eq!(reader.next().unwrap(), Some(Item::Row("aa".into(), "b".into())));
    let end = [&40u64.to_le_bytes()[..], &[0; 26]].concat();
    fs::write(&path, assemble(header, &[&of(3, &end)])).unwrap();
    assert_eq!(check(&path, None).unwrap().rows, 0);
    // A trailer that is in order but at an index where no chunk can be.
    let last = chunk(header, u64::MAX, 3, end.len() as u32, &compressed(&end));
    let mut bytes = [header, &last, &good[good.len() - FOOTER..]].concat();
    set_footer(&mut bytes, HEADER as u64, u64::MAX);
    fs::write(&path, &bytes).unwrap();
    assert!(inspect(&path).is_ok() && check(&path, None).is_err());
    for (offset, index) in [(0, 0), (84, 0), (85, u64::MAX), (u64::MAX, 0), (1 << 40, 0), (good.len() as u64 - 1, 0)] {
        let mut bytes = good.clone();
        set_footer(&mut bytes, offset, index);
        fs::write(&path, &bytes).unwrap();
        assert!(inspect(&path).is_err() && check(&path, None).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        kind in 0u8..5, raw in 0u32..2000, stored in prop::collection::vec(any::<u8>(), 0..300), whole in any::<bool>(),
    ) {
        let (_dir, path) = file();
        let good = small_file(&path, None);
        let header = &good[..HEADER];
        let bytes = if whole {
            assemble(header, &[&chunk(header, 0, kind, stored.len() as u32, &lz4_flex::block::compress(&stored))])
        } else {
            assemble(header, &[&chunk(header, 0, kind, raw, &stored)])
        };
        fs::write(&path, bytes).unwrap();
        prop_assert!(check(&path, None).is_err());
        prop_assert!(items(&path, None).is_err());
        let _ = inspect(&path);
        fs::write(&path, &stored).unwrap();
        prop_assert!(check(&path, None).is_err());
    }
}
