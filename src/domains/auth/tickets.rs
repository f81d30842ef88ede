//! Tickets: what a browser shows to open a socket, since it can set no header there. A ticket is asked for with a real credential, opens
//! one socket within seconds, and is worth nothing in a log afterwards (requirement B26). They live in memory alone: a restart closes
//! every socket anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::digest;

use super::caller::{Caller, Strength};
use super::scope::Scopes;
use crate::base::{Error, Result, Secret, Time};

/// How long a ticket is good for.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Unused tickets at most, in some 2 MB.
pub const MAX_TICKETS: usize = 10_000;

/// Unused tickets of one caller at most, so that one key leaves room for the others.
pub const MAX_TICKETS_EACH: usize = 1_000;

/// When to come back when there is no room.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// By the hash of the ticket, so that memory holds none and looking one up tells nothing by its time.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<[u8; 32], Ticket>>);

struct Ticket {
    caller: String,
    scopes: Scopes,
    until: Time,
}

impl Tickets {
    /// A ticket that stands for `caller` once: 256 random bits in hex.
    ///
    /// # Errors
    /// `auth.tickets_full` when [`MAX_TICKETS`] wait to be used, `auth.tickets_of_caller_full` when [`MAX_TICKETS_EACH`] of this caller's
    /// do.
    pub fn issue(&self, caller: &Caller, now: Time) -> Result<Secret> {
        let ticket = Secret::generate()?;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_TICKETS {
            waiting.retain(|_, ticket| now < ticket.until);
        }
        if waiting.len() >= MAX_TICKETS {
            let detail = format!("{MAX_TICKETS} tickets wait to be used, as many as may");
            return Err(Error::busy("auth.tickets_full", detail).retry_after(FULL_WAIT));
        }
        let own = waiting.values().filter(|ticket| now < ticket.until && ticket.caller == caller.id).count();
        if own >= MAX_TICKETS_EACH {
            let detail = format!("{own} tickets of the credential \"{}\" wait to be used, as many as may", caller.id);
            return Err(Error::limited("auth.tickets_of_caller_full", detail)
                .hint("ask for a ticket right before each connection; unused ones end after 30 seconds")
                .retry_after(FULL_WAIT));
        }
        let held = Ticket { caller: caller.id.clone(), scopes: caller.scopes, until: now + TICKET_LIFE };
        waiting.insert(hash(ticket.expose()), held);
        Ok(ticket)
    }

    /// Who a ticket stands for. It stays good: what it is shown for may yet be refused.
    ///
    /// # Errors
    /// `auth.ticket_invalid` for one that is unknown, used or expired; which of these is not told.
    pub fn holder(&self, ticket: &str, now: Time) -> Result<Caller> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = waiting.get(&hash(ticket)).filter(|held| now < held.until).ok_or_else(invalid)?;
        Ok(Caller { id: held.caller.clone(), scopes: held.scopes, strength: Strength::Ticket })
    }

    /// Uses a ticket up. Of several who show the same one at once, one succeeds.
    ///
    /// # Errors
    /// As [`Tickets::holder`].
    pub fn redeem(&self, ticket: &str, now: Time) -> Result<()> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(ticket));
        held.filter(|held| now < held.until).map(drop).ok_or_else(invalid)
    }
}

pub(super) fn invalid() -> Error {
    Error::unauthenticated("auth.ticket_invalid", "This ticket is unknown, used or expired").hint(
        "each ticket opens one socket, within 30 seconds: ask POST /ws/tickets for a new one before every connection",
    )
}

fn hash(ticket: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, ticket.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::auth::Scope;

    fn caller() -> Caller {
        named("k1")
    }

    fn named(id: &str) -> Caller {
        Caller { id: id.into(), scopes: Scopes::of(&[Scope::JobsConsume]), strength: Strength::Signed }
    }

    #[test]
    fn a_ticket_works_once_and_not_for_long() {
        let (tickets, start) = (Tickets::default(), Time(1_000_000));
        let first = tickets.issue(&caller(), start).unwrap();
        let late = tickets.issue(&caller(), start).unwrap();
        assert_eq!(first.expose().len(), 64);
        for _ in 0..2 {
            let shown = tickets.holder(first.expose(), start + Duration::from_millis(29_999)).unwrap();
            assert_eq!((shown.id.as_str(), shown.scopes), ("k1", caller().scopes), "looking at it does not use it up");
        }
        tickets.redeem(first.expose(), start + Duration::from_millis(29_999)).unwrap();
        assert_eq!(tickets.holder(late.expose(), start + TICKET_LIFE).unwrap_err().code(), "auth.ticket_invalid");
        for (ticket, at) in [(first.expose(), start), (late.expose(), start + TICKET_LIFE), ("", start)] {
            let refused = tickets.redeem(ticket, at).unwrap_err();
            assert_eq!(refused.code(), "auth.ticket_invalid");
            assert!(refused.hint_text().unwrap().contains("POST /ws/tickets"));
        }
    }

    #[test]
    fn unused_tickets_are_bounded_and_expired_ones_make_room() {
        let (tickets, start) = (Tickets::default(), Time(0));
        for caller in 0..MAX_TICKETS / MAX_TICKETS_EACH {
            let caller = named(&caller.to_string());
            for _ in 0..MAX_TICKETS_EACH {
                tickets.issue(&caller, start).unwrap();
            }
            if tickets.0.lock().unwrap().len() < MAX_TICKETS {
                assert_eq!(tickets.issue(&caller, start).unwrap_err().code(), "auth.tickets_of_caller_full");
            }
        }
        assert_eq!(tickets.issue(&caller(), start).unwrap_err().code(), "auth.tickets_full");
        assert!(tickets.issue(&caller(), start + TICKET_LIFE).is_ok());
    }
}
