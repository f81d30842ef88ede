//! How the server is doing: liveness, readiness, the seeds' two health answers, and Prometheus metrics.

mod api;
mod checks;

pub use api::HealthApi;
pub use checks::{Check, Checks};
