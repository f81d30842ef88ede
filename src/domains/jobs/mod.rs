//! Jobs: durable queues between whoever wants something done and whoever does it (requirements J1 to J19, R5).
//!
//! Tools, Discord and other domains put jobs in; game servers, bots and workers take them out, for good (as the job gateway of old had it)
//! or under a lease. One job is one row of [`JOBS`]; what may happen to it are the pure rules of `rules.rs`; every change is one commit.
//! A queue has no row: it is the jobs that name it, kept in order in memory by [`Index`], which follows the committed rows.
//!
//! Invariants:
//! * A job that was acknowledged is in the store until it is over and 24 hours have passed (30 days for dead ones), or somebody purges it.
//! * At any time at most one token is valid for a job. Tokens are never given out twice; an old one changes nothing.
//! * Within a queue and a priority, jobs are handed out in the order of their ids, which is the order in which they were put in. One that
//!   failed keeps its place.
//! * An index claim is only a proposal: whoever loses the race for the row gets nothing.
//!
//! Another domain puts jobs into its own commit with [`Jobs::prepare`] and [`Jobs::add`].

mod api;
mod config;
mod events;
mod index;
mod job;
mod meters;
mod operate;
mod rules;
mod service;
mod socket;
mod tables;
mod tail;
mod taking;
mod timekeeper;

pub use api::{GatewayApi, QueuesApi, envelope};
pub use config::Config;
pub use events::{Event, Events};
pub use index::{Index, MAX_QUEUES, QueueStats};
pub use job::{Job, Lease, MAX_PAYLOAD, NewJob, Phase, QueueName};
pub use operate::{Bulk, Changed, MAX_BULK, Selection};
pub use rules::{Nack, State};
pub use service::{Enqueued, Jobs, MAX_BATCH, Prepared};
pub use socket::{MAX_CREDIT, SocketApi};
pub use tables::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN, KeyUse};
pub use tail::{Copy, Place, Released, TAIL_PAGE, Tail};
pub use taking::{MAX_LEASE, MAX_TAKE, MAX_WAIT, Take};
pub use timekeeper::Timekeeper;
