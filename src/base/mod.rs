//! Floor 0, the vocabulary: errors, failings, time, ids, secrets, pages, metrics and panics. Nothing here knows about HTTP, the store or a domain.

pub mod clock;
pub mod error;
pub mod failing;
pub mod ids;
pub mod metrics;
pub mod page;
pub mod panics;
pub mod secret;

pub use clock::{Clock, Time};
pub use error::{Error, Field, Kind, Result};
pub use failing::Failing;
pub use ids::{Id, Ids, RobloxId, UserKey};
pub use page::{Cursor, Page};
pub use secret::{Secret, Secrets};
