//! The ways in which Discord does not give a page, and what to tell people of each.

use std::time::Duration;

use super::{Limits, Snowflake};
use crate::remote::{MAX_ANSWER, Unanswered};

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// This route's, for this bot.
    User,
    /// The bot's, over everything it does.
    Global,
    /// The channel's, which others use up, too.
    Shared,
    /// The network in front of Discord turned us away: our address has sent too many bad requests.
    Network,
}

/// Why there is no page. See [`Trouble::what`] and [`Trouble::hint`] for what to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 401: the token does not hold.
    Unauthenticated,
    /// 403, with Discord's own code where there was one.
    Denied { code: Option<u64>, said: String },
    /// 404: there is no such channel, or the bot is not in its server.
    Missing,
    /// 429.
    Limited { whose: Limited, wait: Option<Duration> },
    /// 5xx.
    Down { status: u16 },
    /// No whole answer.
    Unanswered(Unanswered),
    /// The page is larger than what is read of an answer; a shorter one may not be. With the id of the message listed first, which is the
    /// newest, if it stood in what was read.
    TooLarge { first: Option<Snowflake>, limits: Limits },
    /// A 200 whose body is no list of messages.
    Unreadable,
    /// Any other status; asking again unchanged is pointless.
    Refused { status: u16, said: String },
}

/// Code of 403: the bot does not see the channel.
const MISSING_ACCESS: u64 = 50001;
/// Code of 403: the bot sees the channel and may not read it.
const MISSING_PERMISSION: u64 = 50013;

impl Trouble {
    /// What happened, in a sentence.
    pub fn what(&self) -> String {
        match self {
            Self::Unauthenticated => "Discord does not accept DISCORD_TOKEN (401)".to_owned(),
            Self::Denied { code: Some(MISSING_ACCESS | MISSING_PERMISSION), .. } => {
                "the bot may not read the channel CHANNEL_ID (403)".to_owned()
            }
            Self::Denied { said, .. } if said.is_empty() => "Discord turned the request away (403)".to_owned(),
            Self::Denied { said, .. } => format!("Discord turned the request away (403): {said}"),
            Self::Missing => "there is no channel CHANNEL_ID that this bot could know of (404)".to_owned(),
            Self::Limited { whose, .. } => match whose {
                Limited::User => "Discord's limit of this route is reached (429)".to_owned(),
                Limited::Global => "Discord's global limit of this bot is reached (429)".to_owned(),
                Limited::Shared => "others have used up the channel's limit (429)".to_owned(),
                Limited::Network => "the network in front of Discord turns this address away (429)".to_owned(),
            },
            Self::Down { status } => format!("Discord is not well ({status})"),
            Self::Unanswered(unanswered) => unanswered.what.clone(),
            Self::TooLarge { .. } => format!("Discord sent more than {} MiB", MAX_ANSWER >> 20),
            Self::Unreadable => "Discord answered with something that is no list of messages".to_owned(),
            Self::Refused { status, said } if said.is_empty() => format!("Discord refused the request ({status})"),
            Self::Refused { status, said } => format!("Discord refused the request ({status}): {said}"),
        }
    }

    /// What a person can do about it; none where waiting is all there is.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => Some(
                "reset the token in the developer portal (Bot, Reset Token), put the new one into DISCORD_TOKEN and \
                 restart; polling has stopped, because failed sign-ins count towards a ban of this address",
            ),
            Self::Denied { .. } => Some(
                "let the bot's role View Channel and Read Message History in that channel, and make sure that the \
                 bot was invited to the server",
            ),
            Self::Missing => Some(
                "check CHANNEL_ID (Discord's developer mode, right click on the channel, Copy Channel ID) and invite \
                 the bot to that server",
            ),
            Self::Limited { whose: Limited::Network, .. } => {
                Some("wait; if it stays, another program on this address sends Discord bad requests")
            }
            Self::Refused { .. } => Some("check CHANNEL_ID and DISCORD_API_URL"),
            _ => None,
        }
    }
}
