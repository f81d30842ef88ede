//! `/admin/api/store` and `/admin/api/backups`: what `grps store` and `grps backup` call.

use poem_openapi::param::Path;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::service::{Caretaker, Job};
use super::wire::{BackupView, JobKind, SurveyView, TaskView};
use crate::base::{Error, Id, Result};
use crate::domains::auth::{Caller, Sender};
use crate::http::{Area, Json};
use crate::store::TableInfo;

/// Work to start.
#[derive(Debug, Object)]
#[oai(example)]
struct JobRequest {
    kind: JobKind,
    /// For `backup`: its name, which also exempts it from the keep rules; left out, it is named after the time. For `verify`: which one.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    name: Option<String>,
}

impl Example for JobRequest {
    fn example() -> Self {
        Self { kind: JobKind::Backup, name: None }
    }
}

/// The last tasks since the server's start, at most 50.
#[derive(Debug, Object)]
struct TaskList {
    /// Newest first.
    tasks: Vec<TaskView>,
}

/// The backups in `BACKUP_DIR`, at most 1,000.
#[derive(Debug, Object)]
struct BackupList {
    folder: String,
    /// Newest first.
    backups: Vec<BackupView>,
}

#[derive(ApiResponse)]
enum Started {
    /// It has begun; `GET /admin/api/store/tasks/{id}` tells how far it is.
    #[oai(status = 202)]
    Accepted(Json<TaskView>),
}

pub struct UpkeepApi {
    pub caretaker: Caretaker,
    /// Names for the tables of the survey.
    pub tables: Vec<TableInfo>,
}

/// The store
#[OpenApi(tag = "Area::Operation")]
impl UpkeepApi {
    /// What the store holds and how it is doing
    #[oai(path = "/admin/api/store", method = "get", operation_id = "surveyStore")]
    async fn survey(&self, _caller: Caller) -> poem::Result<Json<SurveyView>> {
        Ok(Json(SurveyView::new(self.caretaker.survey().await?, &self.tables)))
    }

    /// The last tasks
    #[oai(path = "/admin/api/store/tasks", method = "get", operation_id = "listTasks")]
    async fn tasks(&self, _caller: Caller) -> Json<TaskList> {
        Json(TaskList { tasks: self.caretaker.tasks().into_iter().map(Into::into).collect() })
    }

    /// Start a check, a compaction, a checkpoint, a backup or the verification of one
    ///
    /// One of these runs at a time. A backup counts as made only when it has been restored into a scratch folder and compared.
    #[oai(path = "/admin/api/store/tasks", method = "post", operation_id = "startTask")]
    async fn start(&self, sender: Sender, wanted: Json<JobRequest>) -> poem::Result<Started> {
        let job = job(wanted.0)?;
        let (task, _work) = self.caretaker.start(job, sender).await?;
        Ok(Started::Accepted(Json(task.into())))
    }

    /// How far a task is, or what came of it
    #[oai(path = "/admin/api/store/tasks/:id", method = "get", operation_id = "getTask")]
    async fn task(&self, _caller: Caller, id: Path<String>) -> poem::Result<Json<TaskView>> {
        let id = Id::read(&id.0, "upkeep.task_missing")?;
        Ok(Json(self.caretaker.task(id)?.into()))
    }

    /// The backups there are
    #[oai(path = "/admin/api/backups", method = "get", operation_id = "listBackups")]
    async fn backups(&self, _caller: Caller) -> poem::Result<Json<BackupList>> {
        let folder = self.caretaker.config().folder.display().to_string();
        let backups = self.caretaker.backups().await?.into_iter().map(Into::into).collect();
        Ok(Json(BackupList { folder, backups }))
    }
}

fn job(wanted: JobRequest) -> Result<Job> {
    let JobRequest { kind, name } = wanted;
    let unwanted =
        || Error::field(&["body", "name"], "extra_forbidden", "only a backup or a verification takes a name");
    match (kind, name) {
        (JobKind::Backup, name) => Ok(Job::Backup(name)),
        (JobKind::Verify, Some(name)) => Ok(Job::Verify(name)),
        (JobKind::Verify, None) => Err(Error::field(&["body", "name"], "missing", "which backup is to be verified")),
        (_, Some(_)) => Err(unwanted()),
        (JobKind::Check, None) => Ok(Job::Check),
        (JobKind::Compact, None) => Ok(Job::Compact),
        (JobKind::Checkpoint, None) => Ok(Job::Checkpoint),
    }
}
