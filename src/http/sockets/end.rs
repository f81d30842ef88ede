//! Why a socket ended, and what its peer is told about that: a close code of RFC 6455 and a few words.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::error::{CapacityError, Error as Wire, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::socket::MAX_MESSAGE;

/// Longest reason, in bytes: a control frame holds 125, two of them for the code.
const MAX_REASON: usize = 123;

/// Why a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or vanished.
    Gone,
    /// We shut down: 1012.
    Stopping,
    /// It did not take what was written in time. Nothing can be said to it: it does not read.
    Slow,
    /// It did not answer pings: 1008.
    Silent,
    /// It sent a message past the limit: 1009.
    TooBig,
    /// It broke the protocol: 1002.
    Malformed,
    /// It sent text that is not UTF-8: 1007.
    NotUtf8,
    /// It sent what this socket does not take: 1003.
    Unsupported(Cow<'static, str>),
    /// It broke a rule of ours: 1008.
    Policy(Cow<'static, str>),
    /// It may come again and fare better: 1013.
    Later(Cow<'static, str>),
    /// A fault of ours, which the log tells: 1011.
    Broken(String),
}

impl End {
    /// Its name among the metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Stopping => "stopping",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::TooBig => "too_big",
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::Unsupported(_) => "unsupported",
            Self::Policy(_) => "policy",
            Self::Later(_) => "later",
            Self::Broken(_) => "broken",
        }
    }

    /// What the log says besides.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::Unsupported(why) | Self::Policy(why) | Self::Later(why) => why,
            Self::Broken(why) => why,
            _ => "",
        }
    }

    /// Whether the peer's next bytes can no longer be understood.
    pub(super) fn lost_track(&self) -> bool {
        matches!(self, Self::TooBig | Self::Malformed | Self::NotUtf8)
    }

    /// The close frame; none when the peer is gone, or does not read.
    pub(super) fn frame(&self) -> Option<CloseFrame> {
        let (code, reason): (u16, Cow<'_, str>) = match self {
            Self::Gone | Self::Slow => return None,
            Self::Stopping => (1012, "the server restarts; reconnect".into()),
            Self::Silent => (1008, "no answer to pings".into()),
            Self::TooBig => (1009, format!("messages may be {MAX_MESSAGE} bytes long").into()),
            Self::Malformed => (1002, "this is not WebSocket as RFC 6455 has it".into()),
            Self::NotUtf8 => (1007, "text must be UTF-8".into()),
            Self::Unsupported(why) => (1003, why.as_ref().into()),
            Self::Policy(why) => (1008, why.as_ref().into()),
            Self::Later(why) => (1013, why.as_ref().into()),
            Self::Broken(_) => (1011, "the server could not go on; its log tells why".into()),
        };
        let cut = (0..=reason.len().min(MAX_REASON)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        Some(CloseFrame { code: CloseCode::from(code), reason: reason[..cut].into() })
    }
}

impl From<Wire> for End {
    fn from(error: Wire) -> Self {
        match error {
            // Most peers vanish without a word.
            Wire::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            Wire::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooBig,
            Wire::Capacity(_) | Wire::Protocol(_) => Self::Malformed,
            Wire::Utf8(_) => Self::NotUtf8,
            _ => Self::Gone,
        }
    }
}

impl From<crate::base::Error> for End {
    fn from(error: crate::base::Error) -> Self {
        use crate::base::Kind;
        match error.kind() {
            Kind::Busy | Kind::Limited | Kind::Full => Self::Later(error.detail().to_owned().into()),
            _ => Self::Broken(format!("{error:?}")),
        }
    }
}
