//! Whoever carries decisions out, without a Roblox behind: every queued decision takes effect, or fails, at once.

use grps::base::{Id, RobloxId};
use grps::domains::audit::Actor;
use grps::domains::ranks::{End, Ended, OPEN_EFFECTS, Sender, Stamp};

use crate::harness::TestApp;
use crate::state::rows;

/// Ends one decision.
pub async fn end(app: &TestApp, key: (RobloxId, Id), end: &End) -> Ended {
    let sender = Sender { actor: Actor::of("effects"), request_id: "effects".into() };
    let stamp = Stamp { audit: app.app.ids.next(), at: app.clock.now(), sender };
    let (ranks, stamp) = (&app.app.ranks, &stamp);
    app.app.store.transact(|tx| async move { ranks.end(&tx, key, end, stamp).await }).await.unwrap()
}

/// Ends all that are queued; returns how many.
pub async fn end_all(app: &TestApp, how: &End) -> usize {
    let open = rows(app, &OPEN_EFFECTS).await;
    for (id, user) in &open {
        assert!(matches!(end(app, (*user, *id), how).await, Ended::Done(_)), "{id}");
    }
    open.len()
}

/// Everything that is queued takes effect; returns how many.
pub async fn carry_out(app: &TestApp) -> usize {
    end_all(app, &End::Applied { what: None }).await
}

/// Everything that is queued fails; returns how many.
pub async fn fail(app: &TestApp, why: &str) -> usize {
    end_all(app, &End::Failed { why: why.to_owned() }).await
}
