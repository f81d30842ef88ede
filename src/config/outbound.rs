//! The sections of what we ask of other people's servers: the Discord feed and the doorbell.

use std::time::Duration;

use super::Reader;
use crate::base::{Error, Result, Secret};
use crate::domains::discord::{self, Floors, MIN_INTERVAL};
use crate::domains::doorbell;
use crate::remote::{BaseUrl, TOTAL_TIMEOUT};

/// Longest pause between polls that can be set, in seconds.
const MAX_POLL_SECONDS: f64 = 3600.0;

/// None while a setting that it needs is missing; what is there is checked all the same.
pub fn discord(read: &Reader<'_>) -> Result<Option<discord::Config>> {
    let config = discord::Config {
        channel: id(read, "CHANNEL_ID")?.unwrap_or_default(),
        token: Secret::new(read.text("DISCORD_TOKEN")?),
        floors: Floors { idle: pause(read, "DISCORD_POLL_SECONDS")?, burst: pause(read, "BURST_POLL_SECONDS")? },
        queue: read
            .text("DISCORD_QUEUE")?
            .parse()
            .map_err(|error: Error| Error::invalid("config.invalid", format!("DISCORD_QUEUE: {}", error.detail())))?,
        api: BaseUrl::parse("DISCORD_API_URL", &read.text("DISCORD_API_URL")?)?,
        patience: TOTAL_TIMEOUT,
    };
    Ok(read.missing(&["CHANNEL_ID", "DISCORD_TOKEN"])?.is_empty().then_some(config))
}

/// As [`discord`].
pub fn doorbell(read: &Reader<'_>) -> Result<Option<doorbell::Config>> {
    let topic = read.text("DOORBELL_TOPIC")?;
    let config = doorbell::Config {
        key: Secret::new(read.text("ROBLOX_OPEN_CLOUD_API_KEY")?),
        universe: id(read, "ROBLOX_UNIVERSE_ID")?.unwrap_or_default(),
        queues: doorbell::Config::queues(&read.text("DOORBELL_QUEUES")?, &topic)?,
        topic,
        api: BaseUrl::parse("ROBLOX_API_URL", &read.text("ROBLOX_API_URL")?)?,
        patience: doorbell::PATIENCE,
    };
    let needs = ["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_UNIVERSE_ID", "DOORBELL_QUEUES"];
    Ok((read.missing(&needs)?.is_empty() && !config.queues.is_empty()).then_some(config))
}

/// An id of somebody else's making; none when it is not set.
fn id(read: &Reader<'_>, name: &str) -> Result<Option<u64>> {
    match read.text(name)? {
        text if text.is_empty() => Ok(None),
        text => text.parse().map(Some).map_err(|_| read.invalid(name, &text, "a number")),
    }
}

fn pause(read: &Reader<'_>, name: &str) -> Result<Duration> {
    let text = read.text(name)?;
    match text.parse::<f64>() {
        Ok(seconds) if (MIN_INTERVAL.as_secs_f64()..=MAX_POLL_SECONDS).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(read.invalid(name, &text, "seconds from 0.02 to 3600, decimals allowed")),
    }
}
