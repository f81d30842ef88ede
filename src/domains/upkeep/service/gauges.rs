//! The store's state as Prometheus sees it; taken over every few seconds.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;

use crate::base::Time;
use crate::base::metrics::Metrics;
use crate::store::{Health, Survey};

pub(super) struct Gauges {
    free: Gauge,
    live: Gauge,
    database: Gauge,
    journal: Gauge,
    checkpoint: Gauge,
    amplification: Gauge<f64, AtomicU64>,
    unsettled: Gauge,
    read_only: Gauge,
    stalled: Gauge,
    lost: Gauge,
    last_backup: Gauge,
}

impl Gauges {
    pub fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        let ratio = "Bytes of the database on disk for each byte stored";
        Self {
            free: gauge("store_free_bytes", "Space left on the disk that holds the data directory"),
            live: gauge("store_live_bytes", "Keys and values stored"),
            database: gauge("store_database_bytes", "The database on disk"),
            journal: gauge("store_journal_bytes", "The journal on disk, both copies"),
            checkpoint: gauge("store_checkpoint_bytes", "The last checkpoint on disk"),
            amplification: metrics.register("store_amplification", ratio, Gauge::default()),
            unsettled: gauge("store_unsettled_groups", "Groups of commits that only the journal holds on disk"),
            read_only: gauge(
                "store_read_only",
                "1 while writes are refused: the disk is nearly full, or the store mends itself",
            ),
            stalled: gauge("store_sync_stalled_seconds", "How long the disk has not answered a sync; 0 when it does"),
            lost: gauge("store_lost_groups", "Acknowledged groups of commits that the last opening found in no copy"),
            last_backup: gauge("backup_last_good_timestamp_seconds", "When the last good backup was made; 0 for none"),
        }
    }

    pub fn measured(&self, survey: &Survey, health: &Health) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.free, survey.free_bytes);
        set(&self.live, survey.live_bytes);
        set(&self.database, survey.sled_bytes);
        set(&self.journal, survey.journal_bytes);
        set(&self.checkpoint, survey.checkpoint_bytes);
        set(&self.unsettled, survey.seq.saturating_sub(survey.settled));
        self.amplification.set(survey.amplification);
        set(&self.read_only, u64::from(matches!(health, Health::Full { .. } | Health::Failed(_))));
        set(&self.lost, survey.opening.lost.map_or(0, |(first, last)| last - first + 1));
        set(&self.stalled, if let Health::Stalled(since) = health { since.as_secs() } else { 0 });
    }

    pub fn backed_up(&self, at: Option<Time>) {
        self.last_backup.set(at.map_or(0, Time::seconds));
    }
}
