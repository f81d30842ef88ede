//! The worker that keeps the snapshot history within its bounds: by age and by number per player, newest kept (requirement F11).

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::tables::SNAPSHOTS;
use crate::base::{Clock, Cursor, Id, Result, RobloxId};
use crate::store::Store;
use crate::workers::{Next, Worker};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// `SNAPSHOT_RETENTION_DAYS`: older snapshots go. 1 to 3650.
    pub days: u32,
    /// `SNAPSHOTS_PER_PLAYER`: more than these go, oldest first. 1 to 100,000.
    pub per_player: u32,
    /// Audit rows and ended decisions older than this many days go.
    pub audit_days: u32,
}

impl RetentionConfig {
    /// How long audit rows, and what goes with them, are kept.
    pub fn audit(&self) -> Duration {
        Duration::from_secs(u64::from(self.audit_days) * 86_400)
    }
}

/// [`RetentionConfig::audit_days`] unless set otherwise: a year.
pub const AUDIT_DAYS: u32 = 365;

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { days: 90, per_player: 500, audit_days: AUDIT_DAYS }
    }
}

/// Rows that a walk of retention looks at in one tick.
pub const RETENTION_PAGE: usize = 500;

/// The pause between pages, so that a long walk leaves the disk to others.
const BETWEEN_PAGES: Duration = Duration::from_millis(200);

/// The pause after a whole walk.
const BETWEEN_WALKS: Duration = Duration::from_secs(3600);

/// When a walk of retention goes on.
pub fn retention_pause(over: bool) -> Next {
    Next::After(if over { BETWEEN_WALKS } else { BETWEEN_PAGES })
}

/// Walks all snapshots, newest first within each player, and deletes what is too old or too many.
pub struct Retention {
    store: Store,
    clock: Clock,
    config: RetentionConfig,
    at: Option<Cursor>,
    counting: Option<(RobloxId, u32)>,
}

impl Retention {
    pub fn new(store: Store, clock: Clock, config: RetentionConfig) -> Self {
        Self { store, clock, config, at: None, counting: None }
    }

    /// Deletes on one page; says whether the walk is over.
    async fn step(&mut self) -> Result<bool> {
        let page = self.store.scan(SNAPSHOTS.all().newest_first().after(self.at.as_ref()), RETENTION_PAGE).await?;
        let oldest = Id::floor(self.clock.now() - Duration::from_secs(u64::from(self.config.days) * 86_400));
        let mut doomed = Vec::new();
        // Moves on only with the commit: a page that is walked again must be counted from where it began.
        let mut counting = self.counting;
        for ((player, id), _) in &page.items {
            let seen = match counting {
                Some((counted, seen)) if counted == *player => seen + 1,
                _ => 1,
            };
            counting = Some((*player, seen));
            if seen > self.config.per_player || *id < oldest {
                doomed.push((*player, *id));
            }
        }
        if !doomed.is_empty() {
            let doomed = &doomed;
            self.store
                .transact(|tx| async move {
                    doomed.iter().for_each(|key| tx.delete(&SNAPSHOTS, key));
                    Ok(())
                })
                .await?;
        }
        (self.at, self.counting) = (page.next, counting);
        Ok(self.at.is_none())
    }
}

impl Worker for Retention {
    fn name(&self) -> &'static str {
        "snapshot-retention"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            let over = self.step().await?;
            if over {
                self.counting = None;
            }
            Ok(retention_pause(over))
        })
    }
}
