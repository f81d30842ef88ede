//! What is stored: how far each channel was read, and the last rejections, in a ring.

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::embed::Refused;
use crate::base::{Result, Time};
use crate::store::{Record, Store, Table, Tx};

/// By channel, so that a channel that is read again later goes on where it was left.
pub static DISCORD_CURSORS: Table<u64, Cursor> = Table::new("discord_cursors", *b"dc");

/// The newest rejections: number `n` is in row `n % MAX_REJECTIONS`.
pub static DISCORD_REJECTIONS: Table<u32, Rejection> = Table::new("discord_rejections", *b"dr");

/// How many there ever were.
pub static DISCORD_REJECTED: Table<(), u64> = Table::new("discord_rejected", *b"dn");

/// Rejections that are kept.
pub const MAX_REJECTIONS: u32 = 1000;

/// A message or an embed that became no job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Counts up from 0.
    pub number: u64,
    pub at: Time,
    pub channel: u64,
    /// None when the message had no id.
    pub message: Option<u64>,
    /// None when the whole message is meant.
    pub index: Option<u32>,
    pub reason: String,
}

impl Record for Rejection {
    const VERSION: u8 = 1;
}

/// Writes rejections into the ring, over the oldest.
pub(super) async fn record(tx: &Tx, channel: u64, refused: &[Refused], now: Time) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let first = tx.get(&DISCORD_REJECTED, &()).await?.unwrap_or(0);
    for (number, refused) in (first..).zip(refused) {
        let Refused { message, index, reason } = refused;
        let message = message.map(|message| message.0);
        let row = Rejection { number, at: now, channel, message, index: *index, reason: reason.clone() };
        tx.put(&DISCORD_REJECTIONS, &((number % u64::from(MAX_REJECTIONS)) as u32), &row);
    }
    tx.put(&DISCORD_REJECTED, &(), &(first + refused.len() as u64));
    Ok(())
}

/// The newest `limit` rejections, newest first.
pub(super) async fn rejections(store: &Store, limit: usize) -> Result<Vec<Rejection>> {
    let page = store.scan(DISCORD_REJECTIONS.all(), MAX_REJECTIONS as usize).await?;
    let mut rows: Vec<Rejection> = page.items.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.number));
    rows.truncate(limit);
    Ok(rows)
}
