//! Reading a file for what it is worth: proving it good.

use std::collections::HashMap;
use std::path::Path;

use super::Info;
use super::format::Trailer;
use super::lock::Lock;
use super::reader::{Item, Reader};
use crate::base::{Error, Kind, Result};
use crate::store::engine::Row;
use crate::store::engine::disk::census::{Census, check};
use crate::store::engine::disk::journal::Entry;
use crate::store::progress::Progress;

/// What the entries make of the keys they touch: bytes and check of the value, none for a deleted row.
type Overlay = HashMap<Box<[u8]>, Option<(usize, u64)>>;

/// Reads everything, and counts the rows with the entries laid over them: proves that the file holds what its trailer says. In memory are one
/// chunk and the keys that the entries touch.
///
/// # Errors
/// As [`Reader::open`] and [`Reader::next`]; `checkpoint.miscounted` when what was read is not what the store held.
pub fn verify(path: &Path, lock: Option<&Lock>, progress: &Progress) -> Result<Info> {
    let mut reader = Reader::open(path, lock)?;
    let mut overlay = Overlay::new();
    reader.rewind(true)?;
    pass(&mut reader, "reading changes", progress, |item| {
        if let Item::Entry(entry) = item {
            lay_over(&mut overlay, &entry);
        }
        Ok(())
    })?;
    let mut census = Census::default();
    reader.rewind(false)?;
    let trailer = pass(&mut reader, "checking rows", progress, |item| {
        if let Item::Row(key, value) = item
            && !overlay.contains_key(&key[..])
        {
            census.add(&key, value.len(), check(&key, &value));
        }
        Ok(())
    })?;
    for (key, row) in overlay {
        if let Some((bytes, check)) = row {
            census.add(&key, bytes, check);
        }
    }
    if census == trailer.census { Ok(reader.info(&trailer)) } else { Err(miscounted(path, &census, &trailer.census)) }
}

/// Reads to the end, telling of every chunk.
fn pass(
    reader: &mut Reader,
    what: &str,
    progress: &Progress,
    mut each: impl FnMut(Item) -> Result<()>,
) -> Result<Trailer> {
    let mut told = 0;
    loop {
        let item = reader.next()?.ok_or_else(|| reader.inconsistent("it has no end"))?;
        let (done, total) = reader.position();
        if done != told {
            progress.step(what, done, total);
            told = done;
        }
        let trailer = if let Item::End(trailer) = &item { Some(trailer.clone()) } else { None };
        each(item)?;
        if let Some(trailer) = trailer {
            return Ok(trailer);
        }
    }
}

fn lay_over(overlay: &mut Overlay, entry: &Entry) {
    for Row { key, value } in &entry.rows {
        let row = value.as_ref().map(|value| (value.len(), check(key, value)));
        match overlay.get_mut(&key[..]) {
            Some(known) => *known = row,
            None => drop(overlay.insert(key[..].into(), row)),
        }
    }
}

fn miscounted(path: &Path, read: &Census, expected: &Census) -> Error {
    let tables = read.tables().chain(expected.tables()).map(|(prefix, _)| prefix);
    let table = tables.into_iter().find(|&table| read.table(table) != expected.table(table)).unwrap_or_default();
    let (read, expected) = (read.table(table), expected.table(table));
    let name = table.escape_ascii();
    let detail = format!(
        "{} does not hold what the store held: table {name} has {} rows of {} bytes, where there were {} of {} bytes",
        path.display(),
        read.rows,
        read.bytes,
        expected.rows,
        expected.bytes
    );
    Error::new(Kind::Broken, "checkpoint.miscounted", detail)
        .hint("use another checkpoint or backup")
        .context(format!("digest {:016x}, expected {:016x}", read.digest, expected.digest))
}
