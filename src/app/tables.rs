//! Every table of the store, listed once.

use crate::domains::adjustments::{ADJUSTMENT_KEYS, ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN};
use crate::domains::applying::PUNISHED;
use crate::domains::audit::AUDITS;
use crate::domains::auth::KEYS;
use crate::domains::brakes::{ACTOR_USES, BREAKER};
use crate::domains::discord::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS};
use crate::domains::drift::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, DRIFTS};
use crate::domains::effects::{EFFECTS, EFFECTS_OPEN};
use crate::domains::group::GROUP_SIZES;
use crate::domains::jobs::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN};
use crate::domains::joins::JOINS_ANSWERING;
use crate::domains::leaderboards::{BOARD_COUNT, BOARDS, ENTRIES};
use crate::domains::mirrors::{MIRROR_DUE, MIRRORED};
use crate::domains::players::{PLAYERS, SNAPSHOTS};
use crate::domains::ranks::{APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, OPEN_EFFECTS};
use crate::domains::reviews::{REVIEW_RUNNING, REVIEWS};
use crate::domains::schedule::{LEASES, SCHEDULES};
use crate::domains::standings::RANKED;
use crate::domains::sync::{SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES};
use crate::store::{CURSORS, TableInfo};

/// Every table there is, for showing what a store holds.
pub fn tables() -> Vec<TableInfo> {
    vec![
        PLAYERS.info(),
        SNAPSHOTS.info(),
        DECISIONS.info(),
        DECIDED.info(),
        OPEN_EFFECTS.info(),
        APPLIED.info(),
        DECISIONS_INDEXED.info(),
        RANKED.info(),
        BOARDS.info(),
        DRIFT_RUNS.info(),
        DRIFT_ACTIVE.info(),
        DRIFT_SEEN.info(),
        DRIFTS.info(),
        JOINS_ANSWERING.info(),
        CURSORS.info(),
        BOARD_COUNT.info(),
        ENTRIES.info(),
        ADJUSTMENTS.info(),
        ADJUSTMENT_ROWS.info(),
        ADJUSTMENTS_OPEN.info(),
        ADJUSTMENT_KEYS.info(),
        REVIEWS.info(),
        REVIEW_RUNNING.info(),
        SCHEDULES.info(),
        LEASES.info(),
        JOBS.info(),
        JOB_KEYS.info(),
        JOB_KEY_ENDS.info(),
        JOBS_FORGOTTEN.info(),
        DISCORD_CURSORS.info(),
        DISCORD_REJECTIONS.info(),
        DISCORD_REJECTED.info(),
        EFFECTS.info(),
        EFFECTS_OPEN.info(),
        PUNISHED.info(),
        MIRROR_DUE.info(),
        MIRRORED.info(),
        SYNC_JOBS.info(),
        SYNC_ACTIVE.info(),
        SYNC_PAGES.info(),
        SYNC_FAILURES.info(),
        KEYS.info(),
        AUDITS.info(),
        BREAKER.info(),
        ACTOR_USES.info(),
        GROUP_SIZES.info(),
    ]
}
