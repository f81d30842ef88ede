//! A player's entry in the data store: the rank is set, everything else stays.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::service::{MIRROR_DUE, Mirrors};
use crate::base::{Error, Result, RobloxId};
use crate::domains::players::{PLAYERS, Player};
use crate::remote::Roblox;
use crate::remote::roblox::{Cure, Replaced, StoreId, Trouble};
use crate::workers::{Next, Worker};

/// Entries written in one tick at most.
const A_TICK: usize = 32;

/// Times one entry is read and written anew because somebody else wrote in between.
const MAX_RACES: usize = 5;

/// The pause when nothing is due; commits call sooner.
const IDLE: Duration = Duration::from_secs(60);

/// The pause after what does not say how long.
const AFTER_TROUBLE: Duration = Duration::from_secs(15);

/// Writes entries that are due.
pub struct EntryMirror {
    mirrors: Mirrors,
    roblox: Roblox,
    at: StoreId,
    prefix: String,
}

impl EntryMirror {
    pub(super) fn new(mirrors: Mirrors, roblox: Roblox, at: StoreId, prefix: String) -> Self {
        Self { mirrors, roblox, at, prefix }
    }

    async fn work(&self) -> Result<Next> {
        let page = self.mirrors.store.scan(MIRROR_DUE.all(), A_TICK).await?;
        for (user, asked) in page.items {
            match self.one(user).await {
                Ok(()) => {}
                Err(trouble) if trouble.cure() == Cure::Nothing => {
                    tracing::warn!(%user, "the player's entry cannot be written: {}", trouble.what());
                }
                Err(Trouble::Paced { wait }) => return Ok(Next::After(wait)),
                Err(trouble) if trouble.cure() == Cure::Time => {
                    return Ok(Next::After(trouble.wait().unwrap_or(AFTER_TROUBLE)));
                }
                Err(trouble) => {
                    let error = Error::remote("mirrors.roblox", format!("entries are not written: {}", trouble.what()));
                    return Err(error);
                }
            }
            self.done(user, asked).await?;
        }
        Ok(if page.next.is_some() { Next::Now } else { Next::After(IDLE) })
    }

    /// Forgets that it was due, unless it became due again meanwhile.
    async fn done(&self, user: RobloxId, asked: u64) -> Result<()> {
        let user = &user;
        self.mirrors
            .store
            .transact(|tx| async move {
                if tx.get(&MIRROR_DUE, user).await? == Some(asked) {
                    tx.delete(&MIRROR_DUE, user);
                }
                Ok(())
            })
            .await
    }

    async fn one(&self, user: RobloxId) -> std::result::Result<(), Trouble> {
        let Ok(Some(player)) = self.mirrors.store.get(&PLAYERS, &user).await else { return Ok(()) };
        let key = format!("{}{user}", self.prefix);
        for _ in 0..MAX_RACES {
            let held = self.roblox.versioned_entry(&self.at, &key).await?;
            let Some(text) = written(held.as_ref().map(|held| held.text.as_str()), &player) else { return Ok(()) };
            match self.roblox.replace_entry(&self.at, &key, text, held.as_ref()).await? {
                Replaced::Done => return Ok(()),
                Replaced::Moved => {}
            }
        }
        Err(Trouble::Paced { wait: AFTER_TROUBLE })
    }
}

/// What the entry shall be; none when there is nothing to change, or nothing we understand. An entry that is a text holding JSON stays one.
fn written(held: Option<&str>, player: &Player) -> Option<String> {
    let Some(held) = held else {
        let entry = json!({
            "userId": player.user_id.get(), "username": player.username, "rank": player.rank,
            "points": player.points, "kos": player.kos, "wos": player.wos,
        });
        return Some(entry.to_string());
    };
    let value: Value = serde_json::from_str(held).ok()?;
    match value {
        Value::Object(fields) => with_rank(fields, player).map(|fields| Value::Object(fields).to_string()),
        Value::String(inner) => {
            let Value::Object(fields) = serde_json::from_str(&inner).ok()? else { return None };
            let inner = Value::Object(with_rank(fields, player)?).to_string();
            Some(Value::String(inner).to_string())
        }
        _ => None,
    }
}

fn with_rank(mut fields: Map<String, Value>, player: &Player) -> Option<Map<String, Value>> {
    let rank = player.rank.clone().map_or(Value::Null, Value::String);
    let was = fields.insert("rank".to_owned(), rank.clone());
    (was.as_ref() != Some(&rank)).then_some(fields)
}

impl Worker for EntryMirror {
    fn name(&self) -> &'static str {
        "entry-mirror"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.work())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.mirrors.wake.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Time;
    use crate::domains::players::Observation;

    #[test]
    fn only_the_rank_is_set_and_the_rest_stays_in_its_order() {
        let rank = Some(Some("Storm Corporal I".to_owned()));
        let seen = Observation { rank, points: Some(5), ..Observation::of(RobloxId::EXAMPLE, "Arc") };
        let player = Player::first_seen(&seen, Time(0));
        let held = r#"{"pets":[1.50,{"x":null}],"rank":"Old","points":900}"#;
        let expected = r#"{"pets":[1.5,{"x":null}],"rank":"Storm Corporal I","points":900}"#;
        assert_eq!(written(Some(held), &player).as_deref(), Some(expected));
        let text = Value::from(r#"{"a":1}"#).to_string();
        let inner: String = serde_json::from_str(&written(Some(&text), &player).unwrap()).unwrap();
        assert_eq!(inner, r#"{"a":1,"rank":"Storm Corporal I"}"#);
        assert_eq!(written(Some(r#"{"rank":"Storm Corporal I"}"#), &player), None);
        for odd in ["[1]", "7", "not json", "\"not json\""] {
            assert_eq!(written(Some(odd), &player), None, "{odd}");
        }
        assert!(written(None, &player).unwrap().contains("\"points\":5"));
    }
}
