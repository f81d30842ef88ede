//! Leading, starting what is due, and starting by hand.

use std::sync::Arc;

use super::plans::Plan;
use super::rules::{RETRY_AFTER, Turn, lead, pattern, turn};
use super::tables::{LEASES, Lease, Outcome, SCHEDULES, State};
use crate::base::{Clock, Error, Ids, Result, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::ranks::Sender;
use crate::store::{Store, Tx};
use crate::workers::{Schedule, Zone};

/// The name of the lead in [`LEASES`], and of the actor in the audit trail.
const NAME: &str = "schedule";

/// A plan, and when it is started.
pub struct Planned {
    pub plan: Box<dyn Plan>,
    /// None leaves it to people.
    pub cron: Option<Schedule>,
}

/// All plans. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Schedules(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    ids: Ids,
    zone: Zone,
    plans: Vec<Planned>,
    /// What this process calls itself as a leader.
    holder: String,
}

/// What there is to know of a plan.
pub struct Known {
    pub name: &'static str,
    pub cron: Option<String>,
    pub next: Option<Time>,
    pub state: State,
}

impl Schedules {
    pub fn new(store: Store, clock: Clock, ids: Ids, zone: Zone, plans: Vec<Planned>) -> Self {
        let holder = format!("{:016x}", fastrand::u64(..));
        Self(Arc::new(Inner { store, clock, ids, zone, plans, holder }))
    }

    pub fn zone(&self) -> &Zone {
        &self.0.zone
    }

    /// What this process calls itself as a leader.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Whether anything is started by the clock.
    pub fn is_on(&self) -> bool {
        self.0.plans.iter().any(|planned| planned.cron.is_some())
    }

    /// Starts what is due, if this process leads or may lead.
    ///
    /// # Errors
    /// Those of the store. A plan that could not be started says so in its row, and is tried again.
    pub(super) async fn tick(&self) -> Result<()> {
        if !self.lead().await? {
            return Ok(());
        }
        for planned in &self.0.plans {
            let now = self.0.clock.now();
            let state = self.0.store.get(&SCHEDULES, &planned.key()).await?;
            let Some(cron) = &planned.cron else {
                if state.is_some_and(|state| state.pattern.is_some()) {
                    self.note(planned, State::switch_off).await?;
                }
                continue;
            };
            match turn(state.as_ref(), cron, now) {
                Turn::Begin => self.note(planned, |state| state.begin(now, pattern(cron))).await?,
                Turn::Wait => {}
                Turn::Due(due) => self.start_due(planned, due, now).await?,
            }
        }
        Ok(())
    }

    /// Writes down that all plans are off, while nobody else leads; says whether that is so.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn rest(&self) -> Result<bool> {
        let (now, keys) = (self.0.clock.now(), self.0.plans.iter().map(Planned::key).collect::<Vec<_>>());
        let keys = &keys;
        let work = |tx: Tx| async move {
            if lead(tx.get(&LEASES, &NAME.to_owned()).await?.as_ref(), &self.0.holder, now).is_none() {
                return Ok(false);
            }
            let states = tx.get_many(&SCHEDULES, keys).await?;
            for (key, state) in keys.iter().zip(states) {
                let Some(mut state) = state.filter(|state| state.pattern.is_some()) else { continue };
                state.switch_off();
                tx.put(&SCHEDULES, key, &state);
            }
            Ok(true)
        };
        self.0.store.transact(work).await
    }

    async fn start_due(&self, planned: &Planned, due: Time, now: Time) -> Result<()> {
        let sender = Sender { actor: Actor::of(NAME), request_id: format!("{NAME}:{}", planned.plan.name()) };
        let outcome = planned.plan.start(&sender).await;
        if let Err(error) = &outcome {
            tracing::warn!(plan = planned.plan.name(), ?error, "a plan could not be started; it will be tried again");
        }
        let outcome = &outcome;
        self.note(planned, |state| {
            state.started(now, outcome);
            state.last_due = Some(due);
            match outcome {
                Ok(_) => (state.through, state.retry_at) = (now, None),
                Err(_) => state.retry_at = Some(now + RETRY_AFTER),
            }
        })
        .await
    }

    /// Changes a plan's row, unless another took the lead meanwhile. A lease that is over is still ours while nobody did.
    async fn note(&self, planned: &Planned, change: impl Fn(&mut State)) -> Result<()> {
        let (change, key) = (&change, &planned.key());
        let work = |tx: Tx| async move {
            let lease = tx.get(&LEASES, &NAME.to_owned()).await?;
            if lease.is_none_or(|lease| lease.holder != self.0.holder) {
                return Ok(());
            }
            let mut state = tx.get(&SCHEDULES, key).await?.unwrap_or_default();
            change(&mut state);
            tx.put(&SCHEDULES, key, &state);
            Ok(())
        };
        self.0.store.transact(work).await
    }

    /// Takes the lead, or keeps it; false while another has it.
    async fn lead(&self) -> Result<bool> {
        let now = self.0.clock.now();
        let work = |tx: Tx| async move {
            let key = NAME.to_owned();
            let lease = lead(tx.get(&LEASES, &key).await?.as_ref(), &self.0.holder, now);
            if let Some(lease) = &lease {
                tx.put(&LEASES, &key, lease);
            }
            Ok(lease.is_some())
        };
        self.0.store.transact(work).await
    }

    /// Leaves the lead to whoever comes next, at the end of this process.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn step_down(&self) -> Result<()> {
        let work = |tx: Tx| async move {
            let key = NAME.to_owned();
            if tx.get(&LEASES, &key).await?.is_some_and(|lease| lease.holder == self.0.holder) {
                tx.delete(&LEASES, &key);
            }
            Ok(())
        };
        self.0.store.transact(work).await
    }

    /// Starts a plan by hand, whoever leads and whether it is due or not.
    ///
    /// # Errors
    /// `schedule.missing`; those of the plan, which its row tells too; those of the store.
    pub async fn run(&self, name: &str, sender: &Sender) -> Result<Known> {
        let planned = self.0.plans.iter().find(|planned| planned.plan.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.0.plans.iter().map(|planned| planned.plan.name()).collect();
            Error::missing("schedule.missing", "there is no such plan")
                .hint(format!("the plans are {}", names.join(", ")))
        })?;
        let (now, audit_id) = (self.0.clock.now(), self.0.ids.next());
        let outcome = planned.plan.start(sender).await;
        let (key, told) = (&planned.key(), &outcome);
        let work = |tx: Tx| async move {
            let mut state = tx.get(&SCHEDULES, key).await?.unwrap_or(State { through: now, ..State::default() });
            state.started(now, told);
            tx.put(&SCHEDULES, key, &state);
            if let Ok(text) = told {
                let entry = sender.entry(now, "schedule.run", format!("schedule:{name}"));
                audit::record(&tx, audit_id, &entry.after(serde_json::json!({ "started": text })));
            }
            Ok(state)
        };
        let state = self.0.store.transact(work).await?;
        outcome.map(|_| planned.known(state, now))
    }

    /// Every plan, and who leads.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self) -> Result<(Vec<Known>, Option<Lease>)> {
        let now = self.0.clock.now();
        let keys: Vec<String> = self.0.plans.iter().map(Planned::key).collect();
        let states = self.0.store.get_many(&SCHEDULES, &keys).await?;
        let known = self.0.plans.iter().zip(states).map(|(plan, state)| plan.known(state.unwrap_or_default(), now));
        let lease = self.0.store.get(&LEASES, &NAME.to_owned()).await?.filter(|lease| lease.until > now);
        Ok((known.collect(), lease))
    }
}

impl Planned {
    fn key(&self) -> String {
        self.plan.name().to_owned()
    }

    fn known(&self, state: State, now: Time) -> Known {
        let next = self.cron.as_ref().and_then(|cron| cron.after(now));
        Known { name: self.plan.name(), cron: self.cron.as_ref().map(ToString::to_string), next, state }
    }
}

impl State {
    /// Counts the times of `pattern` from `now` on.
    fn begin(&mut self, now: Time, pattern: String) {
        (self.through, self.retry_at, self.pattern) = (now, None, Some(pattern));
    }

    /// Counts no times any more: those that pass are not missed.
    fn switch_off(&mut self) {
        (self.retry_at, self.pattern) = (None, None);
    }

    fn started(&mut self, at: Time, outcome: &Result<String>) {
        self.last_started = Some(at);
        self.last_outcome = Some(match outcome {
            Ok(text) => Outcome { started: true, text: text.clone() },
            Err(error) => Outcome { started: false, text: format!("{}: {}", error.code(), error.detail()) },
        });
    }
}
