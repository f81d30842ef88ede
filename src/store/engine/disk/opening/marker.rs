//! The marker: a small file that says what the last owner of the store left behind. It is a hint, never a truth of its own: lost or damaged,
//! the store is looked through more carefully, and that is all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::journal::StoreId;

const NAME: &str = "marker";

/// A marker that is being written.
pub const UNFINISHED: &str = "marker.new";

/// Longest marker we read, in bytes.
const MAX_BYTES: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The layout of the store's files; see [`crate::store::engine::disk::FORMAT`].
    pub format: u16,
    /// Hex.
    pub store: String,
    /// Which of the `db-…` folders is the current one; 0 while the store is being created.
    pub generation: u32,
    /// The machine's boot when this was written; empty where that is unknown.
    pub boot: String,
    /// Whether the store was closed in good order; then nothing followed `seq`.
    pub closed: bool,
    /// The last group when this was written.
    pub seq: u64,
}

impl Marker {
    /// None when there is none that can be believed.
    pub fn read(store: &Path) -> Option<Self> {
        let path = store.join(NAME);
        let readable = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_BYTES);
        let text = readable.then(|| fs::read_to_string(&path).ok()).flatten()?;
        let (sum, json) = text.split_once('\n')?;
        (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes()))
            .then(|| serde_json::from_str(json).ok())?
    }

    /// Replaces the marker; on disk when this returns.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn write(&self, store: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        let text = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes()));
        replace(&store.join(NAME), text.as_bytes()).map_err(|e| disk_failure("writing the store's marker", &e))
    }

    /// The store it belongs to; none when that does not read.
    pub fn store_id(&self) -> Option<StoreId> {
        StoreId::parse(&self.store)
    }
}

/// Which start of the machine this is; empty where the system does not say.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// Writes a file beside, syncs it, and puts it in the place of `path`.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_file_name(UNFINISHED);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes the names in `folder` durable.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_was_tampered_with_is_no_marker() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(dir.path()), None);
        let marker = Marker { format: 2, store: "00".repeat(16), generation: 3, boot: boot_id(), closed: true, seq: 7 };
        marker.write(dir.path()).unwrap();
        assert_eq!(Marker::read(dir.path()).as_ref(), Some(&marker));
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(dir.path().join(NAME), bytes).unwrap();
            assert_eq!(Marker::read(dir.path()), None, "byte {at}");
        }
    }
}
