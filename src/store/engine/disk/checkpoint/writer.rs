//! Writing a checkpoint or a backup: rows, then entries, then the end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::chunk::{ChunkWriter, Kind};
use super::entry;
use super::format::{CHUNK, ENTRY_HEAD, Head, Locking, MAX_ENTRY, Trailer, encode_header, put_row};
use super::lock::Lock;
use super::{Info, disk_failure};
use crate::base::{Error, Result, Time};
use crate::store::engine::disk::census::Census;
use crate::store::engine::disk::journal::Entry;

/// Writes to `<path>.partial`, which goes away with the writer unless it is completed and published. Memory: two chunks.
pub struct Writer {
    partial: Partial,
    head: Head,
    encrypted: bool,
    chunks: ChunkWriter,
    kind: Kind,
    /// Items of the chunk being filled; reused, like `last_key`.
    raw: Vec<u8>,
    last_key: Vec<u8>,
    seq: u64,
    rows: u64,
    entries: u64,
}

/// Removes the file when it is done with, which by then may have another name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Starts `<path>.partial`, readable by its owner only; one that was left behind is replaced.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`; `checkpoint.passphrase_empty`; `secret.no_randomness`.
    pub fn create(path: &Path, head: Head, lock: Option<&Lock>) -> Result<Self> {
        let (locking, seal) = match lock {
            None => (Locking::NONE, None),
            Some(lock) => lock.close().map(|(locking, seal)| (locking, Some(seal)))?,
        };
        let partial = Partial(path.with_added_extension("partial"));
        let file = create_private(&partial.0).map_err(|e| disk_failure("creating a checkpoint", &e))?;
        let chunks = ChunkWriter::start(file, &encode_header(&head, &locking), seal)?;
        Ok(Self {
            partial,
            head,
            encrypted: lock.is_some(),
            chunks,
            kind: Kind::Rows,
            raw: Vec::with_capacity(CHUNK + CHUNK / 4),
            last_key: Vec::new(),
            seq: head.start,
            rows: 0,
            entries: 0,
        })
    }

    /// Appends a row. Keys rise; rows come before entries.
    ///
    /// # Errors
    /// `checkpoint.out_of_order`, `checkpoint.too_large`; `store.disk_full`, `store.disk_failed`. After an error the file cannot be completed well.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.kind != Kind::Rows || (self.rows > 0 && key <= &self.last_key[..]) {
            return Err(out_of_order("a row that is not behind the one before"));
        }
        if !put_row(key, Some(value), &mut self.raw) {
            return Err(too_large("a row", key.len() + value.len()));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.rows += 1;
        self.flush_at(CHUNK)
    }

    /// Appends the next group: the first is `head.start + 1`.
    ///
    /// # Errors
    /// As [`Writer::row`].
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        if self.seq.checked_add(1) != Some(entry.seq) {
            return Err(out_of_order(&format!("entry {} behind {}", entry.seq, self.seq)));
        }
        if self.kind == Kind::Rows {
            self.flush_at(1)?;
            self.kind = Kind::Entries;
        }
        let start = self.raw.len();
        self.raw.extend_from_slice(&[0; ENTRY_HEAD]);
        let fits = entry::encode(entry, &mut self.raw);
        let length = self.raw.len() - start - ENTRY_HEAD;
        if !fits || length > MAX_ENTRY {
            return Err(too_large("an entry", length));
        }
        self.raw[start..start + ENTRY_HEAD].copy_from_slice(&(length as u32).to_le_bytes());
        self.seq = entry.seq;
        self.entries += 1;
        self.flush_at(CHUNK)
    }

    /// Writes the end and waits for the disk: the file is complete, under its `.partial` name. `seq` and `at` are those of the last entry (of the
    /// start without one), `census` is what the store holds then.
    ///
    /// # Errors
    /// As [`Writer::row`].
    pub fn complete(mut self, seq: u64, at: Time, census: &Census) -> Result<Finished> {
        if seq != self.seq {
            return Err(out_of_order(&format!("the end {seq} behind {}", self.seq)));
        }
        self.flush_at(1)?;
        let trailer = Trailer { seq, at, rows: self.rows, entries: self.entries, census: census.clone() };
        let mut raw = self.raw;
        trailer.encode(&mut raw);
        let bytes = self.chunks.finish(&raw)?;
        let info = Info::new(&self.partial.0, bytes, (self.head, self.encrypted), Some(&trailer));
        Ok(Finished { partial: self.partial, info })
    }

    fn flush_at(&mut self, bytes: usize) -> Result<()> {
        if self.raw.len() < bytes {
            return Ok(());
        }
        self.chunks.put(self.kind, &self.raw)?;
        self.raw.clear();
        Ok(())
    }
}

/// A file that is complete and on disk, but has no name yet. Dropped, it is removed.
pub struct Finished {
    partial: Partial,
    info: Info,
}

impl Finished {
    /// What it is; `path` is where it can be verified.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Gives it its name, in the same folder; a file of that name is replaced. It is there for good when this returns.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn publish(self, path: &Path) -> Result<Info> {
        let failed = |e| disk_failure("naming a checkpoint", &e);
        fs::rename(&self.partial.0, path).map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Info { path: path.to_owned(), ..self.info.clone() })
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn out_of_order(what: &str) -> Error {
    Error::broken("checkpoint.out_of_order", format!("a checkpoint was given {what}"))
}

fn too_large(what: &str, bytes: usize) -> Error {
    Error::broken("checkpoint.too_large", format!("a checkpoint was given {what} of {bytes} bytes"))
}
