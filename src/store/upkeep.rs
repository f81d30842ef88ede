//! TEMPORARY stand-in for what only a store on disk has, with the signatures of the real one: backups are lines of hex, checks find
//! nothing, compaction does nothing. It exists to build on, and goes when the durable store is here.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{Batch, DataDir, Order, Row, Settings, Span, Store};
use crate::base::{Clock, Error, Result, Secret, Time};

/// The schema this program writes.
pub const SCHEMA: u16 = 1;

type Report = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Told how far a long piece of work is: what, done, total; a total of 0 is an unknown one. Cheap to call.
#[derive(Clone)]
pub struct Progress(Report);

impl Progress {
    pub fn new(report: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    pub fn silent() -> Self {
        Self::new(|_, _, _| {})
    }

    pub fn tell(&self, what: &str, done: u64, total: u64) {
        (self.0)(what, done, total);
    }
}

/// What opens an encrypted backup.
#[derive(Debug, Clone)]
pub enum Lock {
    Passphrase(Secret),
    Key([u8; 32]),
}

#[derive(Debug, Clone)]
pub struct CheckpointInfo {
    pub path: PathBuf,
    pub bytes: u64,
    pub created: Time,
    pub seq: u64,
    pub rows: u64,
    pub encrypted: bool,
    pub store: String,
    pub schema: u16,
}

#[derive(Debug, Clone)]
pub struct TableSurvey {
    pub prefix: String,
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Survey {
    pub store: String,
    pub schema: u16,
    pub seq: u64,
    pub settled: u64,
    pub tables: Vec<TableSurvey>,
    pub live_bytes: u64,
    pub sled_bytes: u64,
    pub journal_bytes: u64,
    pub checkpoint_bytes: u64,
    pub amplification: f64,
    pub last_checkpoint: Option<CheckpointInfo>,
    pub journal_first_seq: u64,
    pub free_bytes: u64,
    pub reserve_bytes: u64,
    pub opening: String,
}

#[derive(Debug, Clone)]
pub struct CheckReport {
    pub findings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Compaction {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

#[derive(Debug, Clone)]
pub struct Restored {
    pub info: CheckpointInfo,
    pub replayed_to_seq: u64,
    pub kept: PathBuf,
}

#[derive(Clone)]
pub struct Upkeep {
    pub(super) store: Store,
    pub(super) dir: DataDir,
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

fn io(error: std::io::Error) -> Error {
    Error::broken("store.disk_failed", error)
}

fn rows(store: &Store) -> Result<Vec<(Bytes, Bytes)>> {
    let span = Span { low: Bytes::new(), high: None, order: Order::Rising };
    block(store.0.engine.scan(span, 10_000_000))
}

impl Upkeep {
    pub fn survey(&self) -> Survey {
        let mut tables: Vec<TableSurvey> = Vec::new();
        for (key, value) in rows(&self.store).unwrap_or_default() {
            let prefix = String::from_utf8_lossy(&key[..2]).into_owned();
            let size = (key.len() + value.len()) as u64;
            match tables.last_mut().filter(|table| table.prefix == prefix) {
                Some(table) => (table.rows, table.bytes) = (table.rows + 1, table.bytes + size),
                None => tables.push(TableSurvey { prefix, rows: 1, bytes: size }),
            }
        }
        let live_bytes: u64 = tables.iter().map(|table| table.bytes).sum();
        let sled_bytes = self.store.0.engine.disk_bytes();
        let seq = tables.iter().map(|table| table.rows).sum();
        Survey {
            store: "00112233445566778899aabbccddeeff".into(),
            schema: SCHEMA,
            seq,
            settled: seq,
            tables,
            live_bytes,
            sled_bytes,
            journal_bytes: 0,
            checkpoint_bytes: 0,
            amplification: sled_bytes as f64 / live_bytes.max(1) as f64,
            last_checkpoint: None,
            journal_first_seq: 1,
            free_bytes: 1 << 40,
            reserve_bytes: 256 << 20,
            opening: "opened after an orderly end".into(),
        }
    }

    pub fn checkpoint(&self, progress: &Progress) -> Result<CheckpointInfo> {
        self.back_up(&self.dir.path().join("store-checkpoint"), "stand-in", None, progress)
    }

    pub fn tend(&self, _progress: &Progress) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    pub fn check(&self, progress: &Progress) -> Result<CheckReport> {
        progress.tell("checking", 1, 1);
        Ok(CheckReport { findings: Vec::new() })
    }

    pub fn compact(&self, progress: &Progress) -> Result<Compaction> {
        progress.tell("compacting", 1, 1);
        let bytes = self.store.0.engine.disk_bytes();
        Ok(Compaction { bytes_before: bytes, bytes_after: bytes })
    }

    pub fn back_up(
        &self,
        folder: &Path,
        name: &str,
        lock: Option<&Lock>,
        progress: &Progress,
    ) -> Result<CheckpointInfo> {
        std::fs::create_dir_all(folder).map_err(io)?;
        let path = folder.join(format!("{name}.ckp"));
        let partial = folder.join(format!("{name}.ckp.partial"));
        let rows = rows(&self.store)?;
        let total = rows.len() as u64;
        let mut text = format!(
            "{}\n",
            json!({ "grps": 1, "created": Clock::system().now().0, "seq": total, "rows": total, "lock": key(lock) })
        );
        for (at, (key, value)) in rows.iter().enumerate() {
            text += &format!("{} {}\n", HEXLOWER.encode(key), HEXLOWER.encode(value));
            progress.tell("writing rows", at as u64 + 1, total);
        }
        text += "end\n";
        std::fs::write(&partial, text).map_err(io)?;
        std::fs::rename(&partial, &path).map_err(io)?;
        inspect(&path)
    }
}

fn key(lock: Option<&Lock>) -> Value {
    match lock {
        None => Value::Null,
        Some(Lock::Passphrase(secret)) => crc32fast::hash(secret.expose().as_bytes()).into(),
        Some(Lock::Key(key)) => crc32fast::hash(key).into(),
    }
}

fn damaged(path: &Path) -> Error {
    Error::new(
        crate::base::Kind::Broken,
        "store.corrupt_backup",
        format!("{} is no backup, or a damaged one", path.display()),
    )
}

fn head(path: &Path) -> Result<(Value, Vec<String>)> {
    let file = std::fs::File::open(path)
        .map_err(|error| Error::missing("store.backup_missing", format!("cannot read {}: {error}", path.display())))?;
    let lines: Vec<String> = BufReader::new(file).lines().collect::<std::io::Result<_>>().map_err(|_| damaged(path))?;
    let head: Value = lines.first().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| damaged(path))?;
    if head["grps"] != 1 || lines.last().map(String::as_str) != Some("end") {
        return Err(damaged(path));
    }
    Ok((head, lines[1..lines.len() - 1].to_vec()))
}

pub fn inspect(path: &Path) -> Result<CheckpointInfo> {
    let (head, _) = head(path)?;
    Ok(CheckpointInfo {
        path: path.to_owned(),
        bytes: std::fs::metadata(path).map_err(io)?.len(),
        created: Time(head["created"].as_i64().unwrap_or_default()),
        seq: head["seq"].as_u64().unwrap_or_default(),
        rows: head["rows"].as_u64().unwrap_or_default(),
        encrypted: !head["lock"].is_null(),
        store: "00112233445566778899aabbccddeeff".into(),
        schema: SCHEMA,
    })
}

fn read(path: &Path, lock: Option<&Lock>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (head, lines) = head(path)?;
    if !head["lock"].is_null() && head["lock"] != key(lock) {
        return Err(Error::denied("store.backup_locked", format!("{} is encrypted otherwise", path.display()))
            .hint("set BACKUP_PASSPHRASE or BACKUP_KEY to what it was made with"));
    }
    let decode = |text: &str| HEXLOWER.decode(text.as_bytes()).map_err(|_| damaged(path));
    let rows: Vec<(Vec<u8>, Vec<u8>)> = lines
        .iter()
        .map(|line| {
            let (key, value) = line.split_once(' ').ok_or_else(|| damaged(path))?;
            Ok((decode(key)?, decode(value)?))
        })
        .collect::<Result<_>>()?;
    if rows.len() as u64 != head["rows"].as_u64().unwrap_or_default() { Err(damaged(path)) } else { Ok(rows) }
}

pub fn verify_backup(path: &Path, lock: Option<&Lock>, scratch: &Path, progress: &Progress) -> Result<CheckpointInfo> {
    std::fs::create_dir_all(scratch).map_err(io)?;
    let rows = read(path, lock);
    std::fs::remove_dir_all(scratch).map_err(io)?;
    progress.tell("comparing", 1, 1);
    rows.and_then(|_| inspect(path))
}

pub fn restore(
    dir: &DataDir,
    path: &Path,
    lock: Option<&Lock>,
    until: Option<Time>,
    progress: &Progress,
) -> Result<Restored> {
    let (rows, info) = (read(path, lock)?, inspect(path)?);
    if until.is_some_and(|until| until < info.created) {
        return Err(Error::invalid("store.before_backup", "that time lies before the backup"));
    }
    let kept = (1..).map(|n| dir.path().join(format!("store.before-restore-{n}"))).find(|path| !path.exists());
    let kept = kept.ok_or_else(|| damaged(path))?;
    std::fs::create_dir_all(dir.path().join("store")).map_err(io)?;
    std::fs::rename(dir.path().join("store"), &kept).map_err(io)?;
    let store = Store::open(dir, &Settings::default(), &Default::default(), progress)?;
    for part in rows.chunks(500) {
        let row =
            |(key, value): &(Vec<u8>, Vec<u8>)| Row { key: key.clone().into(), value: Some(value.clone().into()) };
        block(store.0.engine.commit(Batch { asserts: Vec::new(), writes: part.iter().map(row).collect() }))?;
    }
    block(store.close())?;
    Ok(Restored { replayed_to_seq: info.seq, info, kept })
}

pub fn repair(_dir: &DataDir, _settings: &Settings, progress: &Progress) -> Result<String> {
    progress.tell("rebuilding", 1, 1);
    Ok("nothing was damaged".into())
}

type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

pub fn dump(dir: &DataDir, table: Option<[u8; 2]>, each: Each<'_>) -> Result<()> {
    let store = Store::open(dir, &Settings::default(), &Default::default(), &Progress::silent())?;
    for (key, value) in rows(&store)?.iter().filter(|(key, _)| table.is_none_or(|table| key.starts_with(&table))) {
        each(key, value)?;
    }
    block(store.close())
}

pub fn dump_backup(path: &Path, lock: Option<&Lock>, table: Option<[u8; 2]>, each: Each<'_>) -> Result<()> {
    for (key, value) in read(path, lock)?.iter().filter(|(key, _)| table.is_none_or(|table| key.starts_with(&table))) {
        each(key, value)?;
    }
    Ok(())
}

/// The schema of the stored data, read without opening the store; none when there is no store yet.
pub fn stored_schema(dir: &DataDir) -> Result<Option<u16>> {
    Ok(dir.path().join("store").exists().then_some(SCHEMA))
}
