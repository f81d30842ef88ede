//! The frames of both modes. Payloads are JSON already and go into frames as they are, so frames are put together here by hand; what
//! stands beside them are ids, queue names and times, none of which needs escaping, and texts, which get it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::super::job::MAX_DELAY;
use super::super::{Copy, MAX_LEASE, Nack};
use crate::base::{Error, Id, Result, Time};

/// A job's envelope in a mirror, up to its payload.
pub fn mirrored(job: &Copy) -> String {
    let Copy { id, queue, enqueued_at, .. } = job;
    format!(r#"{{"id":"{id}","sequence":"{id}","queue":"{queue}","enqueuedAt":"{enqueued_at}","payload":"#)
}

/// Jobs between were forgotten before they could be shown.
pub fn gap(after: Id, resumed: Id) -> String {
    format!(r#"{{"type":"gap","after":"{after}","resumedAt":"{resumed}"}}"#)
}

/// What went well.
pub fn done(kind: &str, id: Id, until: Option<Time>) -> String {
    match until {
        Some(until) => format!(r#"{{"type":"{kind}","id":"{id}","leaseExpiresAt":"{until}"}}"#),
        None => format!(r#"{{"type":"{kind}","id":"{id}"}}"#),
    }
}

/// What did not.
pub fn failed(id: Option<Id>, error: &Error) -> String {
    let mut frame = json!({ "type": "error" });
    if let Some(id) = id {
        frame["id"] = id.to_string().into();
    }
    frame["code"] = error.code().into();
    frame["detail"] = error.detail().into();
    if let Some(hint) = error.hint_text() {
        frame["hint"] = hint.into();
    }
    frame.to_string()
}

/// What a consumer says about a job it holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Ack,
    Nack(Nack),
    Extend { lease: Option<Duration> },
}

/// A consumer's message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: Id,
    pub token: String,
    pub said: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "type")]
    kind: Kind,
    id: String,
    lease_token: String,
    reason: Option<String>,
    retry_in: Option<f64>,
    #[serde(default)]
    dead: bool,
    #[serde(default)]
    released: bool,
    lease: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Ack,
    Nack,
    Extend,
}

/// A message that is not carried out, and the job it is about where that much could be read.
#[derive(Debug)]
pub struct Refused {
    pub id: Option<Id>,
    pub error: Error,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { id: None, error }
    }
}

/// Reads a consumer's message. Fields it does not know are ignored (requirement X6).
///
/// # Errors
/// `sockets.message_invalid` with what is wrong and what is expected.
pub fn read(text: &str) -> std::result::Result<Message, Refused> {
    let raw: Raw =
        serde_json::from_str(text).map_err(|error| invalid(format!("this message cannot be read: {error}")))?;
    let id = raw.id.parse().map_err(|_| invalid("id must be the id of a job, 16 hex characters"))?;
    let about = |error| Refused { id: Some(id), error };
    let said = match raw.kind {
        Kind::Ack => Said::Ack,
        Kind::Nack => {
            let retry_in = raw.retry_in.map(retry_wait).transpose().map_err(about)?;
            Said::Nack(Nack { reason: raw.reason, retry_in, dead: raw.dead, released: raw.released })
        }
        Kind::Extend => Said::Extend { lease: raw.lease.map(lease_length).transpose().map_err(about)? },
    };
    Ok(Message { id, token: raw.lease_token, said })
}

/// The limit is that of `POST /job/{id}/nack`.
fn retry_wait(seconds: f64) -> Result<Duration> {
    let most = MAX_DELAY.as_secs();
    match (0.0..=most as f64).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(invalid(format!("retryIn must be 0 to {most} seconds"))),
    }
}

/// The limits are those of `POST /job/{id}/extend`.
fn lease_length(seconds: u64) -> Result<Duration> {
    let most = MAX_LEASE.as_secs();
    match (1..=most).contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(invalid(format!("lease must be 1 to {most} seconds"))),
    }
}

/// The refusal of a message that says nothing we know.
pub fn invalid(detail: impl Into<String>) -> Error {
    Error::invalid("sockets.message_invalid", detail.into()).hint(
        r#"send {"type":"ack","id":"…","leaseToken":"…"}; type may also be nack (reason, retryIn, dead, released) or extend (lease)"#,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn messages_are_read_strictly_in_what_they_say_and_loosely_in_what_else_they_carry() {
        let id = Id(0x10);
        let read = |text: &str| read(text).map(|message| (message.id, message.token, message.said));
        let ack = read(r#"{"type":"ack","id":"0000000000000010","leaseToken":"t","more":[1]}"#).unwrap();
        assert_eq!(ack, (id, "t".to_owned(), Said::Ack));
        let nack = read(
            r#"{"type":"nack","id":"0000000000000010","leaseToken":"t","reason":"full","retryIn":1.5,"dead":true}"#,
        );
        let full = Nack { reason: Some("full".into()), retry_in: Some(Duration::from_millis(1500)), ..Nack::default() };
        assert_eq!(nack.unwrap().2, Said::Nack(Nack { dead: true, ..full }));
        let released = read(r#"{"type":"nack","id":"0000000000000010","leaseToken":"t","released":true}"#).unwrap();
        assert_eq!(released.2, Said::Nack(Nack { released: true, ..Nack::default() }));
        let extend = read(r#"{"type":"extend","id":"0000000000000010","leaseToken":"t","lease":60}"#).unwrap();
        assert_eq!(extend.2, Said::Extend { lease: Some(Duration::from_secs(60)) });
        for bad in [
            "",
            "ping",
            "[]",
            "null",
            r#"{"type":"ack"}"#,
            r#"{"type":"steal","id":"0000000000000010","leaseToken":"t"}"#,
            r#"{"type":"ack","id":"x","leaseToken":"t"}"#,
            r#"{"type":"ack","id":16,"leaseToken":"t"}"#,
            r#"{"type":"nack","id":"0000000000000010","leaseToken":"t","retryIn":-1}"#,
            r#"{"type":"nack","id":"0000000000000010","leaseToken":"t","retryIn":1e300}"#,
            r#"{"type":"extend","id":"0000000000000010","leaseToken":"t","lease":-1}"#,
        ] {
            assert_eq!(read(bad).unwrap_err().error.code(), "sockets.message_invalid", "{bad}");
        }
    }

    #[test]
    fn times_have_the_limits_they_have_over_http() {
        let text = |kind: &str, name: &str, seconds: u64| {
            format!(r#"{{"type":"{kind}","id":"0000000000000010","leaseToken":"t","{name}":{seconds}}}"#)
        };
        for (kind, name, good, bad) in [
            ("extend", "lease", [1, 3600], [0, 3601]),
            ("nack", "retryIn", [0, 30 * 86_400], [30 * 86_400 + 1, u64::MAX]),
        ] {
            good.iter().for_each(|seconds| drop(read(&text(kind, name, *seconds)).unwrap()));
            for seconds in bad {
                let Refused { id, error } = read(&text(kind, name, seconds)).unwrap_err();
                assert!(id == Some(Id(0x10)) && error.detail().contains(name), "{seconds}: {error:?}");
            }
        }
    }

    #[test]
    fn failures_are_told_as_json() {
        let error = Error::conflict("jobs.lease_lost", "someone \"else\" has it").hint("take another");
        let frame: Value = serde_json::from_str(&failed(Some(Id(1)), &error)).unwrap();
        assert_eq!(
            frame,
            json!({"type":"error","id":"0000000000000001","code":"jobs.lease_lost","detail":"someone \"else\" has it","hint":"take another"})
        );
        assert_eq!(serde_json::from_str::<Value>(&gap(Id(1), Id(2))).unwrap()["resumedAt"], "0000000000000002");
    }
}
