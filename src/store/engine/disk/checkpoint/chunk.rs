//! Chunks: compressed, sealed when the file is locked, and checked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::format::{CHUNK, ENTRY_HEAD, Footer, HEADER, MAX_ENTRY, MAX_ROW, MAX_TRAILER, own_crc};
use super::lock::{Place, Seal, TAG};
use super::{cut_short, damaged, disk_failure, read_failure};
use crate::base::{Error, Result};

/// Length of a chunk's head: kind, raw length, stored length, CRC.
const HEAD: usize = 1 + 4 + 4 + 4;

/// The part of the head that the CRC and the seal cover.
const FIELDS: usize = HEAD - 4;

/// The disk is asked to start writing after so many bytes, so that the sync at the end has little left to do.
#[cfg(target_os = "linux")]
const WRITEBACK: u64 = 8 << 20;

/// Kinds of chunks, in the order in which they stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Rows = 1,
    Entries = 2,
    Trailer = 3,
}

impl Kind {
    /// Raw bytes a chunk of this kind has at most.
    fn bound(self) -> usize {
        match self {
            Self::Rows => CHUNK + MAX_ROW,
            Self::Entries => CHUNK + ENTRY_HEAD + MAX_ENTRY,
            Self::Trailer => MAX_TRAILER,
        }
    }
}

/// What stands before a chunk's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub kind: Kind,
    raw: usize,
    stored: usize,
    crc: u32,
    bytes: [u8; HEAD],
}

impl Head {
    /// The head of a chunk; its CRC is still to come.
    fn new(kind: Kind, raw: usize, stored: usize) -> Self {
        let mut bytes = [0; HEAD];
        bytes[0] = kind as u8;
        bytes[1..5].copy_from_slice(&(raw as u32).to_le_bytes());
        bytes[5..FIELDS].copy_from_slice(&(stored as u32).to_le_bytes());
        Self { kind, raw, stored, crc: 0, bytes }
    }

    /// None when no chunk of ours can have it: an unknown kind, or lengths past its bounds.
    fn decode(bytes: [u8; HEAD]) -> Option<Self> {
        let [kind, r0, r1, r2, r3, s0, s1, s2, s3, crc @ ..] = bytes;
        let kind = match kind {
            1 => Kind::Rows,
            2 => Kind::Entries,
            3 => Kind::Trailer,
            _ => return None,
        };
        let raw = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
        let stored = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let fits = (1..=kind.bound()).contains(&raw) && (1..=get_maximum_output_size(raw) + TAG).contains(&stored);
        fits.then_some(Self { kind, raw, stored, crc: u32::from_le_bytes(crc), bytes })
    }

    fn place(&self, index: u64) -> Place<'_> {
        Place { index, last: self.kind == Kind::Trailer, head: &self.bytes[..FIELDS] }
    }

    fn checksum(&self, header_crc: u32, index: u64, stored: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new_with_initial(header_crc);
        crc.update(&index.to_le_bytes());
        crc.update(&self.bytes[..FIELDS]);
        crc.update(stored);
        crc.finalize()
    }
}

/// Writes chunks one behind the other.
pub(super) struct ChunkWriter {
    file: File,
    header_crc: u32,
    seal: Option<Seal>,
    table: CompressTable,
    /// The chunk being made; reused.
    out: Vec<u8>,
    at: u64,
    index: u64,
    #[cfg(target_os = "linux")]
    written_back: u64,
}

impl ChunkWriter {
    /// Starts an empty `file` with `header`.
    pub fn start(mut file: File, header: &[u8; HEADER], mut seal: Option<Seal>) -> Result<Self> {
        if let Some(seal) = &mut seal {
            seal.bind(header);
        }
        file.write_all(header).map_err(|e| disk_failure("writing a checkpoint", &e))?;
        Ok(Self {
            file,
            header_crc: own_crc(header),
            seal,
            table: CompressTable::large(),
            out: Vec::new(),
            at: HEADER as u64,
            index: 0,
            #[cfg(target_os = "linux")]
            written_back: 0,
        })
    }

    pub fn put(&mut self, kind: Kind, raw: &[u8]) -> Result<()> {
        debug_assert!((1..=kind.bound()).contains(&raw.len()));
        let room = HEAD + get_maximum_output_size(raw.len()) + TAG;
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let failed = |what: &str| Error::broken("checkpoint.write_failed", format!("a chunk does not {what}"));
        let length = compress_into_with_table(raw, &mut self.out[HEAD..], &mut self.table);
        let mut length = length.map_err(|_| failed("compress"))?;
        let head = Head::new(kind, raw.len(), length + if self.seal.is_some() { TAG } else { 0 });
        if let Some(seal) = &mut self.seal {
            let tag = seal.seal(head.place(self.index), &mut self.out[HEAD..HEAD + length]);
            self.out[HEAD + length..HEAD + length + TAG].copy_from_slice(&tag.ok_or_else(|| failed("seal"))?);
            length += TAG;
        }
        let crc = head.checksum(self.header_crc, self.index, &self.out[HEAD..HEAD + length]);
        self.out[..FIELDS].copy_from_slice(&head.bytes[..FIELDS]);
        self.out[FIELDS..HEAD].copy_from_slice(&crc.to_le_bytes());
        self.write(HEAD + length)?;
        self.index += 1;
        Ok(())
    }

    fn write(&mut self, length: usize) -> Result<()> {
        self.file.write_all(&self.out[..length]).map_err(|e| disk_failure("writing a checkpoint", &e))?;
        self.at += length as u64;
        #[cfg(target_os = "linux")]
        if self.at - self.written_back >= WRITEBACK {
            // Only advice: Linux starts writing dirty pages it is told nobody needs.
            let _ = rustix::fs::fadvise(&self.file, self.written_back, None, rustix::fs::Advice::DontNeed);
            self.written_back = self.at;
        }
        Ok(())
    }

    /// Writes the trailer and the footer, and returns how long the file is once it is on disk. What reads it next reads the disk, not the memory.
    pub fn finish(mut self, trailer: &[u8]) -> Result<u64> {
        let footer = Footer { offset: self.at, index: self.index, header_crc: self.header_crc };
        self.put(Kind::Trailer, trailer)?;
        let footer = footer.encode();
        self.out[..footer.len()].copy_from_slice(&footer);
        self.write(footer.len())?;
        self.file.sync_all().map_err(|e| disk_failure("syncing a checkpoint", &e))?;
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(self.at)
    }
}

/// Reads chunks one behind the other.
pub(super) struct ChunkReader {
    file: File,
    path: PathBuf,
    size: u64,
    header_crc: u32,
    seal: Option<Seal>,
    /// The stored bytes of a chunk; reused.
    stored: Vec<u8>,
    at: u64,
    index: u64,
}

impl ChunkReader {
    /// Goes on behind the header of `file`, which is `size` bytes long.
    pub fn start(file: File, path: &Path, size: u64, header: &[u8; HEADER], mut seal: Option<Seal>) -> Self {
        if let Some(seal) = &mut seal {
            seal.bind(header);
        }
        let (header_crc, path) = (own_crc(header), path.to_owned());
        Self { file, path, size, header_crc, seal, stored: Vec::new(), at: HEADER as u64, index: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes behind us.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes before us, the footer's included.
    pub fn left(&self) -> u64 {
        self.size.saturating_sub(self.at)
    }

    /// Goes to the chunk `index` at `offset`.
    pub fn seek(&mut self, offset: u64, index: u64) -> Result<()> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|e| read_failure(&self.path, "reading", &e))?;
        (self.at, self.index) = (offset, index);
        Ok(())
    }

    /// Goes back to the first chunk.
    pub fn rewind(&mut self) -> Result<()> {
        self.seek(HEADER as u64, 0)
    }

    /// What the next chunk says it is; nothing has checked that yet.
    pub fn head(&mut self) -> Result<Head> {
        let mut bytes = [0; HEAD];
        self.fill(&mut bytes)?;
        let head = Head::decode(bytes).ok_or_else(|| self.damaged("has no head that a chunk can have"))?;
        if self.left() < head.stored as u64 { Err(cut_short(&self.path)) } else { Ok(head) }
    }

    /// Passes over the chunk whose head was just read, unchecked.
    pub fn skip(&mut self, head: &Head) -> Result<()> {
        self.seek(self.at + head.stored as u64, self.index.wrapping_add(1))
    }

    /// Whether the stored bytes of the chunk whose head was just read are those that were written. Reads them.
    pub fn check(&mut self, head: &Head) -> Result<()> {
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(head.stored, 0);
        self.fill(&mut stored)?;
        self.stored = stored;
        if head.checksum(self.header_crc, self.index, &self.stored) == head.crc {
            return Ok(());
        }
        Err(self.damaged("does not match its checksum"))
    }

    /// The raw bytes of the chunk whose head was just read.
    pub fn raw(&mut self, head: &Head) -> Result<Bytes> {
        self.check(head)?;
        let Self { seal, stored, index, .. } = self;
        let block = match seal {
            // Not the key: the header told that it is the right one.
            Some(seal) => seal.open(head.place(*index), stored),
            None => Some(&**stored),
        };
        let mut raw = vec![0; head.raw];
        match block.map(|block| decompress_into(block, &mut raw)) {
            Some(Ok(length)) if length == head.raw => {
                self.index = self.index.wrapping_add(1);
                Ok(raw.into())
            }
            Some(_) => Err(self.damaged("does not decompress to what it says")),
            None => Err(self.damaged("was changed by somebody without the key")),
        }
    }

    /// Checks that the footer, of a trailer that begins at `offset`, is all that is left.
    pub fn end(&mut self, offset: u64) -> Result<()> {
        let expected = Footer { offset, index: self.index.wrapping_sub(1), header_crc: self.header_crc }.encode();
        let mut footer = expected;
        self.fill(&mut footer)?;
        if footer != expected {
            return Err(damaged(&self.path, "its footer does not match its trailer"));
        }
        if self.at < self.size { Err(damaged(&self.path, "there is more behind its end")) } else { Ok(()) }
    }

    /// The chunk that was just read or is just being read is not what was written.
    pub fn damaged(&self, why: &str) -> Error {
        damaged(&self.path, &format!("chunk {} {why}", self.index))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        if self.left() < bytes.len() as u64 {
            return Err(cut_short(&self.path));
        }
        self.file.read_exact(bytes).map_err(|e| read_failure(&self.path, "reading", &e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
