//! The configuration: read once, checked as a whole, before a port is bound. Each module owns its section; this one fills them from the
//! [`Sources`] under the seeds' names and checks what only shows when settings are seen together.

mod generated;
mod outbound;
mod schedule;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use generated::Generated;
pub use settings::{Kind, SETTINGS, Setting, markdown};
pub use sources::{Found, Origin, Sources, names_in_environment};
pub use worker::{MAX_CONCURRENCY, WorkerConfig};

use crate::base::{Clock, Error, Result, Secret, Secrets};
use crate::domains::auth::{self, Mode};
use crate::domains::discord;
use crate::domains::doorbell;
use crate::domains::jobs::{self, QueueName};
use crate::domains::mirrors;
use crate::domains::players::RetentionConfig;
use crate::domains::upkeep;
use crate::http::{self, Origins, Proxies};
use crate::remote::roblox;
use crate::store::{self, DataDir, Progress, Surroundings};
use crate::workers::{Schedule, Zone};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Everything the program can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
    pub data_dir: PathBuf,
    pub policy_dir: PathBuf,
    pub log_format: LogFormat,
    pub log_level: String,
    pub docs: bool,
    pub headless: bool,
    pub health_auth_required: bool,
    /// The page cache of the store, in bytes.
    pub store_cache_bytes: u64,
    /// The record cache of the store, in bytes.
    pub record_cache_bytes: u64,
    /// Disk space that ordinary writes leave alone, in bytes.
    pub store_reserve_bytes: u64,
    /// Journal kept for restores to a point in time, in bytes.
    pub journal_keep_bytes: u64,
    pub service_base_url: String,
    pub http: http::Config,
    pub auth: auth::Config,
    /// The inbound key is the one made on first start.
    pub generated_inbound: bool,
    pub retention: RetentionConfig,
    pub upkeep: upkeep::Config,
    pub jobs: jobs::Config,
    pub schedule: crate::domains::schedule::Config,
    /// None when it is off.
    pub discord: Option<discord::Config>,
    /// How long a caller who applies waits for the outcome; zero unless decisions are carried out on Roblox.
    pub apply_inline: Duration,
    /// The queue that alerts and applied decisions go into; none when they are not wanted.
    pub events: Option<QueueName>,
    /// None when it is off.
    pub doorbell: Option<doorbell::Config>,
    /// What is written back to Roblox, besides decisions.
    pub mirrors: mirrors::Config,
    /// None without a key for Open Cloud.
    pub roblox: Option<roblox::Settings>,
    /// What is worth telling the owner at start.
    pub warnings: Vec<String>,
    /// Features that need a setting: name, whether it is on, the variable that turns it on.
    pub features: Vec<Feature>,
}

/// Something that needs settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub state: FeatureState,
}

/// Whether a feature works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureState {
    On,
    /// These settings are missing.
    Off(Vec<&'static str>),
    /// Its settings are there and well-formed; this version does not use them yet.
    Later,
}

/// Shortest secret that is not warned about, in bytes (requirement R12).
const GOOD_SECRET: usize = 32;

/// Shortest passphrase that is not warned about, in characters.
const GOOD_PASSPHRASE: usize = 12;

/// Reads `DATA_DIR` alone: the generated secrets have to be found before the rest can be checked.
///
/// # Errors
/// Those of [`Sources::get`].
pub fn data_dir(sources: &Sources) -> Result<PathBuf> {
    Ok(PathBuf::from(Reader { sources, generated: None }.text("DATA_DIR")?))
}

impl Config {
    /// Builds the configuration from `sources`, with `generated` standing in for secrets that are not set.
    ///
    /// # Errors
    /// `config.invalid` naming the variable, its value's problem and what is expected; `config.open_ingest` (requirement F2).
    pub fn build(sources: &Sources, generated: &Generated) -> Result<Self> {
        let read = Reader { sources, generated: Some(generated) };
        let host: IpAddr = read.parsed("HOST", "an IP address such as 127.0.0.1 or 0.0.0.0")?;
        let port = read.parsed("PORT", "a port from 0 to 65535")?;
        let config = Self {
            host,
            port,
            data_dir: data_dir(sources)?,
            policy_dir: PathBuf::from(read.text("POLICY_DIR")?),
            log_format: read.log_format()?,
            log_level: read.text("LOG_LEVEL")?,
            docs: read.flag("DOCS")?,
            headless: read.flag("HEADLESS_MODE")?,
            health_auth_required: read.one_of("HEALTH_AUTH", &[("optional", false), ("required", true)])?,
            store_cache_bytes: read.number("STORE_CACHE_MB", 8, 4096)? << 20,
            record_cache_bytes: read.number("RECORD_CACHE_MB", 1, 4096)? << 20,
            store_reserve_bytes: read.number("STORE_RESERVE_MB", 16, 1 << 20)? << 20,
            journal_keep_bytes: read.number("JOURNAL_KEEP_MB", 0, 1 << 20)? << 20,
            service_base_url: match read.text("SERVICE_BASE_URL")? {
                url if url.is_empty() => format!("http://127.0.0.1:{port}"),
                url => url,
            },
            http: http_section(&read)?,
            auth: auth_section(&read, generated, host)?,
            generated_inbound: read.found("INBOUND_API_KEYS")?.is_none(),
            retention: RetentionConfig {
                days: read.number("SNAPSHOT_RETENTION_DAYS", 1, 3650)? as u32,
                per_player: read.number("SNAPSHOTS_PER_PLAYER", 1, 100_000)? as u32,
                audit_days: read.number("AUDIT_RETENTION_DAYS", 1, 3650)? as u32,
            },
            upkeep: upkeep_section(&read)?,
            jobs: jobs::Config {
                queue_length: read.number("JOB_QUEUE_LENGTH", 1, 100_000_000)? as usize,
                waiters: read.number("JOB_WAITERS", 1, 1_000_000)? as usize,
            },
            schedule: schedule::schedule(&read)?,
            discord: outbound::discord(&read)?,
            apply_inline: outbound::apply_inline(&read)?,
            doorbell: outbound::doorbell(&read)?,
            mirrors: outbound::mirrors(&read)?,
            events: outbound::events(&read)?,
            roblox: outbound::roblox(&read)?,
            warnings: warnings(&read)?,
            features: features(&read)?,
        };
        Ok(config)
    }

    /// Everything that opening the store in `dir` needs to know.
    pub fn surroundings(&self, dir: &DataDir, clock: Clock, progress: Progress) -> Surroundings {
        let mut surroundings = Surroundings::new(dir, &self.store());
        (surroundings.backups, surroundings.lock) = (self.upkeep.folder.clone(), self.upkeep.lock.clone());
        (surroundings.clock, surroundings.progress) = (clock, progress);
        surroundings
    }

    /// What the store is told.
    pub fn store(&self) -> store::Settings {
        store::Settings {
            page_cache_bytes: self.store_cache_bytes,
            record_cache_bytes: self.record_cache_bytes,
            reserve_bytes: self.store_reserve_bytes,
            journal_keep_bytes: self.journal_keep_bytes,
            ..store::Settings::default()
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

fn http_section(read: &Reader<'_>) -> Result<http::Config> {
    let origins = match read.found("ALLOWED_ORIGINS")? {
        Some(found) => Origins::parse(&found.value)?,
        None => match read.text("CORS_ALLOW_ORIGINS")? {
            list if list.is_empty() => Origins::default(),
            list => Origins::parse_json(&list)?,
        },
    };
    Ok(http::Config {
        max_body_bytes: read.number("MAX_BODY_BYTES", 1024, 64 << 20)? as usize,
        max_connections: read.number("MAX_CONNECTIONS", 16, 1_000_000)? as usize,
        max_sockets: read.number("MAX_SOCKETS", 1, 1_000_000)? as usize,
        rate_limit_requests: read.number("RATE_LIMIT_PER_MINUTE", 0, 1_000_000)? as u32,
        rate_limit_window_seconds: read.number("RATE_LIMIT_WINDOW_SECONDS", 1, 86_400)? as u32,
        trusted_proxies: Proxies::parse(&read.text("TRUSTED_PROXIES")?)?,
        allowed_origins: origins,
        base_url: read.text("SERVICE_BASE_URL")?,
        ..http::Config::default()
    })
}

fn auth_section(read: &Reader<'_>, generated: &Generated, host: IpAddr) -> Result<auth::Config> {
    let inbound = auth::Config::parse_inbound(&read.text("INBOUND_API_KEYS")?)?;
    let open_ingest = inbound.is_empty();
    if open_ingest && !host.is_loopback() && !read.flag("ALLOW_OPEN_INGEST")? {
        return Err(Error::invalid(
            "config.open_ingest",
            format!("INBOUND_API_KEYS is empty and {host} can be reached by others, so anyone could post snapshots"),
        )
        .hint("set INBOUND_API_KEYS, remove the empty setting to have a key generated, or set ALLOW_OPEN_INGEST=1"));
    }
    Ok(auth::Config {
        mode: read.one_of("AUTH_MODE", &[("compat", Mode::Compat), ("strict", Mode::Strict)])?,
        gateway_key_only: read.one_of("GATEWAY_AUTH", &[("hmac", false), ("key", true)])?,
        inbound,
        open_ingest,
        automation: Secrets::parse(&read.text("AUTOMATION_SIGNATURE_SECRET")?)?,
        gateway_key: Secrets::parse(&read.text("API_KEY")?)?,
        gateway_hmac: Secrets::parse(&read.text("HMAC_SECRET")?)?,
        operator: generated.operator(),
        sealing: generated.sealing(),
        tolerance: Duration::from_secs(read.number("TIMESTAMP_TOLERANCE", 1, 3600)?),
    })
}

fn upkeep_section(read: &Reader<'_>) -> Result<upkeep::Config> {
    let data_dir = PathBuf::from(read.text("DATA_DIR")?);
    Ok(upkeep::Config {
        schedule: Schedule::parse("BACKUP_CRON", &read.text("BACKUP_CRON")?, &Zone::utc())?,
        folder: match read.text("BACKUP_DIR")? {
            folder if folder.is_empty() => data_dir.join("backups"),
            folder => PathBuf::from(folder),
        },
        keep: read.text("BACKUP_KEEP")?.parse()?,
        lock: upkeep::Config::lock(&read.text("BACKUP_PASSPHRASE")?, &read.text("BACKUP_KEY")?)?,
        scratch: data_dir,
    })
}

/// Secrets that are too short or used twice (requirement R12), and settings that have no effect here.
fn warnings(read: &Reader<'_>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut seen: Vec<(&str, Secret)> = Vec::new();
    let names =
        ["INBOUND_API_KEYS", "AUTOMATION_SIGNATURE_SECRET", "HMAC_SECRET", "API_KEY", "WEBHOOK_VERIFICATION_KEY"];
    for name in names {
        let value = read.text(name)?;
        for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            // A scope list after an inbound key is no part of its secret.
            let part = if name == "INBOUND_API_KEYS" { part.split(':').next().unwrap_or(part) } else { part };
            if part.len() < GOOD_SECRET {
                out.push(format!(
                    "{name} is shorter than {GOOD_SECRET} characters; make one with `openssl rand -hex 32`"
                ));
            }
            if let Some((other, _)) =
                seen.iter().find(|(other, secret)| *other != name && secret.matches(part.as_bytes()))
            {
                out.push(format!("{name} and {other} are the same secret; a leak of one would open both"));
            }
            seen.push((name, Secret::new(part)));
        }
    }
    let passphrase = read.text("BACKUP_PASSPHRASE")?;
    if (1..GOOD_PASSPHRASE).contains(&passphrase.chars().count()) {
        out.push(format!(
            "BACKUP_PASSPHRASE is shorter than {GOOD_PASSPHRASE} characters; several random words are better"
        ));
    }
    if read.found("REDIS_URL")?.is_some_and(|found| !found.value.is_empty()) {
        out.push("REDIS_URL is set but has no effect on a single machine: the embedded store does its work".into());
    }
    Ok(out)
}

/// What needs settings, and whether it has them. Settings of features to come are checked all the same.
fn features(read: &Reader<'_>) -> Result<Vec<Feature>> {
    const NOW: &[(&str, &[&str])] = &[
        ("snapshots from game servers", &["INBOUND_API_KEYS"]),
        ("signed automation calls", &["AUTOMATION_SIGNATURE_SECRET"]),
        ("job gateway credentials", &["API_KEY", "HMAC_SECRET"]),
        ("jobs from Discord", &["DISCORD_TOKEN", "CHANNEL_ID"]),
        ("ranks in the Roblox group", &["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_GROUP_ID"]),
        (
            "sync from the Roblox data store",
            &["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_UNIVERSE_ID", "ROBLOX_DATASTORE_NAME"],
        ),
        ("doorbell for game servers", &["ROBLOX_OPEN_CLOUD_API_KEY", "ROBLOX_UNIVERSE_ID", "DOORBELL_QUEUES"]),
    ];
    const LATER: &[(&str, &[&str])] =
        &[("Postgres export", &["DATABASE_URL"]), ("Turnstile", &["TURNSTILE_SECRET_KEY"])];
    read.well_formed()?;
    let mut out = Vec::new();
    for (list, ready) in [(NOW, FeatureState::On), (LATER, FeatureState::Later)] {
        for (name, needs) in list {
            let missing = read.missing(needs)?;
            let state = if missing.is_empty() { ready.clone() } else { FeatureState::Off(missing) };
            out.push(Feature { name, state });
        }
    }
    Ok(out)
}

/// Reads single settings, with messages that name them.
struct Reader<'a> {
    sources: &'a Sources,
    generated: Option<&'a Generated>,
}

impl Reader<'_> {
    fn found(&self, name: &str) -> Result<Option<Found>> {
        self.sources.get(name)
    }

    /// The value as text: set, generated, or the default.
    fn text(&self, name: &str) -> Result<String> {
        if let Some(found) = self.found(name)? {
            return Ok(found.value.trim().to_owned());
        }
        let generated = self.generated.and_then(|generated| generated.get(name));
        let default = settings::find(name).map_or("", |setting| setting.default);
        Ok(generated.unwrap_or(default).to_owned())
    }

    /// Which of `names` have no value.
    fn missing(&self, names: &[&'static str]) -> Result<Vec<&'static str>> {
        let mut out = Vec::new();
        for name in names {
            if self.text(name)?.is_empty() {
                out.push(*name);
            }
        }
        Ok(out)
    }

    /// Checks the settings whose features come later: ids are numbers, the database is Postgres (requirements G13, G14).
    fn well_formed(&self) -> Result<()> {
        for name in ["ROBLOX_GROUP_ID", "ROBLOX_UNIVERSE_ID", "CHANNEL_ID"] {
            let text = self.text(name)?;
            if !text.bytes().all(|b| b.is_ascii_digit()) || text.len() > 20 {
                return Err(self.invalid(name, &text, "a number"));
            }
        }
        let url = self.text("DATABASE_URL")?;
        let schemes = ["postgres://", "postgresql://", "postgresql+asyncpg://"];
        if !url.is_empty() && !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            // The value may hold a password, so it is not shown.
            return Err(Error::invalid("config.invalid", "DATABASE_URL is not a Postgres address")
                .hint("write it as postgresql://user:password@host:5432/name"));
        }
        Ok(())
    }

    fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| self.invalid(name, &text, expected))
    }

    fn number(&self, name: &str, low: u64, high: u64) -> Result<u64> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            _ => Err(self.invalid(name, &text, &format!("a whole number from {low} to {high}"))),
        }
    }

    fn log_format(&self) -> Result<LogFormat> {
        self.one_of("LOG_FORMAT", &[("human", LogFormat::Human), ("json", LogFormat::Json)])
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name)?.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "" | "0" | "false" | "no" | "off" => Ok(false),
            other => Err(self.invalid(name, other, "true or false")),
        }
    }

    fn one_of<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let text = self.text(name)?.to_ascii_lowercase();
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let chosen = choices.iter().find(|(choice, _)| *choice == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| self.invalid(name, &text, &names.join(" or ")))
    }

    /// Names the setting, its value, where that comes from, and what is expected. Only settings that are not secret are read this way.
    fn invalid(&self, name: &str, value: &str, expected: &str) -> Error {
        let origin = self.found(name).ok().flatten().map_or(Origin::Default, |found| found.origin);
        Error::invalid("config.invalid", format!("{name} is \"{value}\" (from {origin}): expected {expected}"))
            .hint("`grps config print` shows every setting and where its value comes from")
    }
}

/// Every setting with its value (secrets masked) and where it comes from, for `grps config print`.
///
/// # Errors
/// Those of [`Sources::get`].
pub fn print(sources: &Sources, generated: &Generated) -> Result<Vec<(&'static Setting, String, Origin)>> {
    let mut out = Vec::new();
    for setting in SETTINGS {
        let found = match sources.get(setting.name)? {
            Some(found) => found,
            None => match generated.get(setting.name) {
                Some(value) => Found { value: value.to_owned(), origin: Origin::Generated },
                None => Found { value: setting.default.to_owned(), origin: Origin::Default },
            },
        };
        let shown = match setting.kind {
            Kind::Plain => found.value,
            Kind::Secret | Kind::GeneratedSecret => mask(&found.value),
        };
        out.push((setting, shown, found.origin));
    }
    Ok(out)
}

/// `…` and the last four characters of a long secret; only `…` of a short one.
fn mask(secret: &str) -> String {
    let parts: Vec<String> = secret
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let tail: String = part.chars().skip(part.chars().count().saturating_sub(4)).collect();
            if part.chars().count() >= GOOD_SECRET { format!("…{tail}") } else { "…".to_owned() }
        })
        .collect();
    parts.join(",")
}
