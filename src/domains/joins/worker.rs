//! The worker that answers join requests, one by one and within the budget.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;

use super::decide::{Verdict, decide};
use super::tables::{Answering, JOINS_ANSWERING};
use crate::base::{Clock, Error, Ids, Result, RobloxId, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::group::{Access, Group};
use crate::domains::players::PLAYERS;
use crate::remote::roblox::{Cure, JoinRequest, Listed, Trouble};
use crate::store::Store;
use crate::workers::{Next, Worker};

/// How often requests are looked at.
pub const EVERY: Duration = Duration::from_secs(60);

/// Pages of requests that are read in one look, of 20 each. The next look goes on behind them.
const MAX_PAGES: usize = 200;

/// People who ask that are remembered of one walk over the list. A longer one is begun anew.
const MAX_ASKING: usize = 200_000;

/// Pages in a row that bring nobody new before a walk is begun anew: they lead in a circle.
const MAX_IDLE: usize = 20;

/// Answers of before a crash that are cleared up in one look.
const MAX_LEFT_OVER: usize = 100;

/// How long a request is left alone whose answer Roblox refused for good.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(3600);

/// How long a request is left alone whose answer failed otherwise.
pub const FAILED_PAUSE: Duration = Duration::from_secs(300);

/// Failures that end a look: then it is rather Roblox than the one request.
pub const MAX_FAILURES: usize = 3;

/// Requests that are left alone at most; the others are tried in each look.
const MAX_ASIDE: usize = 4_000;

/// Why a look ended early.
enum Stop {
    Trouble(Trouble),
    Store(Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Answers join requests.
pub struct JoinsWorker {
    store: Store,
    clock: Clock,
    ids: Ids,
    group: Group,
    access: Access,
    /// Requests that are left alone for a while, so that they hold up nobody else.
    aside: BTreeMap<RobloxId, Aside>,
    /// How far the list was read.
    walk: Walk,
}

/// One walk over the list of requests, from its start: it may take several looks.
#[derive(Default)]
struct Walk {
    /// The page that comes next; none for the first.
    page: Option<String>,
    /// Who asks, as far as it has come.
    asking: BTreeSet<RobloxId>,
    /// Pages in a row that brought nobody new.
    idle: usize,
}

impl Walk {
    /// Takes in a page; whether it is worth going on behind it.
    fn meet(&mut self, users: &[RobloxId]) -> bool {
        let before = self.asking.len();
        self.asking.extend(users);
        self.idle = if self.asking.len() > before { 0 } else { self.idle + 1 };
        self.idle < MAX_IDLE && self.asking.len() <= MAX_ASKING
    }
}

struct Aside {
    until: Time,
    /// The audit trail tells of it.
    told: bool,
}

/// What became of a request.
enum Outcome<'a> {
    /// It was answered, by us.
    Answered(&'a Answering),
    /// Roblox does not take this answer.
    Refused { accept: bool, why: String },
    /// Nothing, or nothing of ours.
    Nothing,
}

impl JoinsWorker {
    /// None without a group.
    pub fn new((store, clock, ids): (Store, Clock, Ids), group: Group) -> Option<Self> {
        let access = group.access()?;
        Some(Self { store, clock, ids, group, access, aside: BTreeMap::new(), walk: Walk::default() })
    }

    async fn look(&mut self) -> Result<Next> {
        if !self.group.policy().settings().join_requests.is_on() {
            self.walk = Walk::default();
            return Ok(Next::After(EVERY));
        }
        match self.answer_all().await {
            Ok(()) => Ok(Next::After(EVERY)),
            Err(Stop::Store(error)) => Err(error),
            Err(Stop::Trouble(Trouble::Paced { wait })) => Ok(Next::After(wait)),
            Err(Stop::Trouble(trouble)) => {
                let error = Error::remote("joins.failed", format!("join requests: {}", trouble.what()));
                Err(match trouble.hint() {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }

    async fn answer_all(&mut self) -> Result<(), Stop> {
        // Whoever was let in asks no more; of whoever was turned away only the whole list tells.
        let mut failed = self.clear_up(&BTreeSet::new(), true).await?;
        let mut failures = 0;
        for _ in 0..MAX_PAGES {
            let listed = self.list().await?;
            let users: Vec<RobloxId> =
                listed.items.iter().filter_map(|request| RobloxId::new(request.user).ok()).collect();
            let on = self.walk.meet(&users);
            for user in self.wanted(users).await? {
                let Some(trouble) = self.answer(user).await? else { continue };
                failures += 1;
                failed = failed.or(Some(trouble));
                if failures >= MAX_FAILURES {
                    return failed.map_or(Ok(()), |trouble| Err(trouble.into()));
                }
            }
            if listed.next.is_none() {
                let Walk { asking, .. } = std::mem::take(&mut self.walk);
                self.aside.retain(|user, _| asking.contains(user));
                failed = failed.or(self.clear_up(&asking, false).await?);
                break;
            }
            if !on {
                self.walk = Walk::default();
                break;
            }
            self.walk.page = listed.next;
        }
        failed.map_or(Ok(()), |trouble| Err(trouble.into()))
    }

    /// The page that comes next. Where it does not come, the next look begins at the start: it may be one that never does, or a place that
    /// Roblox does not know any more, and whoever is new stands on the first page.
    async fn list(&mut self) -> Result<Listed<JoinRequest>, Trouble> {
        let listed = self.access.roblox.join_requests(self.access.group, self.walk.page.as_deref()).await;
        if listed.as_ref().is_err_and(|trouble| !matches!(trouble, Trouble::Paced { .. })) {
            self.walk = Walk::default();
        }
        listed
    }

    /// Those of `users` whose request is to be answered now, as far as can be told without a transaction.
    async fn wanted(&self, users: Vec<RobloxId>) -> Result<Vec<RobloxId>> {
        let (now, policy) = (self.clock.now(), self.group.policy());
        let players = self.store.get_many(&PLAYERS, &users).await?;
        let wanted = users.into_iter().zip(players).filter(|(user, player)| {
            self.aside.get(user).is_none_or(|aside| aside.until <= now)
                && decide(&policy, *user, player.as_ref(), now) != Verdict::Leave
        });
        Ok(wanted.map(|(user, _)| user).collect())
    }

    /// Answers one request; gives the trouble when that failed and others may succeed all the same.
    async fn answer(&mut self, user: RobloxId) -> Result<Option<Trouble>, Stop> {
        let Some(answering) = self.begin(user).await? else { return Ok(None) };
        let (roblox, group) = (&self.access.roblox, self.access.group);
        let answer = match answering.accept {
            true => roblox.accept_join(group, user.get()).await,
            false => roblox.decline_join(group, user.get()).await,
        };
        let trouble = match answer {
            Ok(()) => {
                self.settle(user, Outcome::Answered(&answering)).await?;
                return Ok(None);
            }
            Err(trouble) => trouble,
        };
        match (&trouble, trouble.cure()) {
            // Somebody was faster, or they thought better of it.
            (Trouble::Missing { .. }, _) => {
                self.settle(user, Outcome::Nothing).await?;
                Ok(None)
            }
            // Not sent, or nothing that any request would get past: nothing happened.
            (Trouble::Paced { .. } | Trouble::Limited { .. }, _) | (_, Cure::Owner) => {
                self.settle(user, Outcome::Nothing).await?;
                Err(trouble.into())
            }
            (_, Cure::Nothing) => {
                let why = trouble.what();
                tracing::warn!(user = user.get(), "a request to join cannot be answered, and is left to people: {why}");
                let told = self.aside.get(&user).is_some_and(|aside| aside.told);
                let outcome = if told { Outcome::Nothing } else { Outcome::Refused { accept: answering.accept, why } };
                self.settle(user, outcome).await?;
                self.put_aside(user, REFUSED_PAUSE, true);
                Ok(None)
            }
            // It may have happened: the row stays until that is known.
            (_, Cure::Time) => {
                let told = self.aside.get(&user).is_some_and(|aside| aside.told);
                self.put_aside(user, FAILED_PAUSE, told);
                Ok(Some(trouble))
            }
        }
    }

    fn put_aside(&mut self, user: RobloxId, pause: Duration, told: bool) {
        if self.aside.len() < MAX_ASIDE || self.aside.contains_key(&user) {
            self.aside.insert(user, Aside { until: self.clock.now() + pause, told });
        }
    }

    /// Decides, by what is known at this moment, and writes down how the request is about to be answered.
    async fn begin(&self, user: RobloxId) -> Result<Option<Answering>> {
        let (now, policy) = (self.clock.now(), self.group.policy());
        let policy = &policy;
        self.store
            .transact(|tx| async move {
                let player = tx.get(&PLAYERS, &user).await?;
                let answering = match decide(policy, user, player.as_ref(), now) {
                    Verdict::Leave => return Ok(None),
                    Verdict::Accept(why) => Answering { accept: true, why, at: now },
                    Verdict::Decline(why) => Answering { accept: false, why, at: now },
                };
                tx.put(&JOINS_ANSWERING, &user, &answering);
                Ok(Some(answering))
            })
            .await
    }

    /// Answers of one kind whose outcome was never heard: whoever is a member now was accepted, whoever is not and is not among those who
    /// are `asking` was declined. A request that is still there is answered again. Gives the first trouble that concerns one of them alone.
    async fn clear_up(&self, asking: &BTreeSet<RobloxId>, accepted: bool) -> Result<Option<Trouble>, Stop> {
        let left = self.store.scan(JOINS_ANSWERING.all(), MAX_LEFT_OVER).await?.items;
        let left = left.into_iter().filter(|(user, answering)| answering.accept == accepted && !asking.contains(user));
        let (mut failed, mut failures) = (None, 0);
        for (user, answering) in left {
            let member = match self.access.roblox.membership(self.access.group, user.get()).await {
                Ok(member) => member.is_some(),
                Err(trouble @ (Trouble::Paced { .. } | Trouble::Limited { .. })) => return Err(trouble.into()),
                Err(trouble) if trouble.cure() == Cure::Owner => return Err(trouble.into()),
                Err(trouble) => {
                    failures += 1;
                    failed = failed.or(Some(trouble));
                    if failures >= MAX_FAILURES {
                        break;
                    }
                    continue;
                }
            };
            let ours = answering.accept == member;
            self.settle(user, if ours { Outcome::Answered(&answering) } else { Outcome::Nothing }).await?;
        }
        Ok(failed)
    }

    /// Nothing is under way for this request any more: its row goes, and the audit row comes when there is something to tell.
    async fn settle(&self, user: RobloxId, outcome: Outcome<'_>) -> Result<()> {
        let audit_id = self.ids.next();
        let told = match outcome {
            Outcome::Answered(answering) => {
                let action = if answering.accept { "join.accepted" } else { "join.declined" };
                Some((action, json!({ "reason": answering.why })))
            }
            Outcome::Refused { accept, why } => {
                let wanted = if accept { "accept" } else { "decline" };
                Some(("join.refused", json!({ "reason": why, "answer": wanted })))
            }
            Outcome::Nothing => None,
        };
        let (now, actor) = (self.clock.now(), Actor::of("joins"));
        let entry = &told
            .map(|(action, after)| audit::Entry::new(now, &actor, "", action, format!("player:{user}")).after(after));
        self.store
            .transact(|tx| async move {
                // Told once: only whoever takes the row away tells.
                if tx.get(&JOINS_ANSWERING, &user).await?.is_none() {
                    return Ok(());
                }
                tx.delete(&JOINS_ANSWERING, &user);
                if let Some(entry) = entry {
                    audit::record(&tx, audit_id, entry);
                }
                Ok(())
            })
            .await
    }
}

impl Worker for JoinsWorker {
    fn name(&self) -> &'static str {
        "joins"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_leads_in_a_circle_or_has_no_end_is_begun_anew() {
        let users = |from: u64| (from..from + 20).filter_map(|user| RobloxId::new(user).ok()).collect::<Vec<_>>();
        let mut walk = Walk::default();
        assert!((0..10_000).all(|page| walk.meet(&users(1 + 20 * page))), "as many as are remembered");
        assert!(!walk.meet(&users(500_000)));
        let mut walk = Walk::default();
        assert!(walk.meet(&users(1)));
        assert!((1..MAX_IDLE).all(|_| walk.meet(&users(1))));
        assert!(!walk.meet(&[]));
    }
}
