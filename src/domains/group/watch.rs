//! The worker that keeps what is known of the group and the key from growing old, and says when something is wrong with either.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::keys::{KeyFault, days_left};
use super::service::{Access, Group, KEY_AGE};
use crate::base::{Failing, Result};
use crate::remote::roblox::Trouble;
use crate::workers::{Next, Worker};

/// How often the group is looked at.
pub const EVERY: Duration = Duration::from_secs(600);

/// The pause after a look that failed, or that found a key which will not do.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks at the group by the clock.
pub struct GroupWatch {
    group: Group,
    access: Access,
    /// What was last said of the key, so that it is said once.
    said: Option<KeyFault>,
}

impl GroupWatch {
    /// None without a group.
    pub fn new(group: Group) -> Option<Self> {
        let access = group.access()?;
        Some(Self { group, access, said: None })
    }

    async fn look(&mut self) -> Next {
        match self.ask().await {
            Ok(()) => {
                if self.group.note(None) {
                    tracing::info!("the group can be read again");
                }
                Next::After(match self.said {
                    None | Some(KeyFault::ExpiresIn(_)) => EVERY,
                    Some(_) => AGAIN,
                })
            }
            // Our own budget is used up: nothing is wrong.
            Err(Trouble::Paced { wait }) => Next::After(wait),
            Err(trouble) => {
                if self.group.note(Some(Failing::from(&trouble))) {
                    let hint = trouble.hint();
                    tracing::warn!(
                        hint = hint.as_deref().unwrap_or("it will be tried again"),
                        "the group: {}",
                        trouble.what()
                    );
                }
                Next::After(trouble.wait().unwrap_or(AGAIN).max(AGAIN))
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Trouble> {
        // What was wrong may have been mended since.
        let age = if self.group.failing().is_some() { Duration::ZERO } else { KEY_AGE };
        let key = self.group.key(age).await;
        self.group.roles(Duration::ZERO).await?;
        let key = key?;
        let now = self.group.clock.now();
        self.group.meters.key_days.set(days_left(&key, now).map_or(-1, |days| days as i64));
        let fault = KeyFault::of(&key, self.access.group, now);
        if let Some(news) = fault.as_ref().filter(|_| fault != self.said) {
            tracing::warn!(hint = news.fix(), "{news}");
        }
        self.said = fault;
        Ok(())
    }
}

impl Worker for GroupWatch {
    fn name(&self) -> &'static str {
        "group"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async { Ok(self.look().await) })
    }

    /// Somebody else's call met a key that is refused.
    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.access.roblox.standing().news.clone())
    }
}
