//! `grps serve`: configuration, store, server, and an orderly end.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::upkeep::Meter;
use super::{Common, banner, logging};
use crate::app::App;
use crate::base::{Clock, Error, Result};
use crate::config::{self, Config, Generated, Sources};
use crate::http::Server;
use crate::http::server::raise_file_limit;
use crate::store::DataDir;
use crate::workers::Supervisor;

/// How much to log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    AsConfigured,
    Debug,
}

/// How long workers may take to finish their tick at shutdown.
const WORKER_PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(_common: &Common, sources: &Sources, verbosity: Verbosity) -> Result<ExitCode> {
    let dir = DataDir::open(&config::data_dir(sources)?)?;
    let generated = Generated::load_or_create(dir.path())?;
    let config = Config::build(sources, &generated)?;
    let level = if verbosity == Verbosity::Debug { "info,grps=debug" } else { &config.log_level };
    let _logs = logging::start(config.log_format, level)?;
    if let Err(error) = raise_file_limit() {
        tracing::warn!(?error, "fewer connections can be held open than asked for");
    }
    let meter = Meter::new();
    let app = App::open(config, dir, Clock::system(), meter.progress()).await?;
    drop(meter);
    // Bound after everything else works, so that a port that answers is a server that serves.
    let server = Server::bind(app.config.address(), &app.config.http, &app.metrics)?;
    // Before anyone can know that we listen: whoever stops us from then on gets an orderly end.
    let (mut stop, mut stop_now) = (Stop::listen()?, Stop::listen()?);
    app.announce(server.address())?;
    let headers = banner::write_headers(&app.config)?;
    eprintln!("{}", banner::text(&app, &server.address().to_string(), headers.as_deref()));
    let mut supervisor = Supervisor::new(app.clock.clone(), app.board.clone());
    app.workers().into_iter().for_each(|worker| supervisor.start(worker));
    let endpoint = app.endpoint()?;
    let orderly = async {
        let asked = async {
            stop.next().await;
            app.stop_waiting();
        };
        let drained = server.serve(endpoint, asked).await;
        app.sockets.drain().await;
        tracing::info!(?drained, "no more requests; finishing background work");
        supervisor.stop(WORKER_PATIENCE).await;
    };
    tokio::select! {
        () = orderly => {}
        () = stop_now.second() => tracing::warn!("second signal: requests and background work are cut short"),
    }
    app.close().await.inspect_err(|_| {
        tracing::error!("the store could not be closed; everything acknowledged is in its journal, from where the next start takes it");
    })?;
    tracing::info!("everything acknowledged is on disk; bye");
    Ok(ExitCode::SUCCESS)
}

/// The signals that ask us to stop.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::broken("server.no_signals", error));
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    /// Resolves at the next SIGTERM or SIGINT.
    async fn next(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
    }

    /// Resolves at the second one.
    async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}
