//! Long work as tasks: one at a time, each watched by its id, the last ones remembered.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Error, Id, Result, Time};
use crate::store::{CheckReport, CheckpointInfo, Compaction, Progress};

/// Tasks remembered, the running one included; older ones are forgotten, and all of them when the program ends.
pub const MAX_TASKS: usize = 50;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Check,
    Compact,
    Checkpoint,
    Backup,
    Verify,
    /// What the store does by itself when it is due: checkpoints and compaction.
    Housekeeping,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "a check of the store",
            Self::Compact => "a compaction",
            Self::Checkpoint => "a checkpoint",
            Self::Backup => "a backup",
            Self::Verify => "the verification of a backup",
            Self::Housekeeping => "the store's own housekeeping",
        })
    }
}

/// What came of a task.
#[derive(Debug, Clone)]
pub enum Outcome {
    Checked(CheckReport),
    Compacted(Compaction),
    Checkpointed(CheckpointInfo),
    /// A new backup, and the names of those that the keep rules deleted for it.
    BackedUp(CheckpointInfo, Vec<String>),
    Verified(CheckpointInfo),
    /// What housekeeping did, a line each.
    Kept(Vec<String>),
}

#[derive(Debug, Clone)]
pub enum State {
    Running,
    Done(Outcome),
    Failed(Error),
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What is being done.
    pub what: String,
    pub done: u64,
    /// 0 when it is not known.
    pub total: u64,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: Id,
    pub kind: Kind,
    /// The credential or worker that asked for it.
    pub started_by: String,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    pub step: Step,
    pub state: State,
}

/// The tasks, oldest first; at most one of them runs.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<VecDeque<Task>>>);

impl Desk {
    /// Notes that a task begins.
    ///
    /// # Errors
    /// `upkeep.busy` naming the one that runs.
    pub fn begin(&self, id: Id, kind: Kind, by: &str, at: Time) -> Result<Task> {
        let mut tasks = self.lock();
        if let Some(running) = tasks.iter().find(|task| task.is_running()) {
            return Err(busy(running));
        }
        let task = Task {
            id,
            kind,
            started_by: by.to_owned(),
            started_at: at,
            ended_at: None,
            step: Step::default(),
            state: State::Running,
        };
        if tasks.len() == MAX_TASKS {
            tasks.pop_front();
        }
        tasks.push_back(task.clone());
        Ok(task)
    }

    /// Notes what came of a task.
    pub fn end(&self, id: Id, at: Time, outcome: Result<Outcome>) {
        if let Some(task) = self.lock().iter_mut().find(|task| task.id == id) {
            task.ended_at = Some(at);
            task.state = outcome.map_or_else(State::Failed, State::Done);
        }
    }

    /// Notes how far a task is.
    pub fn step(&self, id: Id, what: &str, done: u64, total: u64) {
        if let Some(task) = self.lock().iter_mut().find(|task| task.id == id) {
            if task.step.what != what {
                what.clone_into(&mut task.step.what);
            }
            (task.step.done, task.step.total) = (done, total);
        }
    }

    /// What tells the store's work to [`Desk::step`].
    pub fn progress(&self, id: Id) -> Progress {
        let desk = self.clone();
        Progress::new(move |what, done, total| desk.step(id, what, done, total))
    }

    /// # Errors
    /// `upkeep.task_missing`.
    pub fn task(&self, id: Id) -> Result<Task> {
        self.lock().iter().find(|task| task.id == id).cloned().ok_or_else(|| {
            Error::missing("upkeep.task_missing", format!("no task has the id {id}"))
                .hint(format!("the last {MAX_TASKS} tasks since the server's start are remembered"))
        })
    }

    /// Newest first.
    pub fn list(&self) -> Vec<Task> {
        self.lock().iter().rev().cloned().collect()
    }

    pub fn is_busy(&self) -> bool {
        self.lock().iter().any(Task::is_running)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }
}

fn busy(running: &Task) -> Error {
    let Task { id, kind, started_by, step, .. } = running;
    let far = match step.total {
        0 => String::new(),
        total => format!(", {} % through {}", step.done.min(total) * 100 / total, step.what),
    };
    Error::conflict("upkeep.busy", format!("{kind} is under way (task {id}, started by {started_by}{far})"))
        .hint("the store does one such thing at a time: try again when that task has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(desk: &Desk, id: u64) {
        desk.end(Id(id), Time(2), Ok(Outcome::Kept(Vec::new())));
    }

    #[test]
    fn one_runs_at_a_time_and_the_second_is_told_which() {
        let desk = Desk::default();
        desk.begin(Id(1), Kind::Backup, "operator", Time(1)).unwrap();
        desk.progress(Id(1)).step("writing rows", 3, 4);
        let error = desk.begin(Id(2), Kind::Check, "operator", Time(1)).unwrap_err();
        assert_eq!(error.code(), "upkeep.busy");
        assert!(error.detail().starts_with("a backup is under way (task 0000000000000001"), "{error}");
        assert!(error.detail().contains("75 % through writing rows"), "{error}");
        desk.end(Id(1), Time(2), Err(Error::full("store.disk_full", "no room")));
        assert!(matches!(desk.task(Id(1)).unwrap().state, State::Failed(_)) && !desk.is_busy());
        desk.begin(Id(2), Kind::Check, "operator", Time(3)).unwrap();
        assert!(desk.is_busy());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let desk = Desk::default();
        for id in 0..MAX_TASKS as u64 + 5 {
            desk.begin(Id(id), Kind::Check, "operator", Time(1)).unwrap();
            ended(&desk, id);
        }
        let list = desk.list();
        assert_eq!((list.len(), list[0].id), (MAX_TASKS, Id(MAX_TASKS as u64 + 4)));
        assert_eq!(desk.task(Id(4)).unwrap_err().code(), "upkeep.task_missing");
        desk.step(Id(4), "forgotten", 1, 2);
        ended(&desk, 4);
    }
}
