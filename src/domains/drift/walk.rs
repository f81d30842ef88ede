//! The worker that walks: one page of members, or one stretch of players who may have left, a tick.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::check::Ground;
use super::runs::{Met, Step};
use super::service::Drift;
use super::tables::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, Run, Seen};
use crate::base::{Failing, Id, Result, RobloxId};
use crate::domains::group::{Access, ROLES_AGE};
use crate::domains::players::PLAYERS;
use crate::remote::roblox::{Class, Cure, ODD_MEMBER, Trouble};
use crate::store::MAX_PAGE;
use crate::workers::{Next, Worker, backoff};

/// Failures in a row after which a run is given up.
pub const MAX_FAILURES: u32 = 20;

/// How often the worker looks for a run without being called.
const LOOK: Duration = Duration::from_secs(60);

/// Players looked at in one step of the search for those who left.
const STRETCH: usize = 200;

/// Players asked about one by one in one step.
const QUESTIONS: usize = 50;

/// How many pages of members a run may have: a group of 5 million.
const MAX_PAGES: u32 = 50_000;

/// How often the walk over the members may begin anew.
const MAX_RESTARTS: u32 = 1;

/// Our share of the budget for reading members, as one part of so many: decisions that are carried out need it too.
const SHARE: u32 = 2;

/// Ended runs that are kept.
const KEEP: usize = 100;

/// Why a step was not made.
enum Stop {
    Trouble(Trouble),
    /// The run cannot be done.
    Hopeless(String),
    Store(crate::base::Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<crate::base::Error> for Stop {
    fn from(error: crate::base::Error) -> Self {
        Self::Store(error)
    }
}

/// Walks the runs, one at a time.
pub struct DriftWalk {
    drift: Drift,
    access: Access,
    failures: u32,
    /// Calls that the last step made.
    calls: u32,
    /// Whom the run met among the members; read when those who left are looked for.
    seen: Option<(Id, HashSet<u64>)>,
    /// Nothing of an ended run is left.
    tidy: bool,
}

impl DriftWalk {
    /// None without a group.
    pub fn new(drift: Drift) -> Option<Self> {
        let access = drift.group.access()?;
        Some(Self { drift, access, failures: 0, calls: 0, seen: None, tidy: false })
    }

    async fn walk(&mut self) -> Result<Next> {
        let Some(id) = self.drift.store.get(&DRIFT_ACTIVE, &()).await? else {
            if !self.tidy {
                self.seen = None;
                self.drift.tidy_up().await?;
                self.tidy = true;
            }
            return Ok(Next::After(LOOK));
        };
        self.tidy = false;
        let Some(run) = self.drift.store.get(&DRIFT_RUNS, &id).await? else {
            self.drift.give_up(id, "").await?;
            return Ok(Next::Now);
        };
        match self.advance(id, &run).await {
            Ok(done) => {
                self.failures = 0;
                if !done {
                    return Ok(Next::After(self.pause()));
                }
                if let Some(why) = self.drift.failing() {
                    tracing::warn!(run = %id, "{why}");
                }
                Ok(Next::Now)
            }
            Err(Stop::Store(error)) => Err(error),
            Err(Stop::Hopeless(why)) => self.give_up(id, &why).await,
            Err(Stop::Trouble(Trouble::Paced { wait })) => Ok(Next::After(wait)),
            Err(Stop::Trouble(trouble)) => self.failed(id, &trouble).await,
        }
    }

    /// Long enough after a step that no more than our share of the budget is used.
    fn pause(&self) -> Duration {
        let a_minute = self.access.roblox.budget().per_minute(Class::Memberships).max(1) as f64;
        Duration::from_secs_f64(f64::from(self.calls * SHARE) * 60.0 / a_minute)
    }

    async fn failed(&mut self, id: Id, trouble: &Trouble) -> Result<Next> {
        self.failures += 1;
        if trouble.cure() != Cure::Time || self.failures >= MAX_FAILURES {
            return self.give_up(id, &Failing::from(trouble).to_string()).await;
        }
        tracing::debug!(failures = self.failures, "a drift run waits: {}", trouble.what());
        Ok(Next::After(trouble.wait().unwrap_or_default().max(backoff(self.failures - 1))))
    }

    async fn give_up(&mut self, id: Id, why: &str) -> Result<Next> {
        tracing::warn!(run = %id, "the search for ranks changed by hand failed: {why}");
        self.drift.give_up(id, why).await?;
        self.failures = 0;
        Ok(Next::Now)
    }

    /// One step; whether it was the last.
    async fn advance(&mut self, id: Id, run: &Run) -> Result<bool, Stop> {
        let policy = self.drift.group.policy();
        let roles = self.drift.group.roles(ROLES_AGE).await?;
        let ground = Ground::new(&policy, &roles);
        if ground.mapping.ranks().all(|(_, role)| role.is_none()) {
            let why = "no rank of the ladder has a role in the group; `grps doctor roblox` says why";
            return Err(Stop::Hopeless(why.to_owned()));
        }
        // A page is one call, as is each player who was asked about.
        let (step, calls) = match run.leavers {
            None => (self.members(id, run).await?, 1),
            Some(after) => self.leavers(id, run, after).await?,
        };
        self.calls = calls as u32;
        self.drift.step(&step, &ground).await?;
        Ok(step.done)
    }

    /// The next page of members.
    async fn members<'a>(&mut self, id: Id, run: &'a Run) -> Result<Step<'a>, Stop> {
        let listed = match self.access.roblox.memberships(self.access.group, run.page.as_deref()).await {
            // It does not know its own page any more.
            Err(Trouble::Refused { status: 400, .. }) if run.page.is_some() && run.restarts < MAX_RESTARTS => {
                let next = Run { page: None, restarts: run.restarts + 1, counts: run.counts.kept(), ..run.clone() };
                return Ok(Step { id, was: run, next, met: Vec::new(), seen: None, done: false });
            }
            listed => listed?,
        };
        if run.pages >= MAX_PAGES {
            return Err(Stop::Hopeless(format!("the group's list of members has more than {MAX_PAGES} pages")));
        }
        if listed.next.is_some() && listed.next == run.page && !listed.items.is_empty() {
            return Err(Stop::Hopeless("the group's list of members names the same page as the next one".to_owned()));
        }
        let mut next = Run { pages: run.pages + 1, page: listed.next, ..run.clone() };
        next.counts.members += listed.items.len() as u64;
        next.leavers = next.page.is_none().then_some(0);
        let met: Vec<Met> = listed
            .items
            .into_iter()
            .filter_map(|member| Some(Met { user: RobloxId::new(member.user).ok()?, roles: Some(member.roles) }))
            .collect();
        let users: Vec<RobloxId> = met.iter().map(|met| met.user).collect();
        let players = self.drift.store.get_many(&PLAYERS, &users).await?;
        let seen: Vec<u64> = players.into_iter().flatten().map(|player| player.user_id.get()).collect();
        Ok(Step { id, was: run, seen: (!seen.is_empty()).then_some((run.pages, Seen(seen))), next, met, done: false })
    }

    /// The next players we know who were not among the members. Each is asked about, since lists shift while they are read.
    /// With how many were asked about.
    async fn leavers<'a>(&mut self, id: Id, run: &'a Run, after: u64) -> Result<(Step<'a>, usize), Stop> {
        let mut next = run.clone();
        let (mut met, mut asked) = (Vec::new(), 0);
        let step = |next, met, done| Step { id, was: run, next, met, seen: None, done };
        let Ok(first) = RobloxId::new(after + 1) else { return Ok((step(next, met, true), asked)) };
        let low = PLAYERS.between(&first, &RobloxId::new(RobloxId::MAX)?);
        let page = self.drift.store.scan(low, STRETCH).await?;
        let access = self.access.clone();
        let seen = self.met_before(id).await?;
        for (user, player) in page.items {
            if player.rank.is_some() && !player.demo && !seen.contains(&user.get()) {
                let answer = access.roblox.membership(access.group, user.get()).await;
                asked += 1;
                match answer {
                    Ok(member) => met.push(Met { user, roles: member.map(|member| member.roles) }),
                    // Nothing can be said of this one, now or in a minute; of the others it can.
                    Err(Trouble::Unreadable(ODD_MEMBER)) => {}
                    // What was found out is kept, and the rest comes later.
                    Err(Trouble::Paced { .. }) if asked > 1 => return Ok((step(next, met, false), asked)),
                    Err(trouble) => return Err(trouble.into()),
                }
            }
            next.leavers = Some(user.get());
            if asked >= QUESTIONS {
                return Ok((step(next, met, false), asked));
            }
        }
        Ok((step(next, met, page.next.is_none()), asked))
    }

    async fn met_before(&mut self, id: Id) -> Result<&HashSet<u64>> {
        let users = match self.seen.take().filter(|(of, _)| *of == id) {
            Some((_, users)) => users,
            None => self.drift.met(id).await?,
        };
        Ok(&self.seen.insert((id, users)).1)
    }
}

impl Drift {
    async fn met(&self, id: Id) -> Result<HashSet<u64>> {
        let (mut users, mut cursor) = (HashSet::new(), None);
        loop {
            let page = self.store.scan(DRIFT_SEEN.under(&id).after(cursor.as_ref()), MAX_PAGE).await?;
            users.extend(page.items.into_iter().flat_map(|(_, Seen(users))| users));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(users);
            }
        }
    }

    /// Forgets whom ended runs met, and the oldest runs. Only while none is under way.
    async fn tidy_up(&self) -> Result<()> {
        loop {
            let seen = self.store.scan(DRIFT_SEEN.all(), STRETCH).await?.items;
            let keys: Vec<_> = seen.into_iter().map(|(key, _)| key).collect();
            if keys.is_empty() {
                break;
            }
            let keys = &keys;
            self.store
                .transact(|tx| async move {
                    keys.iter().for_each(|key| tx.delete(&DRIFT_SEEN, key));
                    Ok(())
                })
                .await?;
        }
        let old: Vec<Id> = self.runs(MAX_PAGE).await?.into_iter().skip(KEEP).map(|(id, _)| id).collect();
        let old = &old;
        self.store
            .transact(|tx| async move {
                old.iter().for_each(|id| tx.delete(&DRIFT_RUNS, id));
                Ok(())
            })
            .await
    }
}

impl Worker for DriftWalk {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.walk())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.drift.wake.clone())
    }
}
