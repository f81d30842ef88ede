//! Secrets made on the first start, so that a server without any configuration is still a closed one. They live in `secrets.json` in the
//! data directory, readable by its owner only, and a setting of the same name wins over them.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Secret};

/// The file's name within the data directory.
pub const FILE: &str = "secrets.json";

/// The generated secrets, in the file's own shape.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generated {
    inbound_api_key: String,
    automation_signature_secret: String,
    api_key: String,
    hmac_secret: String,
    operator_secret: String,
    sealing_key: String,
}

impl Generated {
    /// Reads the file, or makes it with fresh secrets, and the directory with it: a command may come before the first start.
    ///
    /// # Errors
    /// `config.secrets_unreadable` when the file exists but is not ours, or cannot be written.
    pub fn load_or_create(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // A restored copy may be open to others. Whoever is not its owner cannot change that, and need not.
                let _ = std::fs::set_permissions(&path, Permissions::from_mode(0o600));
                Self::read(&path, &text)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(&path),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Reads the file if there is one.
    ///
    /// # Errors
    /// `config.secrets_unreadable` when there is one and it is not ours.
    pub fn existing(data_dir: &Path) -> Result<Option<Self>> {
        if data_dir.join(FILE).exists() { Self::load_or_create(data_dir).map(Some) } else { Ok(None) }
    }

    fn read(path: &Path, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Error::invalid("config.secrets_unreadable", format!("{} is damaged at {place}", path.display())).hint(
                "restore it from a backup; deleting it makes new secrets and ends all keys made by `grps keys create`",
            )
        })
    }

    /// Fresh secrets that are kept nowhere: for printing the published API, which needs none that last.
    ///
    /// # Errors
    /// `secret.no_randomness`.
    pub fn ephemeral() -> Result<Self> {
        let fresh = || Secret::generate().map(|secret| secret.expose().to_owned());
        Ok(Self {
            inbound_api_key: fresh()?,
            automation_signature_secret: fresh()?,
            api_key: fresh()?,
            hmac_secret: fresh()?,
            operator_secret: fresh()?,
            sealing_key: fresh()?,
        })
    }

    fn create(path: &Path) -> Result<Self> {
        let made = Self::ephemeral()?;
        let text =
            serde_json::to_string_pretty(&made).map_err(|error| Error::broken("config.secrets_unwritable", error))?;
        // Written beside under a name of its own, synced, then linked into place: a crash leaves either no file or a whole one, and of two
        // that start at once exactly one wins. A rename would replace the other's secrets, with which it has sealed keys already.
        let beside = path.with_extension(format!("json.{:016x}", fastrand::u64(..)));
        let write = || -> std::io::Result<bool> {
            let parent = path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            let won = match std::fs::hard_link(&beside, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                linked => linked.map(|()| true)?,
            };
            std::fs::File::open(parent)?.sync_all()?;
            Ok(won)
        };
        let written = write();
        let _ = std::fs::remove_file(&beside);
        if written.map_err(|error| unusable(path, &error))? {
            return Ok(made);
        }
        let winners = std::fs::read_to_string(path).map_err(|error| unusable(path, &error))?;
        Self::read(path, &winners)
    }

    /// The generated value of a setting, by the setting's name.
    pub fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "INBOUND_API_KEYS" => &self.inbound_api_key,
            "AUTOMATION_SIGNATURE_SECRET" => &self.automation_signature_secret,
            "API_KEY" => &self.api_key,
            "HMAC_SECRET" => &self.hmac_secret,
            _ => return None,
        })
    }

    pub fn operator(&self) -> Secret {
        Secret::new(self.operator_secret.clone())
    }

    pub fn sealing(&self) -> Secret {
        Secret::new(self.sealing_key.clone())
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid("config.secrets_unreadable", format!("cannot use {}: {error}", path.display()))
        .hint("run grps as the user that owns the data directory, or choose another with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_only_the_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let made = Generated::load_or_create(dir.path()).unwrap();
        let again = Generated::load_or_create(dir.path()).unwrap();
        assert_eq!(made.get("API_KEY"), again.get("API_KEY"));
        assert_ne!(made.get("API_KEY"), made.get("HMAC_SECRET"));
        assert_eq!(made.get("API_KEY").unwrap().len(), 64);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(dir.path().join(FILE), Permissions::from_mode(0o644)).unwrap();
        Generated::load_or_create(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a restored copy is closed again");
    }

    #[test]
    fn of_two_first_starts_one_makes_the_secrets_and_both_use_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        // Both have found no file; now both make one.
        let start = std::sync::Barrier::new(8);
        let sealing: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let create = || {
                start.wait();
                Generated::create(&path).unwrap().sealing().expose().to_owned()
            };
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let kept = Generated::load_or_create(dir.path()).unwrap().sealing().expose().to_owned();
        assert_eq!(sealing, [kept].into());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside");
    }

    #[test]
    fn a_damaged_file_is_named_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"apiKey\":").unwrap();
        let error = Generated::load_or_create(dir.path()).err().unwrap();
        assert!(error.detail().contains("secrets.json is damaged"), "{error}");
    }
}
