//! `grps points` and `grps schedules`: what is done for many players at once, and by the clock.

mod list;
mod points;
mod schedules;

pub use points::PointsCommand;
pub use points::run as points;
pub use schedules::SchedulesArgs;
pub use schedules::run as schedules;
