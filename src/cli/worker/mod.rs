//! `grps worker`: takes jobs from the gateway and runs a command for each, or prints them (requirement J19). It is a client like any other and
//! needs no data directory: what it has to know is an address and two secrets.

mod backoff;
mod exec;
mod gateway;
mod job;
mod pull;
mod shop;
mod socket;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::backoff::Backoff;
use self::exec::Recipe;
use self::gateway::{Credential, Gateway, Wish};
use self::shop::{Setup, Shop, Stage};
use super::serve::Stop;
use super::{Common, logging};
use crate::base::{Clock, Error, Result, Secret};
use crate::config::{MAX_CONCURRENCY, Sources, WorkerConfig};
use crate::domains::jobs::{MAX_CREDIT, MAX_LEASE, QueueName};

/// The key id under which A6 takes the gateway's own HMAC_SECRET.
const GATEWAY_KID: &str = "gateway";

#[derive(Args)]
#[command(after_help = "\
A command gets the payload on its standard input, and GRPS_JOB_ID, GRPS_JOB_QUEUE and GRPS_JOB_ATTEMPT. Exit code 0: the job is done. 100: it is
dead at once. Anything else: it is tried again later, with `exit code N: <last line of stderr>` as the reason. The lease is extended while the
command runs; a command whose lease is lost is killed. Settings of grps that are secrets (API_KEY, DATABASE_URL, …) are kept from commands.

SIGTERM or Ctrl-C: jobs at hand are finished. A second time: they are ended and given back, without an attempt counted. A third time: they are
ended and left to their leases. A worker that is killed (SIGKILL) cannot end its commands: they run on, while their jobs go to others when the
leases end.

Settings: BASE_URL, API_KEY, HMAC_SECRET, CONCURRENCY, TIMEOUT, INITIAL_BACKOFF, MAX_BACKOFF, RETRIES.")]
pub struct WorkerArgs {
    /// The queue to work on
    #[arg(long, default_value = "default")]
    queue: QueueName,
    /// How long a job is ours unless we ask for more, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_LEASE.as_secs()))]
    lease: u64,
    /// Jobs worked on at the same time [CONCURRENCY]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_CONCURRENCY))]
    concurrency: Option<u64>,
    /// Receive jobs through a WebSocket instead of long polls
    #[arg(long)]
    ws: bool,
    /// Run this for every job, through `sh -c`; without it, jobs are printed, a line each
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// End when nothing is left to take
    #[arg(long, conflicts_with = "ws")]
    once: bool,
    /// Sign every request itself (A6) with the secret of this key id; `gateway` stands for HMAC_SECRET
    #[arg(long, value_name = "KEY_ID")]
    key_id: Option<String>,
    /// Read the secret of --key-id from this file
    #[arg(long, value_name = "FILE", requires = "key_id")]
    key_file: Option<PathBuf>,
}

pub async fn run(args: WorkerArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let config = WorkerConfig::build(sources)?;
    let _logs = logging::start(config.log_format, &config.log_level)?;
    let shop = shop(&args, &config, common)?;
    if config.base.scheme() == "http" && !config.local {
        tracing::warn!("BASE_URL is http: the key and the jobs travel readable to all on the way; use https");
    }
    if args.ws && shop.concurrency > MAX_CREDIT {
        tracing::warn!(
            "a socket brings at most {MAX_CREDIT} jobs at a time, so no more run than that; use long polls, or several workers"
        );
    }
    let mut stop = Stop::listen()?;
    tracing::info!(
        "taking jobs of queue {} from {}, {} at a time{}",
        shop.wish.queue,
        config.base,
        shop.concurrency,
        if args.ws { ", through a WebSocket" } else { "" }
    );
    let work = async { if args.ws { socket::run(&shop).await } else { pull::run(&shop).await } };
    tokio::pin!(work);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended.map(|()| ExitCode::SUCCESS),
            // Commands at hand are killed when `work` is dropped.
            () = stop.next() => if !told_to_stop(&shop) { break Ok(ExitCode::FAILURE) },
        }
    };
    tracing::info!(tally = %shop.tally.values(), "bye");
    ended
}

/// Whether the server is still to be told what became of the jobs at hand.
fn told_to_stop(shop: &Shop) -> bool {
    match shop.stage() {
        Stage::Working => {
            tracing::info!("no more jobs are taken; those at hand are finished (once more: they are given back)");
            shop.advance(Stage::Finishing);
            true
        }
        Stage::Finishing => {
            tracing::warn!("jobs at hand are ended and given back (once more: they are left to their leases)");
            shop.advance(Stage::Leaving);
            true
        }
        Stage::Leaving => {
            tracing::warn!("jobs at hand are left to their leases, at whose end they are handed out again");
            false
        }
    }
}

fn shop(args: &WorkerArgs, config: &WorkerConfig, common: &Common) -> Result<Shop> {
    let gateway = Gateway::new(config, credential(args, config)?, Clock::system())?;
    Ok(Shop::new(Setup {
        gateway,
        wish: Wish { queue: args.queue.to_string(), lease: Duration::from_secs(args.lease) },
        recipe: args.exec.as_deref().map(|command| Recipe::new(command, common.json)),
        concurrency: args.concurrency.map_or(config.concurrency, |number| number as usize),
        once: args.once,
        json: common.json,
        backoff: Backoff::new(config.initial_backoff, config.max_backoff),
        retries: config.retries,
    }))
}

fn credential(args: &WorkerArgs, config: &WorkerConfig) -> Result<Credential> {
    let set = |name: &str, secret: &Option<Secret>| {
        secret.clone().filter(|secret| !secret.expose().is_empty()).ok_or_else(|| {
            Error::invalid(
                "config.worker_credentials",
                format!("{name} is not set, and no server on this machine has made one"),
            )
            .hint("set API_KEY and HMAC_SECRET to the server's, or give --key-id and --key-file")
        })
    };
    let Some(kid) = &args.key_id else {
        return Ok(Credential::Gateway { key: set("API_KEY", &config.key)?, hmac: set("HMAC_SECRET", &config.hmac)? });
    };
    let secret = match &args.key_file {
        None if kid == GATEWAY_KID => set("HMAC_SECRET", &config.hmac)?,
        None => {
            return Err(Error::invalid("cli.usage", "--key-id needs the key's secret")
                .hint("put it into a file and give --key-file FILE"));
        }
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Error::invalid("config.file_unreadable", format!("cannot read {}: {error}", path.display()))
            })?;
            Secret::new(text.trim())
        }
    };
    Ok(Credential::Signed { kid: kid.clone(), secret })
}
