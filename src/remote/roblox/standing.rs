//! Whether Roblox takes calls with the key at all: what the answer to any call tells of all others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::trouble::Trouble;

/// What the newest answers say of the key. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Standing {
    refused: Arc<Mutex<Option<Trouble>>>,
    /// Rings when a key that was good is refused.
    pub news: Arc<Notify>,
}

impl Standing {
    /// Why the key was refused, since no call with it was understood afterwards.
    pub fn refused(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    pub(super) fn heard<T>(&self, answer: &Result<T, Trouble>) {
        let refused = match answer {
            Err(trouble @ Trouble::Unauthenticated(_)) => Some(trouble.clone()),
            // Refused for other reasons, but by somebody who has looked at the key.
            Ok(_) | Err(Trouble::Denied { .. } | Trouble::Missing { .. } | Trouble::Refused { .. }) => None,
            Err(_) => return,
        };
        let fresh = refused.is_some();
        let before = std::mem::replace(&mut *self.lock(), refused);
        if fresh && before.is_none() {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::trouble::Complaint;
    use super::*;

    #[test]
    fn the_newest_answer_that_says_something_of_the_key_counts() {
        let standing = Standing::default();
        let complaint = Complaint::default;
        let heard = |answer: Result<(), Trouble>| {
            standing.heard(&answer);
            standing.refused().is_some()
        };
        let down = || Err(Trouble::Down { status: 503, complaint: complaint() });
        assert!(!heard(down()));
        assert!(heard(Err(Trouble::Unauthenticated(complaint()))));
        assert!(heard(down()), "who does not answer says nothing of the key");
        assert!(!heard(Err(Trouble::Denied { scope: "group:write", complaint: complaint() })));
        assert!(heard(Err(Trouble::Unauthenticated(complaint()))) && !heard(Ok(())));
    }
}
