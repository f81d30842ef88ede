//! The breaker as the program sees it: asked in commits, shown from memory, opened and closed by people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use tokio::sync::Notify;

use super::rules::{Allowance, Answer};
use super::tables::{BREAKER, Breaker, Count, Limit, Trip};
use super::window::{HOUR, MINUTE};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Id, Ids, Result, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::jobs::{Jobs, QueueName};
use crate::domains::policy::{GroupSize, Policy, PolicyStore};
use crate::domains::standings::{BoardId, Standings};
use crate::store::{Store, Tx};

/// Longest reason for opening or closing by hand, in characters.
pub const MAX_REASON: usize = 200;

/// What the brakes are made of.
pub struct Fittings {
    pub store: Store,
    pub clock: Clock,
    pub ids: Ids,
    pub policy: Arc<PolicyStore>,
    pub standings: Standings,
    pub jobs: Jobs,
    /// The members of the group, as somebody else keeps it.
    pub size: GroupSize,
    /// The queue that alerts go into; none when they are not wanted.
    pub events: Option<QueueName>,
}

/// The brakes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Brakes(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub fittings: Fittings,
    /// Called when there is a trip to tell of.
    pub untold: Arc<Notify>,
    shown: Arc<Mutex<Option<Trip>>>,
}

/// What counting one decision is written down with; made before the commit.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    pub at: Time,
    /// The ids of the trip this may lead to, and of the audit row that tells of it.
    pub trip: Id,
    pub audit: Id,
    pub actor: &'a Actor,
    pub request_id: &'a str,
}

/// Counts one decision in the commit of `tx` without asking: a person wants it, as the policy did when it was counted first.
///
/// # Errors
/// Those of the store.
pub async fn count(tx: &Tx, now: Time) -> Result<Count> {
    let mut breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
    let count = breaker.count(now);
    tx.put(&BREAKER, &(), &breaker);
    Ok(count)
}

/// Forgets in the commit of `tx` that a decision was counted. Once for each count: it is for the caller to know that.
///
/// # Errors
/// Those of the store.
pub async fn give_back(tx: &Tx, count: Count) -> Result<()> {
    let mut breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
    if breaker.give_back(count) {
        tx.put(&BREAKER, &(), &breaker);
    }
    Ok(())
}

/// How full the breaker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub trip: Option<Trip>,
    /// Decisions queued in the last minute and hour.
    pub minute: u64,
    pub hour: u64,
    pub allowed: Allowance,
    /// The people that the share is a share of.
    pub people: u64,
}

impl Brakes {
    /// Reads the breaker once, and follows it from then on.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn open_on(fittings: Fittings, metrics: &Metrics) -> Result<Self> {
        let gauge: Gauge = metrics.register(
            "breaker_open",
            "1 while the breaker stops decisions until a person closes it",
            Gauge::default(),
        );
        let (shown, untold): (Arc<Mutex<Option<Trip>>>, Arc<Notify>) = Default::default();
        let (heard, wake) = (shown.clone(), untold.clone());
        let show = move |breaker: &Breaker| {
            let latched = breaker.latched().cloned();
            gauge.set(latched.is_some().into());
            if !breaker.untold.is_empty() {
                wake.notify_one();
            }
            *lock(&heard) = latched;
        };
        let follow = show.clone();
        fittings.store.follow(&BREAKER, move |rows| {
            for breaker in rows.iter().filter_map(|((), breaker)| breaker.as_ref()) {
                follow(breaker);
            }
        });
        if let Some(breaker) = fittings.store.get(&BREAKER, &()).await? {
            show(&breaker);
        }
        Ok(Self(Arc::new(Inner { fittings, untold, shown })))
    }

    /// What they are made of.
    pub fn fittings(&self) -> &Fittings {
        &self.0.fittings
    }

    /// What stops decisions of the policy until a person closes it; none while they may be carried out. From memory.
    pub fn open(&self) -> Option<Trip> {
        lock(&self.0.shown).clone()
    }

    /// Asks in the commit of `tx` for leave to queue one decision, and counts it. Gives where it was counted, or what stands against it, as
    /// a sentence.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn take(
        &self,
        tx: &Tx,
        policy: &Policy,
        counted: Counted<'_>,
    ) -> Result<std::result::Result<Count, String>> {
        let mut breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
        let allowed = Allowance::of(&policy.settings().breaker, self.people());
        match breaker.take(&allowed, counted.trip, counted.at) {
            Answer::Go(count) => {
                tx.put(&BREAKER, &(), &breaker);
                Ok(Ok(count))
            }
            Answer::Stop { trip, fresh } => {
                if fresh {
                    tx.put(&BREAKER, &(), &breaker);
                    record(tx, "tripped", &trip, counted);
                }
                // Nothing opened: the decision is not on its way, and nobody comes back to it by themselves.
                let rest =
                    if trip.latched { "" } else { "; it stays proposed until it is asked for again or approved" };
                Ok(Err(format!("{}{rest}", trip.text())))
            }
        }
    }

    /// Opens the breaker by hand, so that everything stops, or closes it, so that it begins to count anew. Where it stands that way
    /// already, nothing changes.
    ///
    /// # Errors
    /// `request.invalid` for a reason that is too long; those of the store.
    pub async fn set(&self, open: bool, reason: &str, actor: &Actor, request_id: &str) -> Result<State> {
        if reason.chars().count() > MAX_REASON {
            let message = format!("a reason has at most {MAX_REASON} characters");
            return Err(Error::field(&["body", "reason"], "string_too_long", message));
        }
        let (ids, at) = (&self.0.fittings.ids, self.0.fittings.clock.now());
        let counted = Counted { at, trip: ids.next(), audit: ids.next(), actor, request_id };
        let reason = Some(reason.trim()).filter(|reason| !reason.is_empty()).unwrap_or("no reason given");
        let by = format!("{reason} (by {})", actor.id);
        let (trip, by) = (
            &Trip {
                id: counted.trip,
                at,
                limit: Limit::Person,
                latched: true,
                count: 0,
                most: 0,
                reason: Some(by.clone()),
            },
            &by,
        );
        let breaker = self.0.fittings.store.transact(|tx| async move {
            let mut breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
            match (open, breaker.latched().cloned()) {
                (true, None) => {
                    breaker.trip(trip.clone());
                    record(&tx, "opened", trip, counted);
                }
                (false, Some(was)) => {
                    breaker.close();
                    record(&tx, "closed", &Trip { reason: Some(by.clone()), ..was }, counted);
                }
                _ => return Ok(breaker),
            }
            tx.put(&BREAKER, &(), &breaker);
            Ok(breaker)
        });
        Ok(self.state_of(breaker.await?))
    }

    /// How full it is.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn state(&self) -> Result<State> {
        let breaker = self.0.fittings.store.get(&BREAKER, &()).await?.unwrap_or_default();
        Ok(self.state_of(breaker))
    }

    fn state_of(&self, breaker: Breaker) -> State {
        let (now, people) = (self.0.fittings.clock.now(), self.people());
        State {
            minute: breaker.window.within(MINUTE, now),
            hour: breaker.window.within(HOUR, now),
            allowed: Allowance::of(&self.0.fittings.policy.current().settings().breaker, people),
            people,
            trip: breaker.latched().cloned(),
        }
    }

    /// The people a share is of: the group's members as they were counted last, those stored where they never were. A game server's key makes players up as
    /// it likes, and must not make room for itself that way.
    fn people(&self) -> u64 {
        match self.0.fittings.size.get() {
            0 => self.0.fittings.standings.len(BoardId::PLAYERS) as u64,
            members => members,
        }
    }
}

fn lock(shown: &Mutex<Option<Trip>>) -> MutexGuard<'_, Option<Trip>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(tx: &Tx, verb: &str, trip: &Trip, counted: Counted<'_>) {
    let after = json!({
        "trip": trip.id.to_string(),
        "limit": trip.limit.text(),
        "latched": trip.latched,
        "count": trip.count,
        "most": trip.most,
        "reason": trip.reason,
    });
    let Counted { at, actor, request_id, .. } = counted;
    let entry = audit::Entry::new(at, actor, request_id, &format!("breaker.{verb}"), "breaker");
    audit::record(tx, counted.audit, &entry.after(after));
}
