//! What the fuzzer has learnt so far, read by the same decoders on every run; `tests/fuzzing/run` looks for more.

use std::fs;
use std::path::Path;

#[path = "fuzzing/properties.rs"]
mod properties;

/// Feeds `each` the inputs of a target; how many they are, and how many of them were accepted.
fn feed(target: &str, each: impl Fn(&[u8]) -> bool) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzzing/corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let accepted = inputs.iter().filter(|input| {
        println!("{}", input.display());
        each(&fs::read(input).unwrap())
    });
    let accepted = accepted.count();
    (inputs.len(), accepted)
}

#[test]
fn the_fuzzers_corpus_is_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fuzzed.ckp");
    let fed = [
        feed("journal_record", properties::journal_record),
        feed("journal_segment", properties::journal_segment),
        feed("checkpoint", |data| properties::checkpoint(data, &file)),
        feed("envelope", properties::envelope),
    ];
    // Some of each get behind all checksums, and some do not.
    assert!(fed.iter().all(|(inputs, accepted)| (1..*inputs).contains(accepted)), "{fed:?}");
    println!("inputs and how many were accepted: {fed:?}");
}
