//! Readiness: one line a part, each from state that is already in memory, so that a probe costs nothing and cannot hang.

use std::sync::Arc;

use crate::base::{Clock, Time};
use crate::domains::policy::PolicyStore;
use crate::domains::upkeep::{Caretaker, Freshness};
use crate::store::{Health, Store};
use crate::workers::StatusBoard;

/// One part's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    /// Whether it works as it should.
    pub ok: bool,
    /// Whether the server cannot serve without it.
    pub vital: bool,
    /// What is wrong, and what still works; of what works, what is worth knowing.
    pub detail: Option<String>,
}

/// What readiness looks at.
pub struct Checks {
    pub store: Store,
    pub policy: Arc<PolicyStore>,
    pub workers: StatusBoard,
    pub caretaker: Caretaker,
    pub clock: Clock,
}

impl Checks {
    /// All checks, in a fixed order.
    pub fn run(&self) -> Vec<Check> {
        let mut out = vec![self.store(), self.policy()];
        out.extend(self.backups());
        out.extend(self.workers.read().into_iter().map(|status| Check {
            name: format!("worker:{}", status.name),
            ok: status.failing.is_none(),
            vital: false,
            detail: status.failing,
        }));
        out
    }

    fn store(&self) -> Check {
        let health = self.store.health();
        // Commits that wait may still go through: not a reason to send everybody away.
        let vital = !matches!(health, Health::Stalled { .. });
        let fault = match health {
            Health::Ready => None,
            Health::Closed => Some("closed: the server is shutting down".to_owned()),
            Health::Failed(error) => Some(format!("{}; reads go on, nothing is written", error.detail())),
            Health::Full { free, needed } => Some(format!(
                "the disk is nearly full: {} MiB are free, writes go on again at {} MiB; reads and deletes go on",
                free >> 20,
                needed.div_ceil(1 << 20)
            )),
            Health::Stalled { since } => {
                Some(format!("the disk has not answered for {}; writes wait, reads go on", self.ago(since)))
            }
        };
        Check { name: "store".into(), ok: fault.is_none(), vital, detail: fault }
    }

    /// None for a store in memory.
    fn backups(&self) -> Option<Check> {
        let Freshness { scheduled, last_good, late } = self.caretaker.freshness()?;
        let last = last_good.map_or("there is no good backup".to_owned(), |at| {
            format!("the last good backup was made {} ago", self.ago(at))
        });
        let detail = match (scheduled, late) {
            (_, true) => format!("{last}: two scheduled ones are missing; `grps backup create` says why"),
            (true, false) => last,
            (false, false) => format!("{last}; BACKUP_CRON is empty"),
        };
        Some(Check { name: "backups".into(), ok: !late, vital: false, detail: Some(detail) })
    }

    fn ago(&self, at: Time) -> String {
        let seconds = self.clock.now().since(at).as_secs();
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} days", seconds / 86_400),
        }
    }

    fn policy(&self) -> Check {
        let error = self.policy.status().last_error;
        let detail = error.map(|error| format!("{}; the last good policy is still in force", error.message));
        Check { name: "policy".into(), ok: detail.is_none(), vital: false, detail }
    }
}
