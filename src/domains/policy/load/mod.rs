//! From files on disk to a checked set: finding the directory, reading it with bounds, parsing with places, linting.
//!
//! Everything here blocks on the disk and is small; callers choose the thread.

mod parse;
mod positions;
mod shipped;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ring::digest;

use crate::base::{Error, Result, Time};

use super::files::FileKind;

pub(super) use parse::parse;
pub(super) use positions::Positions;
pub use shipped::{SHIPPED, shipped_sources, write_shipped};

/// Largest policy file, in bytes.
pub const MAX_POLICY_BYTES: u64 = 1024 * 1024;

/// The text of one policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub kind: FileKind,
    /// How messages call it: its path, or `policy.ranks.json (built in)`.
    pub label: String,
    pub text: String,
    /// When it was last written, where that is known.
    pub changed_at: Option<Time>,
}

/// The texts of a set, as they were at one moment; at most one per [`FileKind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The directory they came from; `None` for the built-in set.
    pub dir: Option<PathBuf>,
    pub list: Vec<Source>,
}

impl Sources {
    /// A digest of names and contents: equal when nothing was edited, whatever the files' times say.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut all = digest::Context::new(&digest::SHA256);
        for source in &self.list {
            all.update(&[source.kind as u8]);
            for text in [&source.label, &source.text] {
                all.update(&(text.len() as u64).to_be_bytes());
                all.update(text.as_bytes());
            }
        }
        let mut out = [0; 32];
        out.copy_from_slice(all.finish().as_ref());
        out
    }
}

/// Where policy files are looked for: the first directory that holds `policy.ranks.json` gives the whole set. Only
/// `backend.integrations.json`, which holds no rules, may come from a later one.
#[derive(Debug, Clone)]
pub struct Search {
    dirs: Vec<PathBuf>,
}

impl Search {
    /// `POLICY_DIR` first, then `/config` and `./config`.
    pub fn standard(policy_dir: impl Into<PathBuf>) -> Self {
        Self::all(vec![policy_dir.into(), "/config".into(), "config".into()])
    }

    /// These directories, in this order.
    pub fn all(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// This directory and no other.
    pub fn only(dir: impl Into<PathBuf>) -> Self {
        Self::all(vec![dir.into()])
    }

    /// The directory named first: `POLICY_DIR`.
    pub fn first(&self) -> &Path {
        self.dirs.first().map_or(Path::new("policy"), PathBuf::as_path)
    }

    /// The directory the set is in, or `None` when none holds `policy.ranks.json`.
    pub fn find(&self) -> Option<&Path> {
        self.dirs.iter().map(PathBuf::as_path).find(|dir| dir.join(FileKind::Ranks.name()).exists())
    }

    /// Reads the set from `dir`, one of this search's directories. Blocks.
    ///
    /// # Errors
    /// `policy.ranks_missing`, `policy.file_unreadable`, `policy.file_too_large`, `policy.file_not_utf8`, `policy.two_names`.
    pub fn read(&self, dir: &Path) -> Result<Sources> {
        let mut list = Vec::with_capacity(FileKind::ALL.len());
        for kind in FileKind::ALL {
            let mut found = read_kind(dir, kind)?;
            if found.is_none() && kind == FileKind::Integrations {
                let mut others = self.dirs.iter().filter(|other| other.as_path() != dir);
                found = others.find_map(|other| read_kind(other, kind).transpose()).transpose()?;
            }
            if found.is_none() && kind == FileKind::Ranks {
                return Err(self.missing());
            }
            list.extend(found);
        }
        Ok(Sources { dir: Some(dir.to_owned()), list })
    }

    /// That `policy.ranks.json` was found nowhere.
    pub fn missing(&self) -> Error {
        let places: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        Error::missing("policy.ranks_missing", format!("policy.ranks.json was not found in {}", places.join(", ")))
            .hint(
                "set POLICY_DIR to the directory that holds it; `grps init` writes the shipped files into an empty one",
            )
    }
}

fn read_kind(dir: &Path, kind: FileKind) -> Result<Option<Source>> {
    let mut found = None;
    for name in kind.names() {
        let path = dir.join(name);
        let Some(source) = read_file(&path, kind)? else { continue };
        if found.replace(source).is_some() {
            let both = kind.names().join(" and ");
            return Err(Error::invalid("policy.two_names", format!("{} holds both {both}", dir.display()))
                .hint(format!("they are two names of one file: keep {name}", name = kind.name())));
        }
    }
    Ok(found)
}

fn read_file(path: &Path, kind: FileKind) -> Result<Option<Source>> {
    let label = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Error::invalid("policy.file_unreadable", format!("{label} could not be read: {error}"))
            .hint("make it a plain file that the server's user may read")
    };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !about.is_file() {
        return Err(unreadable(ErrorKind::InvalidInput.into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_POLICY_BYTES {
        return Err(Error::too_large(
            "policy.file_too_large",
            format!("{label} is larger than {MAX_POLICY_BYTES} bytes"),
        )
        .hint("a policy file is a few kilobytes; is this the right file?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::invalid("policy.file_not_utf8", format!("{label} is not UTF-8 text from byte {at} on"))
            .hint("save it as UTF-8 in your editor")
    })?;
    // Some editors put a byte-order mark in front; JSON parsers refuse it, people do not see it.
    let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
    let since = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let changed_at = since.and_then(|since| i64::try_from(since.as_millis()).ok()).map(Time);
    Ok(Some(Source { kind, label, text, changed_at }))
}
