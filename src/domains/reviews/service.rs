//! Starting, watching and ending reviews, and the page that the worker does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Notify;

use super::model::{Review, Status};
use super::tables::{REVIEW_RUNNING, REVIEWS};
use crate::base::{Clock, Cursor, Error, Id, Ids, Page, Result, RobloxId};
use crate::domains::audit;
use crate::domains::players::PLAYERS;
use crate::domains::ranks::{Ask, Outcome, Ranks, Sender};
use crate::domains::standings::{BoardId, Standings};
use crate::store::{MAX_PAGE, Store, Tx};

/// Players of one page, and of one tick.
pub const PAGE: usize = 100;

/// Players decided about at once; they share the store's flushes.
const AT_ONCE: usize = 32;

/// Ended reviews that are kept, newest first, as long as audit rows are.
pub const MAX_KEPT: usize = 100;

/// Starts reviews and tells of them; the worker carries them out.
#[derive(Clone)]
pub struct Reviews {
    store: Store,
    clock: Clock,
    ids: Ids,
    ranks: Ranks,
    standings: Standings,
    /// Rings when there is a review to carry out.
    pub(super) bell: Arc<Notify>,
}

impl Reviews {
    pub fn new(store: Store, clock: Clock, ids: Ids, ranks: Ranks, standings: Standings) -> Self {
        Self { store, clock, ids, ranks, standings, bell: Arc::default() }
    }

    /// Starts a review, or finds the one that runs if it is what was asked for.
    ///
    /// # Errors
    /// `reviews.running` while one runs that differs in whether its decisions take effect; those of the store.
    pub async fn start(&self, apply: bool, sender: &Sender) -> Result<(Id, Review)> {
        let (id, audit_id, now) = (self.ids.next(), self.ids.next(), self.clock.now());
        let fresh = &Review {
            at: now,
            apply,
            actor: sender.actor.clone(),
            request_id: sender.request_id.clone(),
            status: Status::Running,
            total: self.standings.len(BoardId::PLAYERS) as u64,
            done: 0,
            counts: Default::default(),
            cursor: None,
            ended_at: None,
            failures: 0,
            failure: None,
        };
        let started = self
            .store
            .transact(|tx| async move {
                match running(&tx).await? {
                    Some((id, review)) if review.apply != apply => return Err(other(id, &review)),
                    Some(running) => return Ok(running),
                    None => {}
                }
                tx.put(&REVIEWS, &id, fresh);
                tx.put(&REVIEW_RUNNING, &(), &id);
                let after = serde_json::json!({ "apply": apply, "players": fresh.total });
                audit::record(&tx, audit_id, &sender.entry(now, "review.started", format!("review:{id}")).after(after));
                Ok((id, fresh.clone()))
            })
            .await?;
        self.bell.notify_one();
        Ok(started)
    }

    /// Ends a review where it is; what it decided stands. Cancelled twice is cancelled.
    ///
    /// # Errors
    /// `reviews.missing`; `reviews.ended`; those of the store.
    pub async fn cancel(&self, id: Id, sender: &Sender) -> Result<Review> {
        let (now, audit_id) = (self.clock.now(), self.ids.next());
        self.store
            .transact(|tx| async move {
                let mut review = tx.get(&REVIEWS, &id).await?.ok_or_else(|| missing(id))?;
                match review.status {
                    Status::Cancelled => return Ok(review),
                    Status::Done | Status::Failed => {
                        return Err(Error::conflict("reviews.ended", format!("review {id} has ended")));
                    }
                    Status::Running => {}
                }
                review.end(Status::Cancelled, now);
                tx.put(&REVIEWS, &id, &review);
                tx.delete(&REVIEW_RUNNING, &());
                let after = serde_json::json!({ "done": review.done });
                audit::record(
                    &tx,
                    audit_id,
                    &sender.entry(now, "review.cancelled", format!("review:{id}")).after(after),
                );
                Ok(review)
            })
            .await
    }

    /// # Errors
    /// `reviews.missing`; those of the store.
    pub async fn find(&self, id: Id) -> Result<Review> {
        self.store.get(&REVIEWS, &id).await?.ok_or_else(|| missing(id))
    }

    /// A page of reviews, newest first.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; those of the store.
    pub async fn list(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<(Id, Review)>> {
        self.store.scan(REVIEWS.all().newest_first().after(after), limit).await
    }

    /// Decides about the next page of the review that runs; says whether there was one.
    ///
    /// # Errors
    /// Those of the store; after [`MAX_FAILURES`](super::MAX_FAILURES) of them in a row the review is given up.
    pub(super) async fn step(&self) -> Result<bool> {
        let Some(id) = self.store.get(&REVIEW_RUNNING, &()).await? else { return Ok(false) };
        let review = self.find(id).await?;
        match self.page(&review).await {
            Ok(Page { items, next }) => {
                let now = self.clock.now();
                self.note(id, &review, |review| review.advance(&items, next.as_ref(), now)).await?;
                Ok(true)
            }
            Err(error) => {
                let (why, now) = (format!("{}: {}", error.code(), error.detail()), self.clock.now());
                self.note(id, &review, |review| review.fail(&why, now)).await?;
                Err(error)
            }
        }
    }

    /// Decides about the players of the next page.
    async fn page(&self, review: &Review) -> Result<Page<Outcome>> {
        let after = review.cursor.clone().map(Cursor);
        let page = self.store.scan(PLAYERS.all().after(after.as_ref()), PAGE).await?;
        let ask = if review.apply { Ask::Apply } else { Ask::Evaluate };
        let sender = &Sender { actor: review.actor.clone(), request_id: review.request_id.clone() };
        let items: Vec<Outcome> = futures_util::stream::iter(page.items)
            .map(|(user, _)| self.decide(user, ask, sender))
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|outcome| std::future::ready(Ok(outcome)))
            .try_collect()
            .await?;
        Ok(Page { items, next: page.next })
    }

    /// None for a player who went meanwhile.
    async fn decide(&self, user: RobloxId, ask: Ask, sender: &Sender) -> Result<Option<Outcome>> {
        match self.ranks.review(user, ask, sender).await {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error) if error.code() == "players.missing" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down how a page went, unless the review was ended or moved on by somebody else meanwhile.
    async fn note(&self, id: Id, seen: &Review, change: impl Fn(&mut Review)) -> Result<()> {
        let change = &change;
        self.store
            .transact(|tx| async move {
                let Some(mut review) = tx.get(&REVIEWS, &id).await?.filter(|review| review == seen) else {
                    return Ok(());
                };
                change(&mut review);
                tx.put(&REVIEWS, &id, &review);
                if !review.is_running() {
                    tx.delete(&REVIEW_RUNNING, &());
                }
                Ok(())
            })
            .await
    }

    /// Forgets the reviews that ended long ago, or are too many.
    pub(super) async fn forget(&self, kept: Duration) -> Result<()> {
        let oldest = Id::floor(self.clock.now() - kept);
        let page = self.store.scan(REVIEWS.all().newest_first(), MAX_PAGE).await?;
        let ended = page.items.into_iter().filter(|(_, review)| !review.is_running()).enumerate();
        let old = ended.filter(|(place, (id, _))| *place >= MAX_KEPT || *id < oldest).map(|(_, (id, _))| id);
        let doomed: &Vec<Id> = &old.collect();
        if doomed.is_empty() {
            return Ok(());
        }
        self.store
            .transact(|tx| async move {
                doomed.iter().for_each(|id| tx.delete(&REVIEWS, id));
                Ok(())
            })
            .await
    }
}

async fn running(tx: &Tx) -> Result<Option<(Id, Review)>> {
    let Some(id) = tx.get(&REVIEW_RUNNING, &()).await? else { return Ok(None) };
    Ok(tx.get(&REVIEWS, &id).await?.map(|review| (id, review)))
}

/// Another kind of review runs: answering with it would look as if what was asked for were done.
fn other(id: Id, review: &Review) -> Error {
    let what = if review.apply { "lets its decisions take effect" } else { "only looks" };
    Error::conflict("reviews.running", format!("review {id} runs, and it {what}"))
        .hint("ask again when it has ended, or cancel it")
}

fn missing(id: Id) -> Error {
    Error::missing("reviews.missing", format!("there is no review {id}"))
        .hint("GET /automation/reviews lists the reviews that are kept")
}
