//! A page of messages, sorted out and cut into commits: pure.

use serde_json::Value;

use super::content::Content;
use super::cursor::Cursor;
use super::embed::{self, Found, Reading, Refused};
use crate::base::Error;
use crate::domains::jobs::{MAX_BATCH, MAX_PAYLOAD};
use crate::remote::MAX_ANSWER;
use crate::remote::discord::Snowflake;

/// Messages that go into one commit.
#[derive(Default)]
pub struct Portion {
    /// Rising.
    pub ids: Vec<Snowflake>,
    pub found: Vec<Found>,
    pub refused: Vec<Refused>,
}

impl Portion {
    fn size(&self) -> usize {
        self.found.len() + self.refused.len()
    }

    fn add(&mut self, id: Option<Snowflake>, reading: Reading) {
        self.ids.extend(id);
        self.found.extend(reading.found);
        self.refused.extend(reading.refused);
    }

    /// Each message by itself; what has no id goes with the first.
    pub fn singly(&self) -> impl Iterator<Item = Self> + '_ {
        self.ids.iter().enumerate().map(|(index, id)| {
            let of = |message: Option<Snowflake>| message == Some(*id) || (index == 0 && message.is_none());
            Self {
                ids: vec![*id],
                found: self.found.iter().filter(|found| found.message == *id).cloned().collect(),
                refused: self.refused.iter().filter(|refused| of(refused.message)).cloned().collect(),
            }
        })
    }

    /// Makes rejections of its jobs.
    pub fn refuse(&mut self, error: &Error) {
        self.refused.extend(self.found.drain(..).map(|found| Refused {
            message: Some(found.message),
            index: Some(found.index),
            reason: error.detail().to_owned(),
        }));
    }
}

/// A page, sorted out.
pub struct Page {
    /// Messages that are not done, oldest first; those without an id in front.
    pub readings: Vec<(Option<Snowflake>, Reading)>,
    /// There may be more behind it.
    pub full: bool,
    /// The last message on it, done or not.
    pub last: Option<Snowflake>,
}

impl Page {
    /// What of a page is not done yet, when `limit` messages were asked for. Discord lists newest first, and also for `after` the page is
    /// what follows it most closely.
    pub fn sort(channel: u64, own: Option<Snowflake>, cursor: &Cursor, messages: &[Value], limit: usize) -> Self {
        let mut listed: Vec<(Option<Snowflake>, &Value)> =
            messages.iter().map(|message| (Snowflake::read(&message["id"]), message)).collect();
        listed.sort_by_key(|(id, _)| *id);
        listed.dedup_by(|a, b| a.0.is_some() && a.0 == b.0);
        let last = listed.last().and_then(|(id, _)| *id);
        listed.retain(|(id, _)| id.is_none_or(|id| !cursor.is_done(id)));
        let read = |message| embed::read(channel, message, own, MAX_PAYLOAD);
        let readings = listed.into_iter().map(|(id, message)| (id, read(message))).collect();
        Self { readings, full: messages.len() >= limit, last }
    }

    /// The page with the one message `id` that is too large to be read.
    pub fn unreadable(cursor: &Cursor, id: Snowflake) -> Self {
        let reason = format!("the message alone has more than {} MiB", MAX_ANSWER >> 20);
        let refused = vec![Refused { message: Some(id), index: None, reason }];
        let reading = (Some(id), Reading { refused, ..Reading::default() });
        let readings = if cursor.is_done(id) { Vec::new() } else { vec![reading] };
        Self { readings, full: true, last: Some(id) }
    }

    /// Whether it has messages that are not done.
    pub fn is_news(&self) -> bool {
        self.readings.iter().any(|(id, _)| id.is_some())
    }

    /// What its messages show, oldest first.
    pub fn contents(&self) -> Vec<Content> {
        self.readings.iter().map(|(_, reading)| reading.content).collect()
    }

    /// Its messages, oldest first, so that each commit has at most [`MAX_BATCH`] jobs and rejections.
    pub fn portions(self) -> Vec<Portion> {
        let mut out: Vec<Portion> = Vec::new();
        if !self.is_news() {
            // Messages without an id are recorded beside others only: by themselves they would come again with every page.
            return out;
        }
        for (id, reading) in self.readings {
            let size = reading.found.len() + reading.refused.len();
            match out.last_mut() {
                // One without an id is recorded together with the next that has one: that moves the cursor.
                Some(last) if last.ids.is_empty() || last.size() + size <= MAX_BATCH => last.add(id, reading),
                _ => {
                    let mut portion = Portion::default();
                    portion.add(id, reading);
                    out.push(portion);
                }
            }
        }
        out
    }
}
