//! What is written is read and counted as it was.

use crate::store::engine::disk::journal::Entry;
use std::fs;

use super::*;
use crate::store::engine::{MAX_GROUP_BYTES, MAX_GROUP_OPS};
use crate::store::table::MAX_KEY;

proptest! {
    #[test]
    fn a_file_reads_back_as_it_was_written(content in contents(), locked in any::<bool>()) {
        let (_dir, path) = file();
        let lock = locked.then(key_lock);
        let info = content.write(&path, lock.as_ref());
        let end = HEAD.start + content.groups.len() as u64;
        let census = content.census();

        let rows = content.rows.iter().map(|(key, value)| Item::Row(key.clone().into(), value.clone().into()));
        let entries = content.entries();
        let trailer = Trailer {
            seq: end,
            at: Time(end as i64 * 10),
            rows: content.rows.len() as u64,
            entries: entries.len() as u64,
            census: census.clone(),
        };
        let expected: Vec<Item> = rows.chain(entries.into_iter().map(Item::Entry)).chain([Item::End(trailer)]).collect();
        prop_assert_eq!(items(&path, lock.as_ref()).unwrap(), expected);

        let size = fs::metadata(&path).unwrap().len();
        let full = Info { path: path.clone(), bytes: size, head: HEAD, encrypted: locked, seq: end, at: Time(end as i64 * 10), rows: census.total().rows };
        prop_assert_eq!(&info, &full);
        prop_assert_eq!(&check(&path, lock.as_ref()).unwrap(), &full);
        let known = if locked { Info { seq: HEAD.start, at: HEAD.created, rows: 0, ..full } } else { full };
        prop_assert_eq!(inspect(&path).unwrap(), known);
    }

    #[test]
    fn a_census_of_another_store_is_noticed(content in contents(), key in "[abc]{2}", value in any::<[u8; 4]>()) {
        let (_dir, path) = file();
        let mut other = content.clone();
        other.groups.push(vec![Row { key: key.clone().into(), value: Some(value.to_vec().into()) }]);
        prop_assume!(other.census() != content.census());
        let end = HEAD.start + content.groups.len() as u64;
        finish(content.fill(&path, None), &path, end, &other.census());
        let error = check(&path, None).unwrap_err();
        prop_assert_eq!(error.code(), "checkpoint.miscounted");
        prop_assert!(error.detail().contains(&format!("table {key}")), "{}", error.detail());
    }
}

#[test]
fn the_largest_rows_and_groups_fit() {
    let (_dir, path) = file();
    let mut noise = fastrand::Rng::with_seed(2);
    let mut bytes = |length: usize| std::iter::repeat_with(|| noise.u8(..)).take(length).collect::<Vec<_>>();
    let rows = (0..3).map(|n| ([&[b'a', b'a', n], &bytes(MAX_KEY - 3)[..]].concat(), bytes(MAX_VALUE))).collect();
    let each = MAX_GROUP_BYTES / MAX_GROUP_OPS - MAX_KEY;
    let group = (0..MAX_GROUP_OPS).map(|_| Row { key: bytes(MAX_KEY).into(), value: Some(bytes(each).into()) });
    let content = Content { rows, groups: vec![group.collect(), vec![row("aa", None)]] };
    for lock in [None, Some(key_lock())] {
        content.write(&path, lock.as_ref());
        assert_eq!(check(&path, lock.as_ref()).unwrap().rows, content.model().len() as u64);
    }
}

#[test]
fn what_is_too_large_or_out_of_order_is_refused() {
    let (_dir, path) = file();
    let entry = |seq, rows| Entry { seq, at: Time(0), rows, census: Vec::new() };
    let start = || Writer::create(&path, HEAD, None).unwrap();
    let code = |refused: Result<()>| refused.unwrap_err().code().to_owned();

    assert_eq!(code(start().row(&[b'k'; MAX_KEY + 1], b"")), "checkpoint.too_large");
    assert_eq!(code(start().row(b"k", &vec![0; MAX_VALUE + 1])), "checkpoint.too_large");
    let many = vec![row("k", None); MAX_ENTRY_ROWS + 1];
    assert_eq!(code(start().entry(&entry(41, many))), "checkpoint.too_large");
    let fat = Row { key: "k".into(), value: Some(vec![0; MAX_VALUE].into()) };
    assert_eq!(code(start().entry(&entry(41, vec![fat; 10]))), "checkpoint.too_large");

    let mut writer = start();
    writer.row(b"b", b"").unwrap();
    assert_eq!(code(writer.row(b"b", b"")), "checkpoint.out_of_order");
    assert_eq!(code(writer.row(b"a", b"")), "checkpoint.out_of_order");
    assert_eq!(code(writer.entry(&entry(42, Vec::new()))), "checkpoint.out_of_order");
    writer.entry(&entry(41, Vec::new())).unwrap();
    assert_eq!(code(writer.row(b"c", b"")), "checkpoint.out_of_order");
    assert_eq!(code(writer.complete(42, Time(0), &Census::default()).map(drop)), "checkpoint.out_of_order");
}

#[test]
fn a_file_has_its_name_only_when_it_is_complete() {
    let (dir, path) = file();
    let partial = dir.path().join("a.ckp.partial");
    fs::write(&partial, "left behind by a crash").unwrap();
    let content = Content::small();
    let writer = content.fill(&path, None);
    assert!(partial.exists() && !path.exists());
    drop(writer);
    assert!(!partial.exists() && !path.exists());

    let finished = content.fill(&path, None).complete(42, Time(9), &content.census()).unwrap();
    assert_eq!(finished.info().path, partial);
    assert_eq!(check(&partial, None).unwrap().rows, 3);
    assert!(!path.exists());
    let other = dir.path().join("b.ckp");
    assert_eq!(finished.publish(&other).unwrap().path, other);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let finished = content.fill(&path, None).complete(42, Time(9), &content.census()).unwrap();
    drop(finished);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&other).unwrap().permissions()) & 0o777, 0o600);
}

#[test]
fn progress_rises_to_the_size_of_the_file() {
    let (_dir, path) = file();
    let size = Content::large().write(&path, None).bytes;
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let copy = told.clone();
    let progress = Progress::new(move |what, done, total| copy.lock().unwrap().push((what.to_owned(), done, total)));
    verify(&path, None, &progress).unwrap();
    let told = told.lock().unwrap();
    assert!(told.len() > 8 && told.iter().all(|(_, _, total)| *total == size));
    let checking: Vec<u64> =
        told.iter().filter(|(what, ..)| what == "checking rows").map(|(_, done, _)| *done).collect();
    assert!(checking.is_sorted() && checking.last() == Some(&size));
}
