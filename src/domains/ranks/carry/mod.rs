//! What becomes of a decision after it was made: it is ordered without the policy, it ends, and somebody waits for that. Whoever carries
//! decisions out calls these inside the commit that tells of it.

mod end;
mod order;
mod settled;

pub use end::{End, Ended};
pub(super) use order::shield;
pub use order::{Order, OrderIds, Ordered};
pub use settled::Settled;
pub(super) use settled::Waiting;
