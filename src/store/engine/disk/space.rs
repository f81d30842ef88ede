//! Room on the disk. Writes stop while there still is some, so that what must go on can: reads, deletions, syncing, closing.

use std::path::PathBuf;

use crate::base::{Error, Result};
use crate::store::engine::Batch;

use super::files::disk_failure;

/// The part of the reserve that deletions may use up, as a divisor: they write, too, before they make room.
const LAST_RESORT: u64 = 4;

pub struct Space {
    folder: PathBuf,
    /// Bytes that ordinary writes leave free.
    pub reserve: u64,
}

/// Less room than the reserve.
#[derive(Debug, Clone, Copy)]
pub struct Shortage {
    pub free: u64,
    pub reserve: u64,
}

impl Space {
    pub fn new(folder: PathBuf, reserve: u64) -> Self {
        Self { folder, reserve }
    }

    /// Bytes that are free for us on the disk that holds the store.
    ///
    /// # Errors
    /// `store.disk_failed`.
    pub fn free(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder).map_err(|e| disk_failure("asking for free space", &e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// None while there is room, and where that cannot be told.
    pub fn shortage(&self) -> Option<Shortage> {
        let free = self.free().ok()?;
        (free < self.reserve).then_some(Shortage { free, reserve: self.reserve })
    }

    /// # Errors
    /// `store.disk_full` unless `bytes` fit and the reserve stays free.
    pub fn require(&self, bytes: u64) -> Result<()> {
        let needed = bytes.saturating_add(self.reserve);
        match self.free()? {
            free if free < needed => Err(Shortage { free, reserve: needed }.error()),
            _ => Ok(()),
        }
    }
}

impl Shortage {
    /// Why `batch` has to wait; none when it only deletes and there is room for that.
    pub fn refusal(&self, batch: &Batch) -> Option<Error> {
        let makes_room = batch.writes.iter().all(|row| row.value.is_none());
        let goes_on = makes_room && self.free >= self.reserve / LAST_RESORT;
        (!goes_on).then(|| self.error())
    }

    pub fn error(&self) -> Error {
        let detail = format!(
            "the disk that holds the data directory is nearly full: {} free, {} needed",
            mebibytes(self.free),
            mebibytes(self.reserve)
        );
        Error::full("store.disk_full", detail)
            .hint("free some space, or set STORE_RESERVE_MB lower on a small disk; writes go on by themselves as soon as there is enough")
    }
}

/// Bytes for a person.
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::engine::Row;

    #[test]
    fn what_makes_room_goes_on_longer() {
        let delete = Row { key: Bytes::from_static(b"k"), value: None };
        let put = Row { value: Some(Bytes::new()), ..delete.clone() };
        let batch =
            |writes: &[&Row]| Batch { asserts: vec![], writes: writes.iter().map(|row| (*row).clone()).collect() };
        let low = Shortage { free: 100, reserve: 200 };
        assert!(low.refusal(&batch(&[&delete])).is_none());
        let refused = low.refusal(&batch(&[&delete, &put])).unwrap();
        assert_eq!(refused.code(), "store.disk_full");
        let lower = Shortage { free: 49, reserve: 200 };
        assert!(lower.refusal(&batch(&[&delete])).is_some());
    }
}
