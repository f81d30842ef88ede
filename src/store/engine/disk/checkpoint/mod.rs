//! The one file format of checkpoints and backups: the rows of a store in key order as some scan met them, the groups committed meanwhile, and
//! what the store holds at the end of those. Rows overlaid by groups are the store as it was at one sequence number.
//!
//! ```text
//! file   = header chunk… chunk(trailer) footer                  all numbers little-endian
//! header = "grps.ckp", format u16, schema u16, lock u8, store id 16 B, created i64 (ms), start u64,
//!          PBKDF2 iterations u32, salt 16 B, key check 16 B, crc32 of all that                             85 B
//! chunk  = kind u8, raw length u32, stored length u32, crc32, stored bytes                            13 B + …
//! footer = "grps.end", offset of the trailer u64, its index among the chunks u64, crc32 of the header, crc32 of all that     32 B
//! ```
//!
//! * Chunks are of three kinds, in this order: rows (1), journal entries (2), and exactly one trailer (3). Raw bytes are items back to back, at most
//!   256 KiB and one item more; stored bytes are one LZ4 block of them, sealed when the file is locked.
//! * A row is key length u16, value length u32 (all ones = deleted, in entries only), key, value. An entry is its length u32 and what `entry.rs` writes.
//!   The trailer is end u64, time of the end i64, rows u64, entries u64, census.
//! * A chunk's CRC starts from the header's and covers the chunk's index, head and stored bytes. So a chunk that was damaged, dropped, repeated, moved or
//!   taken from another file is noticed without a key, and damage is told apart from a wrong key.
//! * Locked with a passphrase, the master key is PBKDF2-HMAC-SHA256 of it; with a key file it is the key. HKDF-SHA256 with the file's random salt makes a
//!   key of this file alone, and the key check. Chunks are sealed with ChaCha20-Poly1305 in the STREAM construction: the nonce is the chunk's index and
//!   whether it is the last, the header and the chunk's head are authenticated with it.
//!
//! A file without its trailer is none: it is written as `….partial` beside and gets its name when it is complete and on disk.

mod chunk;
mod entry;
mod format;
mod lock;
mod reader;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use format::{Head, Trailer};
pub use lock::Lock;
pub use reader::{Item, Reader, inspect};
pub use verify::verify;
pub use writer::{Finished, Writer};

use super::files::disk_failure;
use crate::base::{Error, Kind, Time};

/// What is known of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    pub path: PathBuf,
    /// Of the file.
    pub bytes: u64,
    pub head: Head,
    pub encrypted: bool,
    /// The sequence number whose state the file holds. From [`inspect`] of an encrypted file: that of its start.
    pub seq: u64,
    /// When the group `seq` was committed. From [`inspect`] of an encrypted file: when the file was created.
    pub at: Time,
    /// Rows of the store at `seq`. From [`inspect`] of an encrypted file: 0.
    pub rows: u64,
}

impl Info {
    fn new(path: &Path, bytes: u64, (head, encrypted): (Head, bool), trailer: Option<&Trailer>) -> Self {
        let (seq, at, rows) =
            trailer.map_or((head.start, head.created, 0), |end| (end.seq, end.at, end.census.total().rows));
        Self { path: path.to_owned(), bytes, head, encrypted, seq, at, rows }
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Kind::Broken, "checkpoint.damaged", format!("{} is damaged: {why}", path.display()))
        .hint("use another checkpoint or backup")
}

fn cut_short(path: &Path) -> Error {
    Error::new(Kind::Broken, "checkpoint.cut_short", format!("{} ends before its end", path.display()))
        .hint("it was not written or not copied to its end; use another checkpoint or backup")
}

fn read_failure(path: &Path, doing: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::missing("checkpoint.missing", format!("{} does not exist", path.display())),
        io::ErrorKind::UnexpectedEof => cut_short(path),
        _ => disk_failure(&format!("{doing} {}", path.display()), error),
    }
}
