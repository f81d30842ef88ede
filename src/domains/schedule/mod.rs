//! What is started by the clock: plans with a cron pattern each, in one time zone.
//!
//! Of several processes on one store one leads, the holder of a lease that it renews; only it starts what is due. What was missed while
//! nobody led is caught up once, however often it was missed; a plan that is on for the first time has missed nothing. A plan is started
//! before that is written down, so a crash in between starts it again: plans are such that this does no harm.

mod api;
mod config;
mod plans;
mod rules;
mod service;
mod tables;
mod worker;

pub use api::ScheduleApi;
pub use config::Config;
pub use plans::{DriftPlan, Plan, ReviewPlan, SyncPlan};
pub use service::{Planned, Schedules};
pub use tables::{LEASES, Lease, Outcome, SCHEDULES, State};
pub use worker::{ScheduleWorker, TICK};
