//! Where a setting's value comes from: flag, environment, `.env` file, settings file, generated secret, default; the first that has it
//! wins (requirements J8, P4). Nothing else in the program reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// Which source a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    /// A Docker-style secret file named by `<NAME>_FILE`.
    SecretFile(PathBuf),
    DotEnv(PathBuf),
    SettingsFile(PathBuf),
    /// Made on first start and kept in the data directory.
    Generated,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("flag"),
            Origin::Environment => f.write_str("environment"),
            Origin::SecretFile(path) | Origin::DotEnv(path) | Origin::SettingsFile(path) => path.display().fmt(f),
            Origin::Generated => f.write_str("generated"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub value: String,
    pub origin: Origin,
}

/// All sources, read once at start. Names are compared without regard to case (requirement G14).
#[derive(Debug, Clone, Default)]
pub struct Sources {
    layers: Vec<(Origin, BTreeMap<String, String>)>,
}

/// The settings file looked for when none is named.
const DEFAULT_SETTINGS_FILE: &str = "app_settings.json";

/// Largest settings file, `.env` file or secret file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

impl Sources {
    /// The sources of this process: its flags, its environment, the files of the directory it was started in.
    ///
    /// # Errors
    /// As [`Sources::read`].
    #[allow(clippy::disallowed_methods)] // the one place
    pub fn of_process(flags: Vec<(String, String)>) -> Result<Self> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let here = std::env::current_dir().map_err(|error| Error::broken("config.no_directory", error))?;
        Self::read(flags, std::env::vars_os().filter_map(text).collect(), &here)
    }

    /// Reads every source. `flags` and `environment` are name–value pairs; files are looked for in `directory`.
    ///
    /// # Errors
    /// `config.file_unreadable` for a file that is named but missing, too large or malformed.
    pub fn read(flags: Vec<(String, String)>, environment: Vec<(String, String)>, directory: &Path) -> Result<Self> {
        let mut sources =
            Self { layers: vec![(Origin::Flag, upper(flags)), (Origin::Environment, upper(environment))] };
        let app_env = sources.get("APP_ENV")?.map(|found| found.value);
        let named = app_env.filter(|name| !name.is_empty()).map(|name| directory.join(format!(".env.{name}")));
        for path in named.into_iter().chain([directory.join(".env")]) {
            if path.exists() {
                sources.layers.push((Origin::DotEnv(path.clone()), dotenv(&path)?));
            }
        }
        sources.add_settings_file(directory)?;
        Ok(sources)
    }

    fn add_settings_file(&mut self, directory: &Path) -> Result<()> {
        let named = self.get("SETTINGS_FILE")?.filter(|found| !found.value.is_empty());
        let path = directory.join(named.as_ref().map_or(DEFAULT_SETTINGS_FILE, |found| &found.value));
        if !path.exists() && named.is_none() {
            return Ok(());
        }
        self.layers.push((Origin::SettingsFile(path.clone()), settings_file(&path)?));
        Ok(())
    }

    /// The value of `name`: the first source that has it, or that has `<name>_FILE`. An empty value is a value.
    ///
    /// # Errors
    /// `config.file_unreadable` for a secret file that cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Found>> {
        let file_name = format!("{name}_FILE");
        for (origin, values) in &self.layers {
            if let Some(value) = values.get(name) {
                return Ok(Some(Found { value: value.clone(), origin: origin.clone() }));
            }
            // SETTINGS_FILE is a setting of its own, not the file variant of one called SETTINGS.
            if let Some(path) = values.get(&file_name) {
                let path = PathBuf::from(path);
                let value = read_small(&path)?.trim_end_matches(['\r', '\n']).to_owned();
                return Ok(Some(Found { value, origin: Origin::SecretFile(path) }));
            }
        }
        Ok(None)
    }
}

/// The variables of this process that give one of `settings`, in whatever case they are written, their `_FILE` variants among them: what a
/// child process has to be spared.
#[allow(clippy::disallowed_methods)] // the one place, with `of_process`
pub fn names_in_environment(settings: &[&str]) -> Vec<OsString> {
    let given = |name: &OsString| {
        let name = name.to_string_lossy().to_ascii_uppercase();
        settings.iter().any(|setting| name == *setting || name.strip_suffix("_FILE") == Some(setting))
    };
    std::env::vars_os().map(|(name, _)| name).filter(given).collect()
}

fn upper(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect()
}

fn dotenv(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = read_small(path)?;
    let pairs: std::result::Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    // The parser's own message quotes the line, which may hold a secret.
    pairs.map(upper).map_err(|_| {
        unreadable(path, "a line is not NAME=value")
            .hint("quote values that hold spaces or #, and put those that hold $ into single quotes")
    })
}

fn settings_file(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = read_small(path)?;
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).map_err(|error| {
        unreadable(path, &format!("line {}, column {}: not a JSON object", error.line(), error.column()))
    })?;
    let mut values = Vec::new();
    for (name, value) in parsed {
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(flag) => flag.to_string(),
            serde_json::Value::Null => continue,
            serde_json::Value::Array(_) if name.eq_ignore_ascii_case("CORS_ALLOW_ORIGINS") => value.to_string(),
            _ => return Err(unreadable(path, &format!("\"{name}\" is not a string, number or boolean"))),
        };
        values.push((name, text));
    }
    Ok(upper(values))
}

fn read_small(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map_err(|error| unreadable(path, &error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(unreadable(path, &format!("it has {size} bytes; at most {MAX_FILE} are read")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error.to_string()))
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::invalid("config.file_unreadable", format!("cannot read {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_first_source_wins_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "PORT=3\nHMAC_SECRET='with space'\nAPI_KEY=dot\n").unwrap();
        std::fs::write(dir.path().join(".env.production"), "API_KEY=prod\n").unwrap();
        std::fs::write(dir.path().join("app_settings.json"), r#"{"port": 4, "headless_mode": false}"#).unwrap();
        let sources =
            Sources::read(pairs(&[("PORT", "1")]), pairs(&[("port", "2"), ("App_Env", "production")]), dir.path())
                .unwrap();
        let get = |name: &str| sources.get(name).unwrap().unwrap();
        assert_eq!(get("PORT"), Found { value: "1".into(), origin: Origin::Flag });
        assert_eq!(get("API_KEY").value, "prod");
        assert_eq!(get("HMAC_SECRET").value, "with space");
        assert_eq!(get("HEADLESS_MODE").value, "false");
        assert!(sources.get("NOTHING").unwrap().is_none());
    }

    #[test]
    fn a_secret_may_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let env = pairs(&[("API_KEY_FILE", path.to_str().unwrap())]);
        let sources = Sources::read(Vec::new(), env, dir.path()).unwrap();
        assert_eq!(sources.get("API_KEY").unwrap().unwrap().value, "s3cret");
    }

    #[test]
    fn a_named_settings_file_must_exist_the_default_need_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Sources::read(Vec::new(), Vec::new(), dir.path()).is_ok());
        let error = Sources::read(Vec::new(), pairs(&[("SETTINGS_FILE", "mine.json")]), dir.path()).unwrap_err();
        assert!(error.detail().contains("mine.json"), "{error}");
        std::fs::write(dir.path().join("mine.json"), "{\n  nope").unwrap();
        let error = Sources::read(Vec::new(), pairs(&[("SETTINGS_FILE", "mine.json")]), dir.path()).unwrap_err();
        assert!(error.detail().contains("line 2"), "{error}");
    }

    #[test]
    fn a_bad_env_line_does_not_show_its_content() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "API_KEY=hun\"ter2 oops\n").unwrap();
        let error = Sources::read(Vec::new(), Vec::new(), dir.path()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ter2"), "{error:?}");
    }
}
