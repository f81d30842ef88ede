//! `grps points`: what is done for many players at once.

mod list;
mod points;

pub use points::PointsCommand;
pub use points::run as points;
