//! The whole stored state as text, so that a test can say "and nothing changed".

use std::fmt::Debug;

use grps::base::Cursor;
use grps::domains::adjustments::{ADJUSTMENT_KEYS, ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN};
use grps::domains::applying::PUNISHED;
use grps::domains::audit::{AUDITS, Entry};
use grps::domains::auth::KEYS;
use grps::domains::brakes::{ACTOR_USES, BREAKER};
use grps::domains::discord::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS};
use grps::domains::drift::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, DRIFTS};
use grps::domains::effects::{EFFECTS, EFFECTS_OPEN};
use grps::domains::group::GROUP_SIZES;
use grps::domains::jobs::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN};
use grps::domains::joins::JOINS_ANSWERING;
use grps::domains::leaderboards::{BOARD_COUNT, BOARDS, ENTRIES};
use grps::domains::mirrors::{MIRROR_DUE, MIRRORED};
use grps::domains::players::{PLAYERS, SNAPSHOTS};
use grps::domains::ranks::{APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, OPEN_EFFECTS};
use grps::domains::reviews::{REVIEW_RUNNING, REVIEWS};
use grps::domains::schedule::{LEASES, SCHEDULES};
use grps::domains::standings::RANKED;
use grps::domains::sync::{SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES};
use grps::store::{Key, MAX_PAGE, Record, Table};

use crate::harness::TestApp;

/// The tables [`dump`] reads, by their names.
const DUMPED: &[&str] = &[
    "players",
    "player_snapshots",
    "decisions",
    "decisions_by_id",
    "decisions_queued",
    "decisions_applied",
    "decisions_indexed",
    "audits",
    "breaker",
    "actor_uses",
    "group_sizes",
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
    "effects",
    "effects_open",
    "punished",
    "mirror_due",
    "mirrored",
    "drift_runs",
    "drift_active",
    "drift_seen",
    "drifts",
    "joins_answering",
    "adjustments",
    "adjustment_rows",
    "adjustments_open",
    "adjustment_keys",
    "reviews",
    "review_running",
    "schedules",
    "leases",
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
    out.extend(shown(app, &DECIDED).await);
    out.extend(shown(app, &OPEN_EFFECTS).await);
    out.extend(shown(app, &APPLIED).await);
    out.extend(shown(app, &DECISIONS_INDEXED).await);
    out.extend(shown(app, &AUDITS).await);
    out.extend(shown(app, &BREAKER).await);
    out.extend(shown(app, &ACTOR_USES).await);
    out.extend(shown(app, &GROUP_SIZES).await);
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
    out.extend(shown(app, &EFFECTS).await);
    out.extend(shown(app, &EFFECTS_OPEN).await);
    out.extend(shown(app, &PUNISHED).await);
    out.extend(shown(app, &MIRROR_DUE).await);
    out.extend(shown(app, &MIRRORED).await);
    out.extend(shown(app, &DRIFT_RUNS).await);
    out.extend(shown(app, &DRIFT_ACTIVE).await);
    out.extend(shown(app, &DRIFT_SEEN).await);
    out.extend(shown(app, &DRIFTS).await);
    out.extend(shown(app, &JOINS_ANSWERING).await);
    out.extend(shown(app, &ADJUSTMENTS).await);
    out.extend(shown(app, &ADJUSTMENT_ROWS).await);
    out.extend(shown(app, &ADJUSTMENTS_OPEN).await);
    out.extend(shown(app, &ADJUSTMENT_KEYS).await);
    out.extend(shown(app, &REVIEWS).await);
    out.extend(shown(app, &REVIEW_RUNNING).await);
    out.extend(shown(app, &SCHEDULES).await);
    out.extend(shown(app, &LEASES).await);
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
    let mut dumped: Vec<String> = DUMPED.iter().map(|name| (*name).to_owned()).collect();
    dumped.sort();
    assert_eq!(declared, dumped, "tests/state.rs must dump exactly the tables there are");
}
