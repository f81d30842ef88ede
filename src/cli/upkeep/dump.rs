//! `grps store dump`: every row as a line of JSON, to look at or to take elsewhere.

use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::backup::find;
use super::{at_rest, blocking, locked, settings};
use crate::app;
use crate::base::{Error, Result};
use crate::config::Sources;
use crate::store::{TableInfo, upkeep};

/// What says that the reader of our output has gone.
const GONE: &str = "cli.reader_gone";

#[derive(Args)]
pub struct DumpArgs {
    /// Only this table, by its name
    #[arg(long)]
    table: Option<String>,
    /// Read a backup, by its name or the path of its file, instead of the store
    #[arg(long, value_name = "BACKUP")]
    from: Option<String>,
}

pub async fn run(args: DumpArgs, sources: &Sources) -> Result<ExitCode> {
    let (config, tables) = (settings(sources)?, app::tables());
    let table = args.table.as_deref().map(|name| prefix(name, &tables)).transpose()?;
    let work = move || {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut each = |key: &[u8], value: &[u8]| write(&mut out, &row(key, value, &tables));
        match &args.from {
            Some(backup) => {
                let path = find(backup, &config.upkeep)?;
                upkeep::dump_backup(&path, config.upkeep.lock.as_ref(), table, &mut each).map_err(locked)
            }
            None => upkeep::dump(&at_rest(&config.data_dir)?, table, &mut each),
        }?;
        out.flush().map_err(unwritten)
    };
    match blocking(work).await {
        Err(error) if error.code() == GONE => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn prefix(name: &str, tables: &[TableInfo]) -> Result<[u8; 2]> {
    let found = tables.iter().find(|table| table.name == name || table.prefix == name.as_bytes());
    found.map(|table| table.prefix).ok_or_else(|| {
        let known: Vec<&str> = tables.iter().map(|table| table.name).collect();
        Error::invalid("cli.usage", format!("there is no table \"{name}\""))
            .hint(format!("the tables are {}", known.join(", ")))
    })
}

/// A row as its table reads it; else as far as bytes can be told: MessagePack as JSON, anything else as hex.
fn row(key: &[u8], value: &[u8], tables: &[TableInfo]) -> Value {
    let table = tables.iter().find(|table| key.starts_with(&table.prefix));
    let name =
        table.map_or_else(|| String::from_utf8_lossy(key.get(..2).unwrap_or(key)).into_owned(), |t| t.name.into());
    if let Some(Ok((key, value))) = table.map(|table| table.show(key, value)) {
        return json!({ "table": name, "key": key, "value": value });
    }
    let key = HEXLOWER.encode(key);
    match value.split_first().and_then(|(version, body)| Some((version, packed(body)?))) {
        Some((version, value)) => json!({ "table": name, "keyHex": key, "version": version, "value": value }),
        None => json!({ "table": name, "keyHex": key, "valueHex": HEXLOWER.encode(value) }),
    }
}

/// The JSON of one MessagePack value and nothing after it.
fn packed(mut body: &[u8]) -> Option<Value> {
    let value = rmp_serde::from_read(&mut body).ok()?;
    body.is_empty().then_some(value)
}

fn write(out: &mut impl Write, row: &Value) -> Result<()> {
    writeln!(out, "{row}").map_err(unwritten)
}

fn unwritten(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Error::broken(GONE, error),
        _ => Error::broken("cli.unwritten", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_table_reads_is_told_as_far_as_it_goes() {
        let tables = app::tables();
        let packed = [&[7][..], &rmp_serde::to_vec(&("a", 1)).unwrap()].concat();
        let shown = row(b"zz\x01", &packed, &tables);
        assert_eq!(shown, json!({ "table": "zz", "keyHex": "7a7a01", "version": 7, "value": ["a", 1] }));
        let cut = row(b"plx", &packed[..3], &tables);
        assert_eq!(cut, json!({ "table": "players", "keyHex": "706c78", "valueHex": HEXLOWER.encode(&packed[..3]) }));
        assert_eq!(row(b"z", b"", &tables), json!({ "table": "z", "keyHex": "7a", "valueHex": "" }));
        assert_eq!(prefix("players", &tables).unwrap(), *b"pl");
        assert!(prefix("people", &tables).unwrap_err().hint_text().unwrap().contains("player_snapshots"));
    }
}
