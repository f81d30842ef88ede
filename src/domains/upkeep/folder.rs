//! The folder of backups: finding them, naming new ones, deleting those whose time is over. It may hold files of others, which are left
//! alone. Everything here reads or writes the disk: call it off the runtime's threads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::keep::Keep;
use crate::base::{Error, Result, Time};
use crate::store::{CheckpointInfo, upkeep};

/// Longest name of a backup, in characters.
pub const MAX_NAME: usize = 64;

/// Backups listed at most, newest first.
const MAX_LISTED: usize = 1000;

/// How the files end.
const SUFFIX: &str = ".ckp";

/// How files end that are still being written, or were when the program ended.
const UNFINISHED: &str = ".ckp.partial";

/// What the names of backups start with that nobody named; the rest is their time.
const AUTOMATIC: &str = "grps-";

/// Seconds looked at for one without a backup.
const MAX_TAKEN: u64 = 60;

/// A backup in the folder.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The file's name without its ending.
    pub name: String,
    /// When it was made: its name says so, or else its head.
    pub at: Time,
    /// Nobody named it, so the keep rules apply to it.
    pub automatic: bool,
    /// What its head and its end say; an error when they cannot be read.
    pub info: Result<CheckpointInfo>,
}

/// Where backups are kept.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The backups, newest first, at most [`MAX_LISTED`] of them. A folder that is not there has none.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`, `upkeep.folder_full`.
    pub fn list(&self) -> Result<Vec<Backup>> {
        let names = self.names()?;
        let mut backups: Vec<Backup> = names.iter().filter_map(|file| self.backup(file)).collect();
        backups.sort_by(|a, b| (b.at, &b.name).cmp(&(a.at, &a.name)));
        backups.truncate(MAX_LISTED);
        Ok(backups)
    }

    /// The newest backup of `store` that can be read. One from the future, made while the clock was wrong, must not hold up the next ones.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`, `upkeep.folder_full`.
    pub fn last_good(&self, store: &str, now: Time) -> Result<Option<Backup>> {
        Ok(self.list()?.into_iter().find(|backup| backup.is_good_of(store) && backup.at <= now))
    }

    /// The file of the backup called `name`, which need not exist.
    ///
    /// # Errors
    /// `upkeep.name_invalid`.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with(['.', '-']) || !name.chars().all(plain) {
            return Err(Error::invalid("upkeep.name_invalid", "that is no name for a backup").hint(format!(
                "use 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, and begin with a letter, a digit or an underscore"
            )));
        }
        Ok(self.0.join(format!("{name}{SUFFIX}")))
    }

    /// The file of the backup called `name`.
    ///
    /// # Errors
    /// `upkeep.backup_missing`; as [`Folder::file`].
    pub fn existing(&self, name: &str) -> Result<PathBuf> {
        let path = self.file(name)?;
        if path.is_file() {
            return Ok(path);
        }
        let detail = format!("there is no backup called {name} in {}", self.0.display());
        Err(Error::missing("upkeep.backup_missing", detail).hint("`grps backup list` shows those there are"))
    }

    /// A name for a new backup: the `wanted` one, or one made of the time.
    ///
    /// # Errors
    /// `upkeep.backup_exists`; `upkeep.name_invalid`, also for names that say a time.
    pub fn fresh_name(&self, wanted: Option<&str>, now: Time) -> Result<String> {
        let Some(name) = wanted else {
            let names = (0..MAX_TAKEN).map(|later| automatic(now + Duration::from_secs(later)));
            let free = names.into_iter().find(|name| self.file(name).is_ok_and(|path| !path.exists()));
            return free.ok_or_else(|| exists(&automatic(now)));
        };
        if stamp(name).is_some() {
            return Err(Error::invalid(
                "upkeep.name_invalid",
                "names of this form are given to backups that have none",
            )
            .hint("choose another name, or none"));
        }
        if self.file(name)?.exists() { Err(exists(name)) } else { Ok(name.to_owned()) }
    }

    /// Removes what an interrupted backup left; gives the files' names.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`, `upkeep.folder_full`.
    pub fn tidy(&self) -> Result<Vec<String>> {
        let mut left = self.names()?;
        left.retain(|file| file.strip_suffix(UNFINISHED).is_some_and(|name| self.file(name).is_ok()));
        left.iter().try_for_each(|file| self.remove(file))?;
        Ok(left)
    }

    /// Deletes the backups of `store` that `keep` does not keep, and gives their names. Only good ones that nobody named count and go.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`, `upkeep.folder_full`.
    pub fn prune(&self, keep: &Keep, store: &str) -> Result<Vec<String>> {
        let backups = self.list()?.into_iter().filter(|backup| backup.automatic && backup.is_good_of(store));
        let backups: Vec<(String, Time)> = backups.map(|backup| (backup.name, backup.at)).collect();
        let doomed = keep.doomed(&backups);
        doomed.iter().try_for_each(|name| self.remove(&format!("{name}{SUFFIX}")))?;
        Ok(doomed.into_iter().map(str::to_owned).collect())
    }

    /// Makes the folder if need be, and sees whether files can be made in it.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`, `upkeep.folder_full`.
    pub fn probe(&self) -> Result<()> {
        let probe = self.0.join(format!(".probe-{}", std::process::id()));
        let tried = create(&self.0).and_then(|()| fs::write(&probe, b"x"));
        let _ = fs::remove_file(&probe);
        tried.map_err(|error| self.unusable(&error))
    }

    fn backup(&self, file: &str) -> Option<Backup> {
        let name = file.strip_suffix(SUFFIX).filter(|name| self.file(name).is_ok())?;
        let (info, said) = (upkeep::inspect(&self.0.join(file)), stamp(name));
        // One that cannot be read is a damaged backup of ours if its name or its first bytes say so.
        let at = match (&info, said) {
            (_, Some(at)) => at,
            (Ok(info), None) => info.head.created,
            (Err(error), None) if error.code() == "checkpoint.foreign" => return None,
            (Err(_), None) => {
                let changed = fs::metadata(self.0.join(file)).and_then(|meta| meta.modified()).ok()?;
                Time(i64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?)
            }
        };
        Some(Backup { name: name.to_owned(), at, automatic: said.is_some(), info })
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.unusable(&error))?,
        };
        let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        Ok(files.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn remove(&self, file: &str) -> Result<()> {
        fs::remove_file(self.0.join(file)).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &io::Error) -> Error {
        let detail = format!("the folder of backups {} cannot be used: {error}", self.0.display());
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::full("upkeep.folder_full", detail)
                .hint("free some space there, or set BACKUP_DIR to a folder on another disk");
        }
        Error::not_configured("upkeep.folder_unusable", detail)
            .hint("let this user read and write it, or set BACKUP_DIR to another folder")
    }
}

impl Backup {
    /// Whether this is a name that backups get whom nobody named.
    pub fn is_automatic(name: &str) -> bool {
        stamp(name).is_some()
    }

    fn is_good_of(&self, store: &str) -> bool {
        self.info.as_ref().is_ok_and(|info| info.head.store.to_string() == store)
    }
}

fn create(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn exists(name: &str) -> Error {
    Error::conflict("upkeep.backup_exists", format!("there is a backup called {name} already"))
        .hint("choose another name, or none to have it named after the time")
}

/// `grps-20250301T181544Z`.
fn automatic(at: Time) -> String {
    let at = at.calendar();
    let (hour, minute, second) = at.to_hms();
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{AUTOMATIC}{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The time that such a name says.
fn stamp(name: &str) -> Option<Time> {
    let text = name.strip_prefix(AUTOMATIC).filter(|text| text.len() == 16 && text.is_ascii())?;
    let (date, time) = (&text[..8], text.get(9..15)?);
    let said = format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &time[..2], &time[2..4], &time[4..]);
    Time::parse(&said).filter(|at| automatic(*at) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("backups"));
        (dir, folder)
    }

    #[test]
    fn names_tell_the_time_they_were_made_of() {
        let at = Time(1_740_852_944_000);
        assert_eq!(automatic(at), "grps-20250301T181544Z");
        assert_eq!(stamp("grps-20250301T181544Z"), Some(at));
        for other in
            ["grps-20250301T181544", "grps-20251301T181544Z", "grps-20250301X181544Z", "before-upgrade", "grps-"]
        {
            assert_eq!(stamp(other), None, "{other}");
        }
    }

    #[test]
    fn only_plain_names_become_files() {
        let (_dir, folder) = folder();
        assert!(folder.file("before-upgrade_2.1").unwrap().ends_with("backups/before-upgrade_2.1.ckp"));
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-flag", "two words", "é", &"x".repeat(65)] {
            assert_eq!(folder.file(bad).unwrap_err().code(), "upkeep.name_invalid", "{bad:?}");
        }
        assert_eq!(
            folder.fresh_name(Some("grps-20250301T181544Z"), Time(0)).unwrap_err().code(),
            "upkeep.name_invalid"
        );
        assert_eq!(folder.existing("nothing").unwrap_err().code(), "upkeep.backup_missing");
    }

    #[test]
    fn a_name_that_is_taken_makes_way() {
        let (_dir, folder) = folder();
        let at = Time(1_740_852_944_000);
        folder.probe().unwrap();
        fs::write(folder.file("grps-20250301T181544Z").unwrap(), b"").unwrap();
        fs::write(folder.file("mine").unwrap(), b"").unwrap();
        assert_eq!(folder.fresh_name(None, at).unwrap(), "grps-20250301T181545Z");
        assert_eq!(folder.fresh_name(Some("mine"), at).unwrap_err().code(), "upkeep.backup_exists");
        assert_eq!(folder.fresh_name(Some("yours"), at).unwrap(), "yours");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let (_dir, folder) = folder();
        assert!(folder.list().unwrap().is_empty() && folder.tidy().unwrap().is_empty(), "a folder that is not there");
        folder.probe().unwrap();
        let others = ["notes.txt", "model.ckp", "download.partial", ".x.ckp.partial", "a b.ckp"];
        for file in
            others.iter().chain(&["grps-20250301T181544Z.ckp", "grps-20250301T181545Z.ckp.partial", "mine.ckp.partial"])
        {
            fs::write(folder.path().join(file), b"something").unwrap();
        }
        let listed = folder.list().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert!(listed[0].name == "grps-20250301T181544Z" && listed[0].info.is_err() && listed[0].automatic);
        let mut left = folder.tidy().unwrap();
        left.sort();
        assert_eq!(left, ["grps-20250301T181545Z.ckp.partial", "mine.ckp.partial"]);
        assert!(folder.prune(&"last=0".parse().unwrap(), "").unwrap().is_empty(), "a damaged one is never deleted");
        assert!(others.iter().all(|file| folder.path().join(file).exists()));
    }

    #[test]
    fn a_backup_that_was_copied_in_part_is_shown_as_damaged() {
        let (_dir, folder) = folder();
        folder.probe().unwrap();
        for (file, bytes) in [("empty.ckp", &b""[..]), ("short.ckp", b"grps.ckp")] {
            fs::write(folder.path().join(file), bytes).unwrap();
        }
        let listed = folder.list().unwrap();
        assert!(
            listed.len() == 2 && listed.iter().all(|b| b.info.is_err() && !b.automatic && b.at.0 > 0),
            "{listed:?}"
        );
    }

    #[test]
    fn a_folder_on_a_full_disk_is_not_taken_for_a_forbidden_one() {
        let (_dir, folder) = folder();
        let error = folder.unusable(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!((error.code(), error.kind()), ("upkeep.folder_full", crate::base::Kind::Full));
        assert!(error.hint_text().unwrap().contains("free some space"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        for folder in [Folder::new(path.clone()), Folder::new(path.join("below"))] {
            let error = folder.probe().unwrap_err();
            assert!(error.code() == "upkeep.folder_unusable" && error.hint_text().unwrap().contains("BACKUP_DIR"));
        }
    }
}
