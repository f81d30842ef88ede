//! The stretch of time whose decisions are taken back, and how far a walk over them is.

use super::run::Doing;
use crate::base::{Cursor, Error, Result, Time};
use crate::domains::players::Status;
use crate::domains::ranks::history::Decision;

/// A stretch of time, and who decided in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub since: Time,
    /// Not included; none for up to now.
    pub until: Option<Time>,
    /// A credential, or the Roblox id somebody claimed to be: whoever asked for the decision, or approved it.
    pub actor: Option<String>,
}

impl Window {
    fn holds(&self, at: Time, decision: &Decision) -> bool {
        let in_time = self.since <= at && self.until.is_none_or(|until| at < until);
        in_time && self.actor.as_ref().is_none_or(|actor| decision.is_of(actor))
    }

    pub(super) fn chose(&self, decision: &Decision) -> bool {
        decision.ended_at.is_some_and(|at| self.holds(at, decision))
    }

    pub(super) fn chose_queued(&self, decision: &Decision) -> bool {
        decision.status == Status::Queued && self.holds(decision.queued_at.unwrap_or(decision.at), decision)
    }

    /// The same, for a walk that began at `start`: what takes effect while it goes on is not part of it.
    pub(super) fn up_to(&self, start: Time) -> Self {
        let end = Time(start.0.saturating_add(1));
        Self { until: Some(self.until.map_or(end, |until| until.min(end))), ..self.clone() }
    }
}

/// What a walk reads, in this order; its cursors begin with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Queued,
    Applied,
    /// What is queued once more: a commit that was under way when the walk passed may have queued something after all.
    Late,
}

/// Where a walk over a window is.
pub(super) struct Walk {
    pub phase: Phase,
    /// When it began.
    pub start: Time,
    /// As [`Doing::foreseen`].
    pub foreseen: u32,
    /// Where the table it reads goes on; none at its beginning.
    pub inner: Option<Cursor>,
}

impl Phase {
    fn mark(self) -> u8 {
        match self {
            Self::Queued => b'q',
            Self::Applied => b'a',
            Self::Late => b'l',
        }
    }

    fn of(mark: u8) -> Option<Self> {
        [Self::Queued, Self::Applied, Self::Late].into_iter().find(|phase| phase.mark() == mark)
    }
}

impl Walk {
    pub(super) fn begin(start: Time) -> Self {
        Self { phase: Phase::Queued, start, foreseen: 0, inner: None }
    }

    /// Where it is next, `inner` being where its table goes on; none at the end. In a preview nothing was cancelled, so that a second look
    /// at what is queued would tell of it twice.
    pub(super) fn on(self, inner: Option<Cursor>, doing: &Doing<'_>) -> Option<Self> {
        let phase = match self.phase {
            phase if inner.is_some() => phase,
            Phase::Queued => Phase::Applied,
            Phase::Applied if !doing.dry_run => Phase::Late,
            Phase::Applied | Phase::Late => return None,
        };
        Some(Self { phase, inner, foreseen: doing.foreseen, ..self })
    }

    pub(super) fn cursor(&self) -> Cursor {
        let inner = self.inner.as_ref().map_or(&[][..], |inner| &inner.0);
        let (start, foreseen) = (self.start.0.to_be_bytes(), self.foreseen.to_be_bytes());
        Cursor([&[self.phase.mark()], &start[..], &foreseen[..], inner].concat())
    }

    /// # Errors
    /// `request.invalid` for a cursor of another list.
    pub(super) fn read(cursor: &Cursor) -> Result<Self> {
        let parts = || {
            let (mark, rest) = cursor.0.split_first()?;
            let (start, rest) = rest.split_first_chunk::<8>()?;
            let (foreseen, rest) = rest.split_first_chunk::<4>()?;
            let inner = (!rest.is_empty()).then(|| Cursor(rest.to_vec()));
            let (start, foreseen) = (Time(i64::from_be_bytes(*start)), u32::from_be_bytes(*foreseen));
            Some(Self { phase: Phase::of(*mark)?, start, foreseen, inner })
        };
        parts().ok_or_else(|| {
            Error::field(
                &["query", "cursor"],
                "cursor_invalid",
                "not a cursor of this list; leave it out to start over",
            )
        })
    }
}
