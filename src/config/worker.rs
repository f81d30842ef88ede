//! The worker's section. A worker usually runs on another machine than its server, so this reads nothing that only a server has; on the
//! server's own machine it finds the address and the generated secrets by itself.

use std::path::Path;
use std::time::Duration;

use super::{Generated, LogFormat, Reader, Sources, data_dir};
use crate::base::{Error, Result, Secret, Secrets};
use crate::store::DataDir;

/// What a worker is told (requirement J19).
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// `BASE_URL`: where the server is, without a slash at the end.
    pub base: reqwest::Url,
    /// The server is on this machine: at a loopback address, or the one that holds our data directory, wherever it listens.
    pub local: bool,
    /// `API_KEY`; none when nothing gives one.
    pub key: Option<Secret>,
    /// `HMAC_SECRET`; none when nothing gives one.
    pub hmac: Option<Secret>,
    /// `CONCURRENCY`: jobs worked on at the same time.
    pub concurrency: usize,
    /// `TIMEOUT`: how long a request may take, waiting for a job included.
    pub timeout: Duration,
    /// `INITIAL_BACKOFF`: the first pause after a request that failed; it doubles with every further one.
    pub initial_backoff: Duration,
    /// `MAX_BACKOFF`: the longest such pause.
    pub max_backoff: Duration,
    /// `RETRIES`: how often an answer to the server is tried again.
    pub retries: u32,
    pub log_format: LogFormat,
    pub log_level: String,
}

/// Most jobs worked on at the same time: each has a connection and, with a command, a process.
pub const MAX_CONCURRENCY: u64 = 1000;

impl WorkerConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// `config.invalid` naming the setting; those of the sources.
    pub fn build(sources: &Sources) -> Result<Self> {
        let read = Reader { sources, generated: None };
        let (base, local) = base(&read)?;
        // Secrets that this machine's own server made are for that server alone.
        let generated = if local { Generated::existing(&data_dir(sources)?)? } else { None };
        let secret = |name: &str| -> Result<Option<Secret>> {
            let text = Reader { sources, generated: generated.as_ref() }.text(name)?;
            Ok(Secrets::parse(&text)?.first().cloned())
        };
        let initial_backoff = read.seconds("INITIAL_BACKOFF", 0.01, 60.0)?;
        let max_backoff = read.seconds("MAX_BACKOFF", 0.01, 3600.0)?;
        if initial_backoff > max_backoff {
            let detail = "INITIAL_BACKOFF is longer than MAX_BACKOFF, so pauses could not grow";
            return Err(Error::invalid("config.invalid", detail).hint("raise MAX_BACKOFF, or lower INITIAL_BACKOFF"));
        }
        Ok(Self {
            key: secret("API_KEY")?,
            hmac: secret("HMAC_SECRET")?,
            concurrency: read.number("CONCURRENCY", 1, MAX_CONCURRENCY)? as usize,
            timeout: read.seconds("TIMEOUT", 0.5, 300.0)?,
            initial_backoff,
            max_backoff,
            retries: read.number("RETRIES", 0, 100)? as u32,
            log_format: read.log_format()?,
            log_level: read.text("LOG_LEVEL")?,
            base,
            local,
        })
    }
}

/// Whether what is sent to `base` stays on this machine.
fn is_loopback(base: &reqwest::Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where the server is, and whether that is on this machine.
fn base(read: &Reader<'_>) -> Result<(reqwest::Url, bool)> {
    let here = if read.found("BASE_URL")?.is_none() { running_here(&data_dir(read.sources)?) } else { None };
    let found_here = here.is_some();
    let text = here.map_or_else(|| read.text("BASE_URL"), Ok)?;
    let url = reqwest::Url::parse(text.trim_end_matches('/')).ok().filter(|url| {
        let plain = url.query().is_none() && url.fragment().is_none();
        let open = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && open && plain
    });
    let url = url.ok_or_else(|| {
        // The value may hold a password, so it is not shown.
        Error::invalid("config.invalid", "BASE_URL is not the address of a server")
            .hint("write it as https://jobs.example.com or http://127.0.0.1:8000; keys go into API_KEY and HMAC_SECRET")
    })?;
    let local = found_here || is_loopback(&url);
    Ok((url, local))
}

/// The address of the server that holds the data directory, if one runs on this machine.
fn running_here(data_dir: &Path) -> Option<String> {
    let mut address = DataDir::owner(data_dir)?.addr?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Some(format!("http://{address}"))
}

impl Reader<'_> {
    /// A time in seconds, fractions allowed.
    fn seconds(&self, name: &str, low: f64, high: f64) -> Result<Duration> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(number) if (low..=high).contains(&number) => Ok(Duration::from_secs_f64(number)),
            _ => Err(self.invalid(name, &text, &format!("seconds from {low} to {high}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(settings: &[(&str, &str)], dir: &Path) -> Result<WorkerConfig> {
        let mut env: Vec<_> = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        env.push(("DATA_DIR".into(), dir.join("data").display().to_string()));
        WorkerConfig::build(&Sources::read(Vec::new(), env, dir).unwrap())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let dir = tempfile::tempdir().unwrap();
        let config = build(&[], dir.path()).unwrap();
        assert_eq!(config.base.as_str(), "http://127.0.0.1:8000/");
        assert_eq!((config.concurrency, config.retries), (4, 5));
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert_eq!((config.initial_backoff, config.max_backoff), (Duration::from_millis(250), Duration::from_secs(10)));
        assert!(config.key.is_none() && config.hmac.is_none());
        assert!(!dir.path().join("data").exists(), "a worker makes no data directory");
    }

    #[test]
    fn generated_secrets_are_for_the_server_on_this_machine_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = Generated::load_or_create(&dir.path().join("data")).unwrap();
        let here = build(&[("HMAC_SECRET", "mine")], dir.path()).unwrap();
        assert_eq!(here.key.unwrap().expose(), made.get("API_KEY").unwrap());
        assert_eq!(here.hmac.unwrap().expose(), "mine");
        let there = build(&[("BASE_URL", "https://jobs.example.com/gate/")], dir.path()).unwrap();
        assert!(there.key.is_none() && there.hmac.is_none());
        assert_eq!(there.base.as_str(), "https://jobs.example.com/gate");
    }

    #[test]
    fn the_server_of_our_data_directory_is_ours_wherever_it_listens() {
        let home = tempfile::tempdir().unwrap();
        let held = DataDir::open(&home.path().join("data")).unwrap();
        let made = Generated::load_or_create(held.path()).unwrap();
        held.announce("192.168.7.7:8100".parse().unwrap()).unwrap();
        let found = build(&[], home.path()).unwrap();
        assert_eq!((found.base.as_str(), found.local), ("http://192.168.7.7:8100/", true));
        assert_eq!(found.key.unwrap().expose(), made.get("API_KEY").unwrap());
        // An address that was given may be anybody's.
        let given = build(&[("BASE_URL", "http://192.168.7.7:8100")], home.path()).unwrap();
        assert!(given.key.is_none() && !given.local);
    }

    #[test]
    fn wrong_values_are_named_and_passwords_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value, expected) in [
            ("BASE_URL", "https://user:hunter2@example.com", "not the address"),
            ("BASE_URL", "http://:hunter2@example.com", "not the address"),
            ("BASE_URL", "jobs.example.com", "not the address"),
            ("CONCURRENCY", "0", "a whole number from 1"),
            ("TIMEOUT", "soon", "seconds from 0.5"),
            ("INITIAL_BACKOFF", "NaN", "seconds from"),
            ("INITIAL_BACKOFF", "10.5", "longer than MAX_BACKOFF"),
        ] {
            let error = build(&[(name, value)], dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        for (text, loopback) in [
            ("http://127.0.0.1:8000", true),
            ("http://localhost", true),
            ("http://[::1]:9", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&reqwest::Url::parse(text).unwrap()), loopback, "{text}");
        }
    }
}
