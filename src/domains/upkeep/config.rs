//! What an owner can set about backups.

use std::path::PathBuf;

use super::keep::Keep;
use crate::base::{Error, Result, Secret};
use crate::store::Lock;
use crate::workers::Schedule;

/// When backups are made, where they go, which stay, and how they are locked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `BACKUP_CRON`; none turns scheduled backups off.
    pub schedule: Option<Schedule>,
    /// `BACKUP_DIR`.
    pub folder: PathBuf,
    /// `BACKUP_KEEP`.
    pub keep: Keep,
    /// `BACKUP_PASSPHRASE` or `BACKUP_KEY`; none leaves backups readable.
    pub lock: Option<Lock>,
    /// The data directory, within which backups are tried out.
    pub scratch: PathBuf,
}

impl Config {
    /// What backups are locked with; both texts empty for nothing.
    ///
    /// # Errors
    /// `config.backup_lock` when both are given, or the key is not 64 hex characters.
    pub fn lock(passphrase: &str, key: &str) -> Result<Option<Lock>> {
        match (passphrase.is_empty(), key.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Ok(Some(Lock::Passphrase(Secret::new(passphrase)))),
            (true, false) => {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(key.as_bytes()).unwrap_or_default();
                let bytes = bytes.try_into().map_err(|_| {
                    Error::invalid("config.backup_lock", "BACKUP_KEY is not a key of 64 hex characters")
                        .hint("make one with `openssl rand -hex 32 > backup.key` and set BACKUP_KEY_FILE=backup.key")
                })?;
                Ok(Some(Lock::Key(bytes)))
            }
            (false, false) => {
                Err(Error::invalid("config.backup_lock", "BACKUP_PASSPHRASE and BACKUP_KEY are both set")
                    .hint("remove one of them; backups made with it can be read again by setting it back"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_a_passphrase_or_a_key() {
        assert!(Config::lock("", "").unwrap().is_none());
        assert!(matches!(Config::lock("correct horse", "").unwrap(), Some(Lock::Passphrase(_))));
        assert!(matches!(Config::lock("", &"aB".repeat(32)).unwrap(), Some(Lock::Key(key)) if key == [0xAB; 32]));
        for (passphrase, key) in [("p", "k"), ("", "k"), ("", "ab"), ("", &"g".repeat(64))] {
            let error = Config::lock(passphrase, key).unwrap_err();
            assert!(error.code() == "config.backup_lock" && error.hint_text().is_some(), "{error}");
        }
    }
}
