//! What must hold for any bytes that the store's decoders read; a panic is a finding, and what is returned is whether they were accepted. Most of the bytes stand for pieces of a file that are
//! put together with checksums that fit, so that what is behind the checksums is fuzzed, too.

#![allow(dead_code)] // every target uses its own part

use std::fs;
use std::path::Path;

use grps::store::decoders;

/// The first seq of the segment.
const FIRST: u64 = 40;

/// The journal's format, from outside.
const SEGMENT_HEADER: usize = 64;
const HEAD: usize = 12;
const ALIGN: usize = 8;
const MIN_RECORD: u64 = 40;
const MIN_PAYLOAD: usize = 28;

/// Bytes of a file that is put together, at most.
const MOST: usize = 1 << 20;

/// What decodes says all that was encoded, but for zeros at its end.
pub fn journal_record(payload: &[u8]) -> bool {
    let Some(again) = decoders::record(payload) else { return false };
    let common = again.len().min(payload.len());
    assert_eq!(again[..common], payload[..common]);
    assert!(
        [&again[common..], &payload[common..]].iter().all(|rest| rest.len() < ALIGN && rest.iter().all(|b| *b == 0))
    );
    if (HEAD + payload.len()).is_multiple_of(ALIGN) {
        assert_eq!(again.len(), payload.len());
    }
    true
}

/// A part of a file: what to do, a number, and bytes.
struct Piece<'a> {
    what: u8,
    number: u8,
    bytes: &'a [u8],
}

/// Cuts `data`: what (low 3 bits) and number (the rest), how many bytes, the bytes.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let [tag, low, high, rest @ ..] = data else { return None };
        let (bytes, rest) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
        data = rest;
        Some(Piece { what: tag & 7, number: tag >> 3, bytes })
    })
}

/// A walk finds exactly the records that it can: each at its place, with its seq, and nothing else.
pub fn journal_segment(data: &[u8]) -> bool {
    let mut out = vec![0; SEGMENT_HEADER];
    let mut next = FIRST;
    for Piece { what, number, bytes } in pieces(data) {
        match what {
            0 => out.extend_from_slice(bytes),
            // What was never written, or what a lost page reads as.
            1 => out.resize(out.len() + (bytes.len() << (number % 12)), 0),
            // A flipped bit somewhere.
            2 => {
                let at = bytes.iter().fold(0, |at: usize, byte| at.wrapping_mul(256) + usize::from(*byte)) % out.len();
                out[at] ^= 1 << (number % 8);
            }
            // A record of what was here before.
            3 => out.extend_from_slice(&decoders::sealed(FIRST - 1, &payload(next, bytes))),
            _ => {
                out.resize(out.len().next_multiple_of(ALIGN), 0);
                next += u64::from(number);
                out.extend_from_slice(&decoders::sealed(FIRST, &payload(next, bytes)));
                next += 1;
            }
        }
        if out.len() > MOST {
            break;
        }
    }
    let found = decoders::segment(&out, FIRST).expect("memory reads");
    assert_eq!(found, walked(&records(&out)));
    !found.is_empty()
}

/// A payload of a record with that seq: `bytes` behind it, and zeros until it is long enough and ends where a record can.
fn payload(seq: u64, bytes: &[u8]) -> Vec<u8> {
    let mut payload = [&seq.to_le_bytes()[..], bytes].concat();
    let length = payload.len().max(MIN_PAYLOAD);
    payload.resize((length + 4).next_multiple_of(ALIGN) - 4, 0);
    payload
}

/// A sound record of a segment.
struct Record<'a> {
    offset: u64,
    seq: u64,
    payload: &'a [u8],
}

/// Every sound record of a segment, wherever it stands.
fn records(segment: &[u8]) -> Vec<Record<'_>> {
    let mut salt = crc32fast::Hasher::new();
    salt.update(&decoders::STORE);
    salt.update(&FIRST.to_le_bytes());
    let record = |offset: usize| {
        let (len, rest) = segment[offset..].split_first_chunk::<4>()?;
        let (mark, rest) = rest.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*len) as usize;
        let payload = rest.get(..length).filter(|_| length >= 22 && (HEAD + length).is_multiple_of(ALIGN))?;
        let sum = |parts: &[&[u8]]| {
            let mut sum = salt.clone();
            parts.iter().for_each(|part| sum.update(part));
            sum.finalize().to_le_bytes()
        };
        let seq = payload.first_chunk()?;
        let sound = sum(&[len, seq]) == *mark && sum(&[len, mark, payload]) == *crc;
        sound.then(|| Record { offset: offset as u64, seq: u64::from_le_bytes(*seq), payload })
    };
    (SEGMENT_HEADER..segment.len()).step_by(ALIGN).filter_map(record).collect()
}

/// What a walk must find, by the book: the record where it stands if it is the next one; else the first one further on whose seq is plausible,
/// given how many records fit between.
fn walked(records: &[Record<'_>]) -> Vec<(u64, u64)> {
    let (mut offset, mut expected, mut found) = (SEGMENT_HEADER as u64, FIRST, Vec::new());
    loop {
        let here = records.iter().find(|record| record.offset == offset && record.seq == expected);
        if let Some(record) = here.filter(|record| decoders::record(record.payload).is_some()) {
            found.push((offset, expected));
            offset += (HEAD + record.payload.len()) as u64;
            expected += 1;
            continue;
        }
        let plausible = |record: &&Record<'_>| {
            let lost = record.offset.checked_sub(offset).filter(|lost| *lost > 0);
            lost.is_some_and(|lost| record.seq > expected && record.seq - expected <= lost / MIN_RECORD + 1)
        };
        let Some(later) = records.iter().find(plausible) else { return found };
        (offset, expected) = (later.offset, later.seq);
    }
}

/// Reading, proving and inspecting a file agree on what it is.
pub fn checkpoint(data: &[u8], path: &Path) -> bool {
    let Some((mode, rest)) = data.split_first() else { return false };
    let file = if mode & 1 == 0 { rest.to_vec() } else { assembled(rest) };
    fs::write(path, file).expect("writing the file");
    let read = decoders::read_checkpoint(path);
    let inspected = decoders::inspect_checkpoint(path);
    let verified = decoders::verify_checkpoint(path);
    match &verified {
        Ok(proven) => assert_eq!(Some(proven), read.as_ref().ok()),
        Err(error) => assert!(error.code() == "checkpoint.miscounted" || read.is_err(), "{error:?}"),
    }
    if let Ok(read) = read {
        assert_eq!(Some(read), inspected.ok());
    }
    verified.is_ok()
}

/// The file of these pieces: each is a chunk, or something done to the file. The header, checksums and the footer fit.
fn assembled(data: &[u8]) -> Vec<u8> {
    let mut out = b"grps.ckp".to_vec();
    out.extend([1, 0, 2, 0, 0]); // format, schema, no lock
    out.extend([7; 16 + 8]);
    out.extend(FIRST.to_le_bytes());
    out.extend([0; 4 + 16 + 16]);
    let crc = crc32fast::hash(&out);
    out.extend(crc.to_le_bytes());
    let (mut index, mut last) = (0u64, out.len());
    for Piece { what, number, bytes } in pieces(data) {
        let (kind, raw, stored) = match what {
            // A chunk of rows, entries or the trailer as it should be.
            1..=3 => (what, bytes.len(), lz4_flex::block::compress(bytes)),
            // One that decompresses to a lot.
            4 => {
                let raw = bytes.repeat(1 << (number % 12));
                (1 + number % 3, raw.len(), lz4_flex::block::compress(&raw))
            }
            // One that does not decompress, or to something else than it says.
            5 => (number % 5, bytes.len() << (number % 12), bytes.to_vec()),
            // Bytes between chunks.
            6 => {
                out.extend_from_slice(bytes);
                continue;
            }
            // An index that is not the next.
            _ => {
                index = index.wrapping_add(u64::from(number)).wrapping_sub(16);
                continue;
            }
        };
        last = out.len();
        let head = [&[kind][..], &(raw as u32).to_le_bytes(), &(stored.len() as u32).to_le_bytes()].concat();
        let mut sum = crc32fast::Hasher::new_with_initial(crc);
        [&index.to_le_bytes()[..], &head, &stored].iter().for_each(|part| sum.update(part));
        out.extend(head);
        out.extend(sum.finalize().to_le_bytes());
        out.extend(stored);
        index = index.wrapping_add(1);
        if out.len() > MOST {
            break;
        }
    }
    let mut footer = b"grps.end".to_vec();
    footer.extend((last as u64).to_le_bytes());
    footer.extend(index.wrapping_sub(1).to_le_bytes());
    footer.extend(crc.to_le_bytes());
    footer.extend(crc32fast::hash(&footer).to_le_bytes());
    out.extend(footer);
    out
}

/// What is opened is what was wrapped, and the engine's own rows say all that they were given.
pub fn envelope(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else { return false };
    let (key, rest) = rest.split_at(usize::from(mode >> 2).min(rest.len()));
    match mode & 3 {
        0 => decoders::unwrapped(key, rest, &[rest, rest]).is_ok_and(|value| {
            let (again, part) = decoders::wrapped(key, &value);
            assert!(part.is_some() || again == rest);
            true
        }),
        1 => {
            // Values of every size, many of which take parts.
            let value = rest.repeat(1 + usize::from(*mode >> 2) * 8);
            let value = &value[..value.len().min(MOST)];
            let (stored, part) = decoders::wrapped(key, value);
            let parts: Vec<&[u8]> = part.map_or(Vec::new(), |size| value.chunks(size).collect());
            assert_eq!(decoders::unwrapped(key, &stored, &parts).expect("what was wrapped opens"), value);
            if let Some(fewer) = parts.len().checked_sub(1) {
                assert!(decoders::unwrapped(key, &stored, &parts[..fewer]).is_err());
            }
            true
        }
        2 => decoders::census(rest).is_some_and(|again| {
            assert!(rest.starts_with(&again));
            true
        }),
        _ => decoders::meta(rest).is_some_and(|again| {
            assert_eq!(decoders::meta(&again).as_ref(), Some(&again));
            true
        }),
    }
}
