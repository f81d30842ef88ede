//! The mirror: a follower of the tail. Where it is, is a cursor, so what it shows has neither gaps nor repetitions, also for a consumer
//! that comes back with the last sequence it saw.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::{Copy, Jobs, Place, Released};
use super::wire;
use crate::base::Id;
use crate::http::sockets::{End, Socket};

/// Mirrors that read a page from the store at the same time; pages of recent jobs are shared and need no turn.
const CATCHING_UP: usize = 16;

/// Mirrors that hold such a page while they hand it out. Past that, a mirror holds one job and reads the rest again: slow consumers take
/// neither much memory nor others' turns.
const PAGES_HELD: usize = 64;

/// Payload bytes of a page that is held.
const PAGE_BYTES: usize = 1 << 20;

/// How long one of them may take to hand its page to its consumer.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);

/// Messages looked at between two pages; what a mirror's consumer says is not answered.
const HEARD_PER_PAGE: usize = 16;

/// What a consumer wants to see.
pub struct View {
    /// Which queue, and everything after what.
    pub place: Place,
    /// Frames tell id, sequence and time; otherwise they are the jobs as they came.
    pub envelope: bool,
    /// The cursor is the consumer's own word, so it may be from another time.
    pub resumes: bool,
}

/// All mirrors. A cheap handle.
#[derive(Clone)]
pub struct Mirrors {
    jobs: Jobs,
    turns: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

impl Mirrors {
    pub fn new(jobs: Jobs) -> Self {
        Self { jobs, turns: Arc::new(Semaphore::new(CATCHING_UP)), held: Arc::new(Semaphore::new(PAGES_HELD)) }
    }

    /// Shows jobs until the socket ends.
    pub async fn run(self, socket: &mut Socket, view: View) -> End {
        match self.follow(socket, view).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&self, socket: &mut Socket, mut view: View) -> Result<Infallible, End> {
        let mut released = self.jobs.tail().watch();
        if view.resumes && view.place.cursor > self.jobs.tail().newest() {
            // A sequence from the future: of another server, or of this one before a restore.
            let newest = self.jobs.tail().newest();
            socket.send(&wire::gap(view.place.cursor, newest)).await?;
            view.place.cursor = newest;
        }
        let mut behind = view.resumes;
        loop {
            while view.place.cursor < *released.borrow_and_update() {
                let before = view.place.cursor;
                behind = self.page(socket, &mut view, behind).await?;
                if view.place.cursor == before {
                    break;
                }
            }
            behind = false;
            tokio::select! {
                heard = socket.receive() => drop(heard?),
                moved = released.changed() => moved.map_err(|_| End::Stopping)?,
            }
        }
    }

    /// Shows one page. `behind` tells whether it may have to come from the store; gives whether it did.
    async fn page(&self, socket: &mut Socket, view: &mut View, behind: bool) -> Result<bool, End> {
        let turn = match behind {
            true => Some(self.turn(socket).await?),
            false => None,
        };
        let mut page = self.jobs.tail().after(&mut view.place).await?;
        let own = page.stored;
        page.jobs.retain(|job| job.queue == view.place.queue);
        let held = own.then(|| self.held.try_acquire().ok()).flatten();
        if own {
            cut(&mut page, if held.is_some() { PAGE_BYTES } else { 0 });
        }
        drop(turn);
        if page.lost {
            let next = page.jobs.first().map_or(page.cursor, |job| job.id);
            self.announce(socket, view, next).await?;
        }
        let show = async {
            for job in page.jobs {
                show(socket, &job, view.envelope).await?;
            }
            Ok(())
        };
        match own {
            true => timeout(PAGE_DEADLINE, show).await.unwrap_or(Err(End::Slow))?,
            false => show.await?,
        }
        drop(held);
        view.place.cursor = view.place.cursor.max(page.cursor);
        for _ in 0..HEARD_PER_PAGE {
            match socket.receive().now_or_never() {
                Some(heard) => drop(heard?),
                None => break,
            }
        }
        Ok(own)
    }

    /// Waits to be let at the store.
    async fn turn(&self, socket: &mut Socket) -> Result<tokio::sync::SemaphorePermit<'_>, End> {
        let turn = self.turns.acquire();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => return turn.map_err(|_| End::Stopping),
                heard = socket.receive() => drop(heard?),
            }
        }
    }

    /// Says that jobs were forgotten before they could be shown. Plain frames are jobs and nothing else, so there the socket ends.
    async fn announce(&self, socket: &mut Socket, view: &View, next: Id) -> Result<(), End> {
        if view.envelope {
            return socket.send(&wire::gap(view.place.cursor, next)).await;
        }
        Err(End::Later("you fell behind what is kept; reconnect".into()))
    }
}

/// Leaves the first jobs of a page, in some `bytes`, and one in any case; the rest is behind its cursor then.
fn cut(page: &mut Released, bytes: usize) {
    let mut total = 0;
    let fits = page.jobs.iter().take_while(|job| {
        total += job.payload.len();
        total <= bytes
    });
    let fits = fits.count().max(1);
    if let Some(last) = page.jobs.get(fits - 1).filter(|_| fits < page.jobs.len()) {
        page.cursor = last.id;
        page.jobs.truncate(fits);
    }
}

async fn show(socket: &mut Socket, job: &Copy, envelope: bool) -> Result<(), End> {
    if envelope {
        let head = wire::mirrored(job);
        return socket.send_parts(&[&head, &job.payload, "}"]).await;
    }
    socket.send(&job.payload).await
}
