//! What the poller writes: a portion's jobs, its rejections and the cursor that says they are done, in one commit.

use super::cursor::Cursor;
use super::page::Portion;
use super::service::DiscordFeed;
use super::status::Counts;
use super::tables::{self, DISCORD_CURSORS};
use crate::base::{Error, Kind, Result, Time};
use crate::domains::jobs::NewJob;
use crate::remote::discord::Snowflake;
use crate::store::Tx;

impl DiscordFeed {
    /// Stores a portion; gives the cursor behind it. What the queue does not take as a whole is tried message by message: what is refused
    /// for good becomes a rejection, and a queue with little room is filled as far as it goes.
    pub(super) async fn take_in(&self, from: Cursor, portion: Portion, shown: Snowflake, now: Time) -> Result<Cursor> {
        let next = from.with(&portion.ids, shown, now);
        match self.commit(Some(&from), &next, &portion).await {
            Ok(()) => return Ok(next),
            Err(error) if !is_final(&error) && error.kind() != Kind::Full => return Err(error),
            Err(_) => {}
        }
        let mut cursor = from;
        for mut one in portion.singly() {
            let next = cursor.with(&one.ids, shown, now);
            match self.commit(Some(&cursor), &next, &one).await {
                Err(error) if is_final(&error) && !one.found.is_empty() => {
                    tracing::warn!(
                        ?error,
                        message = one.ids.first().map(|id| id.0),
                        "the queue refused jobs from Discord; they are listed as rejections"
                    );
                    one.refuse(&error);
                    self.commit(Some(&cursor), &next, &one).await?;
                }
                other => other?,
            }
            cursor = next;
        }
        Ok(cursor)
    }

    /// One commit: the jobs, the rejections, and the cursor that says they are done.
    pub(super) async fn commit(&self, from: Option<&Cursor>, to: &Cursor, portion: &Portion) -> Result<()> {
        let Self { store, jobs, queue, board, .. } = self;
        let wanted = portion.found.iter().map(|found| {
            let mut job = NewJob::new(queue.clone(), found.payload.as_str(), "discord");
            job.key = Some(format!("discord:{}:{}", found.message.0, found.index));
            job
        });
        let prepared = jobs.prepare(wanted.collect())?;
        let (shared, channel) = (&prepared, self.channel().unwrap_or_default());
        let done = store
            .transact(|tx: Tx| async move {
                if tx.get(&DISCORD_CURSORS, &channel).await?.as_ref() != from {
                    return Err(Error::busy("discord.cursor_moved", "somebody else reads the same channel"));
                }
                let enqueued = jobs.add(&tx, shared).await?;
                tables::record(&tx, channel, &portion.refused, to.at).await?;
                tx.put(&DISCORD_CURSORS, &channel, to);
                Ok(enqueued.iter().filter(|enqueued| !enqueued.replayed).count())
            })
            .await;
        prepared.settle(&done);
        let counts = Counts {
            polls: 0,
            messages: portion.ids.len() as u64,
            jobs: done? as u64,
            rejections: portion.refused.len() as u64,
        };
        board.committed(counts, to.newest());
        Ok(())
    }
}

/// Whether the same jobs would be refused again and again.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::TooLarge)
}
