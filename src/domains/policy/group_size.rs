//! How many people the group has, as far as anybody was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The members of the group on Roblox: told by whoever asks Roblox, read by what goes by shares of the group. Zero where nobody ever was. Cheap to
/// clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct GroupSize(Arc<AtomicU64>);

impl GroupSize {
    pub fn set(&self, members: u64) {
        self.0.store(members, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
