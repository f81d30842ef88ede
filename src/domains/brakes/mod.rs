//! Brakes: what keeps automation from doing too much, whoever asks for it.
//!
//! The breaker counts what is queued, over everybody and restarts: a full minute makes further decisions wait, a full hour or too large a
//! share of the group stops all of them until an operator closes it again. The limits of `permissions.json` hold for single actors.
//! Both are read and written in the commit that queues a decision, so no race gets past them. What ends without ever having touched Roblox
//! is given back to the breaker, which is to measure what happens to the group.

mod alert;
mod api;
mod limits;
mod rules;
mod service;
mod tables;
mod window;

pub use alert::Alerts;
pub use api::BrakesApi;
pub use limits::{Admitted, Deed, Doer, limited};
pub use rules::{Allowance, LEAST_SHARE};
pub use service::{Brakes, Counted, Fittings, State, count, give_back};
pub use tables::{ACTOR_USES, BREAKER, Breaker, Count, Limit, MAX_UNTOLD, Trip};
pub use window::Window;
