#![no_main]

#[path = "../properties.rs"]
mod properties;

use std::path::PathBuf;
use std::sync::LazyLock;

/// In memory where there is such a place.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).expect("a folder for the file")
});
static FILE: LazyLock<PathBuf> = LazyLock::new(|| FOLDER.path().join("fuzzed.ckp"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    properties::checkpoint(data, &FILE);
});
