//! The worker that answers join requests, one by one and within the budget.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;

use super::decide::{Verdict, decide};
use super::tables::{Answering, JOINS_ANSWERING};
use crate::base::{Clock, Error, Ids, Result, RobloxId};
use crate::domains::audit::{self, Actor};
use crate::domains::group::{Access, Group};
use crate::domains::players::{PLAYERS, Player};
use crate::domains::policy::Policy;
use crate::remote::roblox::Trouble;
use crate::store::Store;
use crate::workers::{Next, Worker};

/// How often requests are looked at.
pub const EVERY: Duration = Duration::from_secs(60);

/// Pages of requests that are read in one look, of 20 each.
const MAX_PAGES: usize = 200;

/// Answers of before a crash that are cleared up in one look.
const MAX_LEFT_OVER: usize = 100;

/// Why a look ended early.
enum Stop {
    Trouble(Trouble),
    Store(Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Answers join requests.
pub struct JoinsWorker {
    store: Store,
    clock: Clock,
    ids: Ids,
    group: Group,
    access: Access,
}

impl JoinsWorker {
    /// None without a group.
    pub fn new((store, clock, ids): (Store, Clock, Ids), group: Group) -> Option<Self> {
        let access = group.access()?;
        Some(Self { store, clock, ids, group, access })
    }

    async fn look(&self) -> Result<Next> {
        let policy = self.group.policy();
        if !policy.settings().join_requests.is_on() {
            return Ok(Next::After(EVERY));
        }
        match self.answer_all(&policy).await {
            Ok(()) => Ok(Next::After(EVERY)),
            Err(Stop::Store(error)) => Err(error),
            Err(Stop::Trouble(Trouble::Paced { wait })) => Ok(Next::After(wait)),
            Err(Stop::Trouble(trouble)) => {
                let error = Error::remote("joins.failed", format!("join requests: {}", trouble.what()));
                Err(match trouble.hint() {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }

    async fn answer_all(&self, policy: &Policy) -> Result<(), Stop> {
        // Whoever was let in asks no more; of whoever was turned away only the whole list tells.
        self.clear_up(&BTreeSet::new(), true).await?;
        let (mut page, mut asking): (Option<String>, BTreeSet<RobloxId>) = (None, BTreeSet::new());
        for _ in 0..MAX_PAGES {
            let listed = self.access.roblox.join_requests(self.access.group, page.as_deref()).await?;
            let users: Vec<RobloxId> =
                listed.items.iter().filter_map(|request| RobloxId::new(request.user).ok()).collect();
            asking.extend(&users);
            let players = self.store.get_many(&PLAYERS, &users).await?;
            for (user, player) in users.into_iter().zip(players) {
                self.answer(policy, user, player.as_ref()).await?;
            }
            page = listed.next;
            if page.is_none() {
                return self.clear_up(&asking, false).await;
            }
        }
        Ok(())
    }

    async fn answer(&self, policy: &Policy, user: RobloxId, player: Option<&Player>) -> Result<(), Stop> {
        let now = self.clock.now();
        let answering = match decide(policy, user, player, now) {
            Verdict::Leave => return Ok(()),
            Verdict::Accept(why) => Answering { accept: true, why, at: now },
            Verdict::Decline(why) => Answering { accept: false, why, at: now },
        };
        let row = &answering;
        self.store
            .transact(|tx| async move {
                tx.put(&JOINS_ANSWERING, &user, row);
                Ok(())
            })
            .await?;
        let (roblox, group) = (&self.access.roblox, self.access.group);
        let answer = match answering.accept {
            true => roblox.accept_join(group, user.get()).await,
            false => roblox.decline_join(group, user.get()).await,
        };
        match answer {
            Ok(()) => Ok(self.settle(user, Some(&answering)).await?),
            // Somebody was faster, or they thought better of it.
            Err(Trouble::Missing { .. }) => Ok(self.settle(user, None).await?),
            // Not sent, or refused: nothing happened.
            Err(trouble @ (Trouble::Paced { .. } | Trouble::Limited { .. } | Trouble::Denied { .. })) => {
                self.settle(user, None).await?;
                Err(trouble.into())
            }
            // It may have happened: the row stays until that is known.
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Answers of one kind whose outcome was never heard: whoever is a member now was accepted, whoever is not and is not among those who
    /// are `asking` was declined. A request that is still there is answered again.
    async fn clear_up(&self, asking: &BTreeSet<RobloxId>, accepted: bool) -> Result<(), Stop> {
        let left = self.store.scan(JOINS_ANSWERING.all(), MAX_LEFT_OVER).await?.items;
        let left = left.into_iter().filter(|(user, answering)| answering.accept == accepted && !asking.contains(user));
        for (user, answering) in left {
            let member = self.access.roblox.membership(self.access.group, user.get()).await?.is_some();
            self.settle(user, Some(&answering).filter(|answering| answering.accept == member)).await?;
        }
        Ok(())
    }

    /// The request is answered: its row goes, and the audit row comes when it was us.
    async fn settle(&self, user: RobloxId, answered: Option<&Answering>) -> Result<()> {
        let audit_id = self.ids.next();
        let entry = answered.map(|answering| audit::Entry {
            at: self.clock.now(),
            actor: Actor::of("joins"),
            action: if answering.accept { "join.accepted" } else { "join.declined" }.to_owned(),
            subject: format!("player:{user}"),
            before: None,
            after: Some(json!({ "reason": answering.why }).to_string()),
            request_id: String::new(),
        });
        let entry = &entry;
        self.store
            .transact(|tx| async move {
                // Told once: only whoever takes the row away tells.
                if tx.get(&JOINS_ANSWERING, &user).await?.is_none() {
                    return Ok(());
                }
                tx.delete(&JOINS_ANSWERING, &user);
                if let Some(entry) = entry {
                    audit::record(&tx, audit_id, entry);
                }
                Ok(())
            })
            .await
    }
}

impl Worker for JoinsWorker {
    fn name(&self) -> &'static str {
        "joins"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.look())
    }
}
