//! The whole stored state as text, so that a test can say "and nothing changed".

use std::fmt::Debug;

use grps::base::Cursor;
use grps::domains::audit::{AUDITS, Entry};
use grps::domains::auth::KEYS;
use grps::domains::discord::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS};
use grps::domains::jobs::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN};
use grps::domains::leaderboards::{BOARD_COUNT, BOARDS, ENTRIES};
use grps::domains::players::{PLAYERS, SNAPSHOTS};
use grps::domains::ranks::DECISIONS;
use grps::domains::standings::RANKED;
use grps::domains::sync::{SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES};
use grps::store::{Key, MAX_PAGE, Record, Table};

use crate::harness::TestApp;

/// The tables [`dump`] reads, by their names.
const DUMPED: [&str; 20] = [
    "players",
    "player_snapshots",
    "decisions",
    "audits",
    "keys",
    "ranked",
    "boards",
    "board_count",
    "entries",
    "jobs",
    "job_keys",
    "job_key_ends",
    "jobs_forgotten",
    "discord_cursors",
    "discord_rejections",
    "discord_rejected",
    "sync_jobs",
    "sync_active",
    "sync_pages",
    "sync_failures",
];

/// Every row of one table.
pub async fn rows<K: Key, V: Record>(app: &TestApp, table: &Table<K, V>) -> Vec<(K, V)> {
    let (mut out, mut cursor): (_, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = app.app.store.scan(table.all().after(cursor.as_ref()), MAX_PAGE).await.unwrap();
        out.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return out;
        }
    }
}

async fn shown<K: Key + Debug, V: Record + Debug>(app: &TestApp, table: &Table<K, V>) -> Vec<String> {
    rows(app, table).await.iter().map(|(key, value)| format!("{} {key:?}: {value:?}", table.name())).collect()
}

/// Every row there is, a line each.
pub async fn dump(app: &TestApp) -> Vec<String> {
    let mut out = shown(app, &PLAYERS).await;
    out.extend(shown(app, &SNAPSHOTS).await);
    out.extend(shown(app, &DECISIONS).await);
    out.extend(shown(app, &AUDITS).await);
    out.extend(shown(app, &KEYS).await);
    out.extend(shown(app, &RANKED).await);
    out.extend(shown(app, &BOARDS).await);
    out.extend(shown(app, &BOARD_COUNT).await);
    out.extend(shown(app, &ENTRIES).await);
    out.extend(shown(app, &JOBS).await);
    out.extend(shown(app, &JOB_KEYS).await);
    out.extend(shown(app, &JOB_KEY_ENDS).await);
    out.extend(shown(app, &JOBS_FORGOTTEN).await);
    out.extend(shown(app, &DISCORD_CURSORS).await);
    out.extend(shown(app, &DISCORD_REJECTIONS).await);
    out.extend(shown(app, &DISCORD_REJECTED).await);
    out.extend(shown(app, &SYNC_JOBS).await);
    out.extend(shown(app, &SYNC_ACTIVE).await);
    out.extend(shown(app, &SYNC_PAGES).await);
    out.extend(shown(app, &SYNC_FAILURES).await);
    out
}

/// The audit trail, oldest first.
pub async fn audits(app: &TestApp) -> Vec<Entry> {
    rows(app, &AUDITS).await.into_iter().map(|(_, entry)| entry).collect()
}

#[test]
fn the_dump_misses_no_table() {
    let mut declared = Vec::new();
    for (_, text) in crate::tidy::sources("src/domains") {
        let tables = text
            .lines()
            .filter(|line| line.starts_with("pub static"))
            .filter_map(|line| line.split("Table::new(\"").nth(1));
        declared.extend(tables.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    declared.sort();
    let mut dumped = DUMPED.map(str::to_owned).to_vec();
    dumped.sort();
    assert_eq!(declared, dumped, "tests/state.rs must dump exactly the tables there are");
}
