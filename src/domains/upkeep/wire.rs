//! The wire forms of tasks, backups and the survey.

use poem_openapi::{Enum, Object};

use super::folder::Backup;
use super::service::name_of;
use super::tasks::{Kind, Outcome, State, Task};
use crate::base::Error;
use crate::http::wire::Timestamp;
use crate::store::{CheckpointInfo, SCHEMA, Survey, TableInfo};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum JobKind {
    Check,
    Compact,
    Checkpoint,
    Backup,
    Verify,
}

/// What a task does; `housekeeping` is what the store does by itself when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum TaskKind {
    Check,
    Compact,
    Checkpoint,
    Backup,
    Verify,
    Housekeeping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum TaskState {
    Running,
    Done,
    Failed,
}

/// How far a task is.
#[derive(Debug, Object)]
pub struct ProgressView {
    /// What is being done; empty before it begins.
    pub what: String,
    pub done: u64,
    /// 0 when it is not known.
    pub total: u64,
}

/// What came of a task; which parts there are depends on its kind.
#[derive(Debug, Default, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct OutcomeView {
    /// Of a check: everything that is not as it should be; empty when all is well.
    pub findings: Option<Vec<String>>,
    /// Of a backup, a verification or a checkpoint: the file.
    pub backup: Option<BackupView>,
    /// Of a backup: those that the keep rules deleted for it.
    pub removed: Option<Vec<String>>,
    /// Of a compaction: the database's size before.
    pub bytes_before: Option<u64>,
    /// Of a compaction: its size now.
    pub bytes_after: Option<u64>,
    /// Of housekeeping: what was done, a line each.
    pub notes: Option<Vec<String>>,
}

/// Why a task failed, in the words of any other failure.
#[derive(Debug, Object)]
pub struct TaskFailure {
    pub code: String,
    pub detail: String,
    pub hint: Option<String>,
}

/// A piece of long work.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct TaskView {
    pub id: String,
    pub kind: TaskKind,
    pub state: TaskState,
    /// The credential or worker that asked for it.
    pub started_by: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub progress: ProgressView,
    /// Once it is done.
    pub outcome: Option<OutcomeView>,
    /// Once it has failed.
    pub failure: Option<TaskFailure>,
}

/// A backup.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct BackupView {
    pub name: String,
    pub made_at: Timestamp,
    /// Nobody named it, so the keep rules apply to it.
    pub automatic: bool,
    pub bytes: u64,
    /// Rows in it; null for an encrypted one that was not opened.
    pub rows: Option<u64>,
    /// The number of the last group of commits in it; null for an encrypted one that was not opened.
    pub seq: Option<u64>,
    pub encrypted: bool,
    /// The id of the store it was made of.
    pub store: String,
    pub schema: u16,
    /// Why it cannot be read; null for one that can.
    pub damage: Option<String>,
}

/// The rows of one table.
#[derive(Debug, Object)]
pub struct TableView {
    /// Its name; its two-letter prefix when it is the store's own.
    pub name: String,
    pub rows: u64,
    /// Keys and values, in bytes.
    pub bytes: u64,
}

/// What the store holds and how it is doing. Sizes are in bytes.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct SurveyView {
    /// The store's id.
    pub store: String,
    /// The schema of the stored data.
    pub schema: u16,
    /// The schema this program writes.
    pub program_schema: u16,
    /// The number of the last group of commits.
    pub seq: u64,
    /// The number of the last group that is on disk in the database; later ones are on disk in the journal.
    pub settled: u64,
    pub tables: Vec<TableView>,
    /// Keys and values of all tables.
    pub live_bytes: u64,
    pub database_bytes: u64,
    pub journal_bytes: u64,
    pub checkpoint_bytes: u64,
    /// Bytes of the database on disk for each byte stored.
    pub amplification: f64,
    /// The first group of commits that the journal still has.
    pub journal_from: u64,
    /// Left on the disk.
    pub free_bytes: u64,
    /// What is kept free: with less, writes are refused.
    pub reserve_bytes: u64,
    pub last_checkpoint: Option<BackupView>,
    /// What the last opening found and did.
    pub opening: String,
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Check => Self::Check,
            Kind::Compact => Self::Compact,
            Kind::Checkpoint => Self::Checkpoint,
            Kind::Backup => Self::Backup,
            Kind::Verify => Self::Verify,
            Kind::Housekeeping => Self::Housekeeping,
        }
    }
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        let (state, outcome, failure) = match task.state {
            State::Running => (TaskState::Running, None, None),
            State::Done(outcome) => (TaskState::Done, Some(outcome.into()), None),
            State::Failed(error) => (TaskState::Failed, None, Some((&error).into())),
        };
        Self {
            id: task.id.to_string(),
            kind: task.kind.into(),
            state,
            started_by: task.started_by,
            started_at: Timestamp(task.started_at),
            ended_at: task.ended_at.map(Timestamp),
            progress: ProgressView { what: task.step.what, done: task.step.done, total: task.step.total },
            outcome,
            failure,
        }
    }
}

impl From<&Error> for TaskFailure {
    fn from(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { code: error.code().to_owned(), detail: error.detail().to_owned(), hint }
    }
}

impl From<Outcome> for OutcomeView {
    fn from(outcome: Outcome) -> Self {
        let none = Self::default();
        match outcome {
            Outcome::Checked(report) => Self { findings: Some(report.findings), ..none },
            Outcome::Compacted(sizes) => {
                Self { bytes_before: Some(sizes.bytes_before), bytes_after: Some(sizes.bytes_after), ..none }
            }
            Outcome::Checkpointed(info) | Outcome::Verified(info) => Self { backup: Some(info.into()), ..none },
            Outcome::BackedUp(info, removed) => Self { backup: Some(info.into()), removed: Some(removed), ..none },
            Outcome::Kept(notes) => Self { notes: Some(notes), ..none },
        }
    }
}

/// A file whose every byte has just been read, so that its counts are known even when it is encrypted.
impl From<CheckpointInfo> for BackupView {
    fn from(info: CheckpointInfo) -> Self {
        let name = name_of(&info.path);
        Self {
            made_at: Timestamp(info.head.created),
            automatic: Backup::is_automatic(&name),
            name,
            bytes: info.bytes,
            rows: Some(info.rows),
            seq: Some(info.seq),
            encrypted: info.encrypted,
            store: info.head.store.to_string(),
            schema: info.head.schema,
            damage: None,
        }
    }
}

impl BackupView {
    /// Of a file of which only the head and the end have been read.
    pub fn unopened(info: CheckpointInfo) -> Self {
        let known = |number| (!info.encrypted).then_some(number);
        let (rows, seq) = (known(info.rows), known(info.seq));
        Self { rows, seq, ..info.into() }
    }
}

impl From<Backup> for BackupView {
    fn from(backup: Backup) -> Self {
        let Backup { name, at, automatic, info } = backup;
        match info {
            Ok(info) => Self { name, made_at: Timestamp(at), automatic, ..Self::unopened(info) },
            Err(error) => Self {
                name,
                made_at: Timestamp(at),
                automatic,
                bytes: 0,
                rows: None,
                seq: None,
                encrypted: false,
                store: String::new(),
                schema: 0,
                damage: Some(error.detail().to_owned()),
            },
        }
    }
}

impl SurveyView {
    /// `tables` gives the tables their names.
    pub fn new(survey: Survey, tables: &[TableInfo]) -> Self {
        let name = |prefix: &str| {
            let known = tables.iter().find(|table| table.prefix == prefix.as_bytes());
            known.map_or_else(|| prefix.to_owned(), |table| table.name.to_owned())
        };
        let view = |table: &crate::store::TableSurvey| TableView {
            name: name(&table.prefix),
            rows: table.rows,
            bytes: table.bytes,
        };
        Self {
            tables: survey.tables.iter().map(view).collect(),
            store: survey.store,
            schema: survey.schema,
            program_schema: SCHEMA,
            seq: survey.seq,
            settled: survey.settled,
            live_bytes: survey.live_bytes,
            database_bytes: survey.sled_bytes,
            journal_bytes: survey.journal_bytes,
            checkpoint_bytes: survey.checkpoint_bytes,
            amplification: survey.amplification,
            journal_from: survey.journal_first_seq,
            free_bytes: survey.free_bytes,
            reserve_bytes: survey.reserve_bytes,
            last_checkpoint: survey.last_checkpoint.map(Into::into),
            opening: survey.opening.text,
        }
    }
}
