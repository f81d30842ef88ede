//! Encryption: who opens what, and what a stranger sees.

use std::fs;

use super::*;
use crate::base::Secret;

#[test]
fn a_passphrase_opens_its_file_and_no_other() {
    let (_dir, path) = file();
    let lock = Lock::Passphrase(Secret::new("correct horse"));
    let content = Content::small();
    content.write(&path, Some(&lock));
    assert_eq!(check(&path, Some(&lock)).unwrap().rows, 3);
    let error = check(&path, None).unwrap_err();
    assert_eq!(error.code(), "checkpoint.key_needed");
    assert!(error.detail().contains("a passphrase"));
    assert_eq!(refused(&path, Some(&Lock::Passphrase(Secret::new("correct horsf")))), "checkpoint.wrong_key");
    assert_eq!(refused(&path, Some(&key_lock())), "checkpoint.wrong_key");
    let empty = Lock::Passphrase(Secret::new(""));
    assert_eq!(refused(&path, Some(&empty)), "checkpoint.passphrase_empty");
    assert_eq!(Writer::create(&path, HEAD, Some(&empty)).err().unwrap().code(), "checkpoint.passphrase_empty");
}

#[test]
fn a_key_opens_its_file_and_no_other() {
    let (_dir, path) = file();
    let content = Content::small();
    content.write(&path, Some(&key_lock()));
    assert!(check(&path, Some(&key_lock())).is_ok());
    let error = check(&path, None).unwrap_err();
    assert_eq!(error.code(), "checkpoint.key_needed");
    assert!(error.detail().contains("a key file"));
    for bit in 0..256 {
        let mut key = [9; 32];
        key[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&path, Some(&Lock::Key(key))), "checkpoint.wrong_key");
    }
    let lock = Lock::Passphrase(Secret::new("no key"));
    assert_eq!(refused(&path, Some(&lock)), "checkpoint.wrong_key");
}

#[test]
fn a_file_without_a_lock_opens_with_any() {
    let (_dir, path) = file();
    Content::small().write(&path, None);
    assert!(!check(&path, Some(&key_lock())).unwrap().encrypted);
}

#[test]
fn a_stranger_sees_nothing_of_the_rows_and_no_two_files_alike() {
    let (_dir, path) = file();
    let contains = |file: &[u8], text: &[u8]| file.windows(text.len()).any(|window| window == text);
    let content = Content::small();
    content.write(&path, None);
    assert!(contains(&fs::read(&path).unwrap(), b"changed"));
    let files = [(), ()].map(|()| {
        content.write(&path, Some(&key_lock()));
        fs::read(&path).unwrap()
    });
    assert!(files.iter().all(|file| !contains(file, b"changed") && !contains(file, b"aa2")));
    // Equal heads, but a salt, hence a key and chunks, of their own.
    assert_eq!(files[0][..49], files[1][..49]);
    assert_ne!(files[0][49..], files[1][49..]);
    assert_ne!(files[0][98..110], files[1][98..110]);
}

#[test]
fn a_lock_never_prints_itself() {
    assert_eq!(format!("{:?}", Lock::Passphrase(Secret::new("hunter2"))), "Lock::Passphrase(…)");
    assert_eq!(format!("{:?}", key_lock()), "Lock::Key(…)");
}
