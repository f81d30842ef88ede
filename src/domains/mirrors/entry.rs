//! A player's entry in the data store: the rank is set, everything else stays.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::pauses::{Pauses, ROUGH, is_rough};
use super::service::{MIRROR_DUE, Mirrors};
use super::text::with_rank;
use crate::base::{Cursor, Error, Result, RobloxId};
use crate::domains::players::{PLAYERS, Player};
use crate::remote::Roblox;
use crate::remote::roblox::{Complaint, Cure, Replaced, StoreId, Trouble};
use crate::workers::{Next, Worker};

/// Entries written in one tick at most.
const A_TICK: usize = 32;

/// Times one entry is read and written anew because somebody else wrote in between.
const MAX_RACES: usize = 5;

/// Times an entry is tried whose answer cannot be read.
const MAX_TRIES: u32 = 8;

/// The pause when nothing is due; commits call sooner.
const IDLE: Duration = Duration::from_secs(60);

/// The pause after what does not say how long.
const AFTER_TROUBLE: Duration = Duration::from_secs(15);

/// Writes entries that are due, one page of them after the other: what is in the way of one entry is not in the way of the next.
pub struct EntryMirror {
    mirrors: Mirrors,
    roblox: Roblox,
    at: StoreId,
    prefix: String,
    /// Where the walk over those due goes on.
    next: Option<Cursor>,
    pauses: Pauses,
}

impl EntryMirror {
    pub(super) fn new(mirrors: Mirrors, roblox: Roblox, at: StoreId, prefix: String) -> Self {
        Self { mirrors, roblox, at, prefix, next: None, pauses: Pauses::default() }
    }

    async fn work(&mut self) -> Result<Next> {
        let page = self.mirrors.store.scan(MIRROR_DUE.all().after(self.next.as_ref()), A_TICK).await?;
        let mut rough = 0;
        for (user, asked) in page.items {
            if self.pauses.hold(user, self.roblox.clock().now()) {
                continue;
            }
            let Err(trouble) = self.one(user).await? else {
                rough = 0;
                self.done(user, asked).await?;
                continue;
            };
            match (&trouble, trouble.cure()) {
                (Trouble::Paced { .. } | Trouble::Limited { .. }, _) => {
                    return Ok(Next::After(trouble.wait().unwrap_or(AFTER_TROUBLE)));
                }
                (_, Cure::Owner) => {
                    let what = format!("entries are not written: {}", trouble.what());
                    return Err(Error::remote("mirrors.roblox", what));
                }
                (_, Cure::Nothing) => self.give_up(user, asked, &trouble).await?,
                (_, Cure::Time) => {
                    let failures = self.pauses.failed(user, self.roblox.clock().now());
                    rough = if is_rough(&trouble) { rough + 1 } else { 0 };
                    if failures >= MAX_TRIES && !is_rough(&trouble) {
                        self.give_up(user, asked, &trouble).await?;
                    }
                }
            }
            if rough >= ROUGH {
                return Ok(Next::After(AFTER_TROUBLE));
            }
        }
        self.next = page.next;
        Ok(if self.next.is_some() { Next::Now } else { Next::After(IDLE) })
    }

    async fn give_up(&mut self, user: RobloxId, asked: u64, trouble: &Trouble) -> Result<()> {
        tracing::warn!(%user, "the player's entry cannot be written: {}", trouble.what());
        self.done(user, asked).await
    }

    /// Forgets that it was due, unless it became due again meanwhile.
    async fn done(&mut self, user: RobloxId, asked: u64) -> Result<()> {
        self.pauses.over(user);
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

    /// Writes one entry; the inner error is Roblox's, the outer one the store's.
    async fn one(&self, user: RobloxId) -> Result<std::result::Result<(), Trouble>> {
        match self.mirrors.store.get(&PLAYERS, &user).await? {
            Some(player) => Ok(self.write(&player).await),
            None => Ok(Ok(())),
        }
    }

    async fn write(&self, player: &Player) -> std::result::Result<(), Trouble> {
        let key = format!("{}{}", self.prefix, player.user_id);
        for _ in 0..MAX_RACES {
            // An entry is the game's to make: one that is not there may be about to be, with everything that belongs into it.
            let Some(held) = self.roblox.versioned_entry(&self.at, &key).await? else { return Ok(()) };
            let Some(text) = with_rank(&held.text, player.rank.as_deref()) else { return Ok(()) };
            match self.roblox.replace_entry(&self.at, &key, text, &held).await? {
                Replaced::Done => return Ok(()),
                Replaced::Moved => {}
            }
        }
        let complaint = Complaint { code: None, message: "somebody else keeps writing it".to_owned() };
        Err(Trouble::Refused { status: 409, complaint })
    }
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
