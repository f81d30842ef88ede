//! Upkeep beside the load: what a keeper of the store does now and then, done without a pause, so that kills and cuts fall into it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grps::base::{Error, Result};
use grps::store::upkeep::Upkeep;
use grps::store::{Progress, Store};
use serde::{Deserialize, Serialize};

use super::workload::tell;

/// Between two pieces of upkeep.
const PAUSE: Duration = Duration::from_millis(3);

/// What a child keeps doing beside its writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chore {
    None,
    Checkpoint,
    Backup,
    Compaction,
    Check,
    /// One of each, again and again.
    InTurn,
}

impl Chore {
    /// All of them, for campaigns that take turns.
    pub const ALL: &[Chore] =
        &[Chore::None, Chore::Checkpoint, Chore::Backup, Chore::Compaction, Chore::Check, Chore::InTurn];

    fn tasks(&self) -> &[Chore] {
        match self {
            Self::None => &[],
            Self::InTurn => &[Self::Checkpoint, Self::Compaction, Self::Backup, Self::Check],
            one => std::slice::from_ref(one),
        }
    }

    /// Does it once. Backups go into the folder where an opening looks for them; the newest stays.
    pub fn once(self, upkeep: &Upkeep, data: &Path) -> Result<()> {
        let silent = Progress::silent();
        match self {
            Self::None | Self::InTurn => Ok(()),
            Self::Checkpoint => upkeep.checkpoint(&silent).map(drop),
            Self::Compaction => upkeep.compact(&silent).map(drop),
            Self::Check => match upkeep.check(&silent)?.findings {
                none if none.is_empty() => Ok(()),
                found => Err(Error::broken("campaign.check", found.join("; "))),
            },
            Self::Backup => {
                let folder = data.join("backups");
                let name = format!("grps-{}", upkeep.survey().seq);
                let written = upkeep.back_up(&folder, &name, None, &silent)?.path;
                let others = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
                others.filter(|path| *path != written).for_each(|path| drop(fs::remove_file(path)));
                Ok(())
            }
        }
    }

    /// Does it again and again, and tells how it went, until `stop` is set. A piece of work that is under way then is finished first.
    pub async fn keep_doing(self, store: Store, data: &Path, acks: File, stop: Arc<AtomicBool>) {
        let (tasks, upkeep, data) = (self.tasks().to_vec(), store.upkeep().cloned(), data.to_owned());
        let Some(upkeep) = upkeep.filter(|_| !tasks.is_empty()) else { return };
        let work = move || {
            for task in tasks.iter().cycle() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                match task.once(&upkeep, &data) {
                    Ok(()) => tell(&acks, &format!("chore {task:?}")),
                    Err(error) => tell(&acks, &format!("failed {task:?} {} {error:?}", error.code())),
                }
                std::thread::sleep(PAUSE);
            }
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}
