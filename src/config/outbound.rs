//! The sections of what we ask of other people's servers: the Discord feed and the doorbell.

use std::time::Duration;

use super::Reader;
use crate::base::{Error, Result, Secret};
use crate::domains::discord::{self, Floors, MAX_EMBEDS, MIN_INTERVAL};
use crate::domains::doorbell;
use crate::domains::jobs::QueueName;
use crate::remote::roblox::{self, StoreId};
use crate::remote::{BaseUrl, TOTAL_TIMEOUT, contact};

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
        contact: contact(&read.text("SERVICE_BASE_URL")?),
        patience: TOTAL_TIMEOUT,
    };
    if !read.missing(&["CHANNEL_ID", "DISCORD_TOKEN"])?.is_empty() {
        return Ok(None);
    }
    // A message's jobs are put in together: one that never fits would stop all that follow it.
    if read.number("JOB_QUEUE_LENGTH", 1, u64::MAX)? < MAX_EMBEDS as u64 {
        let detail = format!("JOB_QUEUE_LENGTH is too low for Discord: one message can bring {MAX_EMBEDS} jobs");
        return Err(Error::invalid("config.invalid", detail)
            .hint(format!("set it to {MAX_EMBEDS} or more, or leave CHANNEL_ID empty")));
    }
    Ok(Some(config))
}

/// How long a caller who applies waits; not at all while nobody carries decisions out.
pub fn apply_inline(read: &Reader<'_>) -> Result<Duration> {
    let millis = read.number("APPLY_INLINE_MS", 0, 60_000)?;
    let carried_out = read.missing(&["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_GROUP_ID"])?.is_empty();
    Ok(Duration::from_millis(if carried_out { millis } else { 0 }))
}

/// None unless it is set.
pub fn events(read: &Reader<'_>) -> Result<Option<QueueName>> {
    match read.text("EVENTS_QUEUE")? {
        name if name.is_empty() => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|error: Error| Error::invalid("config.invalid", format!("EVENTS_QUEUE: {}", error.detail()))),
    }
}

/// As [`discord`].
pub fn doorbell(read: &Reader<'_>) -> Result<Option<doorbell::Config>> {
    let topic = read.text("DOORBELL_TOPIC")?;
    let config = doorbell::Config {
        universe: id(read, "ROBLOX_UNIVERSE_ID")?.unwrap_or_default(),
        queues: doorbell::Config::queues(&read.text("DOORBELL_QUEUES")?, &topic)?,
        topic,
        patience: doorbell::PATIENCE,
    };
    let needs = ["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_UNIVERSE_ID", "DOORBELL_QUEUES"];
    Ok(read.missing(&needs)?.is_empty().then_some(config))
}

/// As [`discord`]: none without a key.
pub fn roblox(read: &Reader<'_>) -> Result<Option<roblox::Settings>> {
    let universe = id(read, "ROBLOX_UNIVERSE_ID")?;
    let named = |name: &str| read.text(name).map(|text| Some(text).filter(|text| !text.is_empty()));
    let store = |setting: &str| -> Result<Option<StoreId>> {
        let (name, scope) = (named(setting)?, read.text("ROBLOX_DATASTORE_SCOPE")?);
        Ok(universe.zip(name).map(|(universe, name)| StoreId { universe, name, scope }))
    };
    let settings = roblox::Settings {
        key: Secret::new(read.text("ROBLOX_OPEN_CLOUD_API_KEY")?),
        api: BaseUrl::parse("ROBLOX_API_URL", &read.text("ROBLOX_API_URL")?)?,
        budget_percent: read.number("ROBLOX_BUDGET_PERCENT", 1, 100)? as u32,
        group: id(read, "ROBLOX_GROUP_ID")?,
        universe,
        store: store("ROBLOX_DATASTORE_NAME")?,
        prefix: named("ROBLOX_DATASTORE_PREFIX")?,
        patience: TOTAL_TIMEOUT,
    };
    Ok(read.missing(&["ROBLOX_OPEN_CLOUD_API_KEY"])?.is_empty().then_some(settings))
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

#[cfg(test)]
mod tests {
    use super::super::tests::build;
    use super::super::{Config, FeatureState};
    use super::*;

    #[test]
    fn both_are_off_until_all_they_need_is_there() {
        let config = build(&[("CHANNEL_ID", "5"), ("DOORBELL_QUEUES", "default")]).unwrap();
        assert!(config.discord.is_none() && config.doorbell.is_none());
        let state = |config: &Config, name: &str| {
            config.features.iter().find(|feature| feature.name == name).map(|feature| feature.state.clone())
        };
        assert_eq!(state(&config, "jobs from Discord"), Some(FeatureState::Off(vec!["DISCORD_TOKEN"])));
        let config = build(&[
            ("CHANNEL_ID", "5"),
            ("DISCORD_TOKEN", "t"),
            ("DOORBELL_QUEUES", "default,vip"),
            ("ROBLOX_OPEN_CLOUD_API_KEY", "k"),
            ("ROBLOX_UNIVERSE_ID", "7"),
        ])
        .unwrap();
        let discord = config.discord.as_ref().unwrap();
        assert_eq!((discord.channel, discord.floors.idle), (5, Duration::from_millis(250)));
        assert_eq!(discord.api.to_string(), crate::remote::discord::API_URL);
        assert_eq!(discord.contact, None);
        let doorbell = config.doorbell.as_ref().unwrap();
        assert_eq!((doorbell.universe, doorbell.queues.len()), (7, 2));
        let roblox = config.roblox.as_ref().unwrap();
        assert_eq!((roblox.api.to_string().as_str(), roblox.universe), (crate::remote::roblox::API_URL, Some(7)));
        assert_eq!((roblox.group, &roblox.store), (None, &None));
        assert_eq!(state(&config, "doorbell for game servers"), Some(FeatureState::On));
    }

    #[test]
    fn nobody_waits_for_what_nobody_carries_out() {
        let inline = |settings: &[(&str, &str)]| build(settings).unwrap().apply_inline.as_millis();
        assert_eq!(inline(&[("ROBLOX_OPEN_CLOUD_API_KEY", "k")]), 0);
        let on = [("ROBLOX_OPEN_CLOUD_API_KEY", "k"), ("ROBLOX_GROUP_ID", "5")];
        assert_eq!(inline(&on), 3_000);
        assert_eq!(inline(&[on.as_slice(), &[("APPLY_INLINE_MS", "0")]].concat()), 0);
        assert_eq!(build(&[]).unwrap().events, None);
        assert!(build(&[("EVENTS_QUEUE", "events")]).unwrap().events.is_some());
    }

    #[test]
    fn a_queue_too_short_for_one_message_is_refused_while_discord_is_on() {
        assert!(build(&[("JOB_QUEUE_LENGTH", "24")]).unwrap().discord.is_none());
        let on = [("CHANNEL_ID", "5"), ("DISCORD_TOKEN", "t"), ("SERVICE_BASE_URL", "https://jobs.example.org/x")];
        let with = |length| build(&[on.as_slice(), &[("JOB_QUEUE_LENGTH", length)]].concat());
        assert!(with("24").unwrap_err().to_string().contains("JOB_QUEUE_LENGTH"));
        let config = with("25").unwrap().discord.unwrap();
        assert_eq!(config.contact.as_deref(), Some("https://jobs.example.org"));
    }

    #[test]
    fn what_is_set_is_checked_whether_it_is_on_or_not() {
        for (name, value, expected) in [
            ("CHANNEL_ID", "99999999999999999999", "a number"),
            ("DISCORD_POLL_SECONDS", "0.01", "seconds from 0.02"),
            ("BURST_POLL_SECONDS", "NaN", "seconds from 0.02"),
            ("DISCORD_POLL_SECONDS", "often", "seconds from 0.02"),
            ("DISCORD_QUEUE", "two words", "DISCORD_QUEUE"),
            ("DISCORD_API_URL", "http://discord.com/api", "https://"),
            ("ROBLOX_API_URL", "apis.roblox.com", "ROBLOX_API_URL"),
            ("DOORBELL_QUEUES", "a b", "DOORBELL_QUEUES"),
            ("EVENTS_QUEUE", "two words", "EVENTS_QUEUE"),
            ("APPLY_INLINE_MS", "60001", "0 to 60000"),
            ("DOORBELL_TOPIC", "all jobs", "DOORBELL_TOPIC"),
        ] {
            let error = build(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}={value}: {error}");
        }
    }
}
