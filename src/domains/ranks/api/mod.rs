//! The endpoints: snapshots and decisions as the seed has them, finding decisions and saying yes or no to them, taking them back.

mod asker;
mod decide;
mod decisions;
mod revert;
mod shown;
mod wire;

pub use asker::Claimant;
pub use decide::RanksApi;
pub use decisions::DecisionsApi;
pub use revert::RevertApi;
pub use shown::Obstacles;
