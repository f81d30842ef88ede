//! Readiness: one line a part, each from state that is already in memory, so that a probe costs nothing and cannot hang.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Clock, Time};
use crate::domains::applying::{Applying, Held};
use crate::domains::brakes::Brakes;
use crate::domains::discord::DiscordFeed;
use crate::domains::doorbell::Doorbell;
use crate::domains::drift::Drift;
use crate::domains::group::Group;
use crate::domains::policy::PolicyStore;
use crate::domains::sync::Sync;
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
    pub brakes: Brakes,
    pub discord: DiscordFeed,
    pub doorbell: Doorbell,
    pub applying: Applying,
    pub group: Group,
    pub drift: Drift,
    pub sync: Sync,
    pub clock: Clock,
}

impl Checks {
    /// All checks, in a fixed order.
    pub fn run(&self) -> Vec<Check> {
        let mut out = vec![self.store(), self.policy(), self.breaker()];
        out.extend(self.backups());
        out.extend(self.vendors());
        out.extend(self.workers.read().into_iter().map(|status| Check {
            name: format!("worker:{}", status.name),
            ok: status.failing.is_none(),
            vital: false,
            detail: status.failing,
        }));
        out
    }

    fn store(&self) -> Check {
        of_store(self.store.health())
    }

    /// None for a store in memory.
    fn backups(&self) -> Option<Check> {
        let now = self.clock.now();
        let Freshness { scheduled, last_good, late } = self.caretaker.freshness()?;
        let last = last_good.map_or("there is no good backup".to_owned(), |at| {
            format!("the last good backup was made {} ago", ago(at, now))
        });
        let detail = match (scheduled, late) {
            (_, true) => format!("{last}: two scheduled ones are missing; `grps backup create` says why"),
            (true, false) => last,
            (false, false) => format!("{last}; BACKUP_CRON is empty"),
        };
        Some(Check { name: "backups".into(), ok: !late, vital: false, detail: Some(detail) })
    }

    /// Those that are on.
    fn vendors(&self) -> Vec<Check> {
        let check = |name: &str, detail: Option<String>| Check {
            name: name.to_owned(),
            ok: detail.is_none(),
            vital: false,
            detail,
        };
        let status = self.discord.status();
        let warnings = status.warnings();
        let discord = status.failing.map(|(failing, _)| failing.to_string()).or(warnings);
        let doorbell = self.doorbell.failing().map(|failing| failing.to_string());
        let held = self.applying.held();
        let of_owner = held.clone().filter(Held::is_for_owner).map(|held| held.failing.to_string());
        let held = held.map(|held| held.failing.to_string());
        // What decisions wait for the owner to mend is wrong with Roblox, too, whether the watch has come across it or not.
        let group = self.group.failing().map(|failing| failing.to_string()).or(of_owner);
        let mut out = Vec::new();
        out.extend(self.group.access().map(|_| check("roblox", group)));
        out.extend(self.drift.is_on().then(|| check("drift", self.drift.failing())));
        out.extend(self.applying.is_on().then(|| check("decisions", held)));
        out.extend(self.discord.channel().map(|_| check("discord", discord)));
        out.extend(self.doorbell.is_on().then(|| check("doorbell", doorbell)));
        out.extend(self.sync.is_on().then(|| check("sync", self.sync.failing())));
        out
    }

    fn breaker(&self) -> Check {
        let trip = self.brakes.open();
        let detail =
            trip.map(|trip| format!("{}; `grps decisions breaker --close` lets decisions through again", trip.text()));
        Check { name: "breaker".into(), ok: detail.is_none(), vital: false, detail }
    }

    fn policy(&self) -> Check {
        let error = self.policy.status().last_error;
        let detail = error.map(|error| format!("{}; the last good policy is still in force", error.message));
        Check { name: "policy".into(), ok: detail.is_none(), vital: false, detail }
    }
}

fn of_store(health: Health) -> Check {
    // Commits that wait may still go through: not a reason to send everybody away.
    let vital = !matches!(health, Health::Stalled(_));
    let fault = match health {
        Health::Ready => None,
        Health::Closed => Some("closed: the server is shutting down".to_owned()),
        Health::Failed(error) => Some(format!("{}; reads go on, nothing is written", error.detail())),
        Health::Full { free, needed } => Some(format!(
            "the disk is nearly full: {} MiB are free, writes go on again at {} MiB; reads go on meanwhile",
            free >> 20,
            needed.div_ceil(1 << 20)
        )),
        Health::Stalled(since) => {
            Some(format!("the disk has not answered for {}; writes wait, reads go on", told(since)))
        }
    };
    Check { name: "store".into(), ok: fault.is_none(), vital, detail: fault }
}

fn ago(at: Time, now: Time) -> String {
    told(now.since(at))
}

fn told(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Error;

    #[test]
    fn what_keeps_the_store_from_writing_is_told_with_what_still_works() {
        let told = |health| {
            let Check { ok, vital, detail, .. } = of_store(health);
            (ok, vital, detail.unwrap_or_default())
        };
        assert_eq!(told(Health::Ready), (true, true, String::new()));
        let (ok, vital, detail) = told(Health::Full { free: 200 << 20, needed: (256 << 20) + 1 });
        assert!(!ok && vital && detail.contains("200 MiB are free") && detail.contains("at 257 MiB"), "{detail}");
        let (ok, vital, detail) = told(Health::Stalled(Duration::from_secs(90)));
        assert!(!ok && !vital && detail.contains("for 90 s") && detail.contains("reads go on"), "{detail}");
        let failed = Health::Failed(Error::full("store.disk_full", "the disk is full"));
        assert_eq!(told(failed), (false, true, "the disk is full; reads go on, nothing is written".into()));
    }

    #[test]
    fn ages_are_told_in_units_that_fit() {
        let of = |seconds: i64| ago(Time(0), Time(seconds * 1000));
        assert_eq!([119, 120, 7_199, 7_200, 172_800].map(of), ["119 s", "2 min", "119 min", "2 h", "2 days"]);
    }
}
