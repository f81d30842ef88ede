//! The policy files that come inside the program: what runs before anybody wrote a file, and what `grps init` writes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::base::{Error, Result};

use super::super::files::FileKind;
use super::{Source, Sources};

macro_rules! shipped {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../../policy/", $path)))),*] };
}

/// Path below the policy directory, and text, of every shipped file: the rules, and the schemas editors check them with.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "policy.ranks.json",
    "permissions.json",
    "policy.punishments.json",
    "policy.points.json",
    "schema/policy.ranks.schema.json",
    "schema/permissions.schema.json",
    "schema/policy.punishments.schema.json",
    "schema/policy.points.schema.json",
    "schema/backend.integrations.schema.json",
];

/// The shipped rules as a set. It has no integrations file: nothing is connected until somebody says so.
pub fn shipped_sources() -> Sources {
    let list = FileKind::ALL.into_iter().filter_map(|kind| {
        let (_, text) = SHIPPED.iter().find(|(path, _)| *path == kind.name())?;
        Some(Source { kind, label: format!("{} (built in)", kind.name()), text: (*text).to_owned(), changed_at: None })
    });
    Sources { dir: None, list: list.collect() }
}

/// Writes the shipped files into `dir`, which is created when it is not there and must be empty otherwise. Blocks.
///
/// # Errors
/// `policy.dir_not_empty` when something is in it (nothing is overwritten); `policy.dir_unwritable` when a file cannot be written.
pub fn write_shipped(dir: &Path) -> Result<()> {
    let unwritable = |error: std::io::Error| {
        Error::invalid("policy.dir_unwritable", format!("{} could not be written: {error}", dir.display()))
            .hint("choose a directory that the server's user may write to")
    };
    fs::create_dir_all(dir.join("schema")).map_err(unwritable).and_then(|()| {
        let mut rest = fs::read_dir(dir).map_err(unwritable)?;
        let other = rest.find_map(|entry| entry.ok().filter(|entry| entry.file_name() != "schema"));
        match other {
            None => Ok(()),
            Some(entry) => Err(Error::conflict(
                "policy.dir_not_empty",
                format!("{} already holds {}", dir.display(), entry.file_name().display()),
            )
            .hint("name an empty directory; nothing is overwritten")),
        }
    })?;
    for (path, text) in SHIPPED {
        let mut file = OpenOptions::new().write(true).create_new(true).open(dir.join(path)).map_err(unwritable)?;
        file.write_all(text.as_bytes()).map_err(unwritable)?;
    }
    Ok(())
}
