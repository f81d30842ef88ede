//! `/admin/api/queues` and `/admin/api/jobs`: what `grps jobs` calls.

use poem::Result;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::gateway::read_id;
use super::wire::{BulkRequest, BulkView, JobPage, JobState, JobView, QueueIn, QueueList, QueueView};
use crate::base::{Clock, Id};
use crate::domains::auth::{Caller, Sender};
use crate::domains::jobs::operate::{Bulk, MAX_BULK, Selection};
use crate::domains::jobs::service::Jobs;
use crate::http::{Area, Json};

/// The operators' operations.
#[derive(Clone)]
pub struct QueuesApi {
    pub jobs: Jobs,
    pub clock: Clock,
}

#[OpenApi(tag = "Area::Jobs")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl QueuesApi {
    /// All queues, and how full they are
    #[oai(path = "/admin/api/queues", method = "get", operation_id = "listQueues")]
    async fn queues(&self, _caller: Caller) -> Json<QueueList> {
        let now = self.clock.now();
        Json(QueueList { queues: self.jobs.stats().iter().map(|stats| QueueView::new(stats, now)).collect() })
    }

    /// Jobs, oldest first
    #[oai(path = "/admin/api/jobs", method = "get", operation_id = "listJobs")]
    async fn list(
        &self,
        _caller: Caller,
        /// Only of this queue.
        queue: Query<Option<QueueIn>>,
        /// Only in this state.
        state: Query<Option<JobState>>,
        #[oai(default = "usual_list", validator(minimum(value = "1"), maximum(value = "200")))] limit: Query<u64>,
        /// The `next_cursor` of the page before.
        #[oai(validator(pattern = "^[0-9a-f]{16}$"))]
        cursor: Query<Option<String>>,
    ) -> Result<Json<JobPage>> {
        let queue = queue.0.map(|queue| queue.0);
        let after = cursor.0.as_deref().map(str::parse).transpose()?.unwrap_or(Id(0));
        let (limit, now) = (limit.0 as usize, self.clock.now());
        let (jobs, next) = self.jobs.list(queue.as_ref(), state.0.map(Into::into), after, limit).await?;
        let jobs = jobs.into_iter().map(|job| JobView::new(job, now)).collect();
        Ok(Json(JobPage { jobs, next_cursor: next.map(|id| id.to_string()) }))
    }

    /// Look at a job
    #[oai(path = "/admin/api/jobs/:id", method = "get", operation_id = "inspectJob")]
    async fn inspect(&self, _caller: Caller, id: Path<String>) -> Result<Json<JobView>> {
        Ok(Json(JobView::new(self.jobs.find(read_id(&id.0)?).await?, self.clock.now())))
    }

    /// Put a job back into its queue, with all its attempts
    ///
    /// Whatever became of it, unless somebody holds it right now; one that waits is to be had at once.
    #[oai(path = "/admin/api/jobs/:id/requeue", method = "post", operation_id = "requeueJob")]
    async fn requeue(&self, sender: Sender, id: Path<String>) -> Result<Json<JobView>> {
        let job = self.jobs.requeue(read_id(&id.0)?, &sender).await?;
        Ok(Json(JobView::new(job, self.clock.now())))
    }

    /// Put all jobs of a queue in one state back into it
    #[oai(path = "/admin/api/jobs/requeue", method = "post", operation_id = "requeueJobs")]
    async fn requeue_all(&self, sender: Sender, body: Json<BulkRequest>) -> Result<Json<BulkView>> {
        self.bulk(Bulk::Requeue, body.0, sender).await
    }

    /// Remove all jobs of a queue in one state, for good
    #[oai(path = "/admin/api/jobs/purge", method = "post", operation_id = "purgeJobs")]
    async fn purge(&self, sender: Sender, body: Json<BulkRequest>) -> Result<Json<BulkView>> {
        self.bulk(Bulk::Purge, body.0, sender).await
    }
}

impl QueuesApi {
    async fn bulk(&self, what: Bulk, wanted: BulkRequest, sender: Sender) -> Result<Json<BulkView>> {
        let limit = wanted.limit.map_or(MAX_BULK, |limit| limit as usize);
        let selection = Selection { queue: wanted.queue.0, state: wanted.state.into(), limit };
        if wanted.dry_run {
            return Ok(Json(BulkView { matched: self.jobs.count(&selection).await as u64, changed: 0 }));
        }
        let done = self.jobs.bulk(what, &selection, &sender).await?;
        Ok(Json(BulkView { matched: done.matched as u64, changed: done.changed as u64 }))
    }
}

fn usual_list() -> u64 {
    50
}
