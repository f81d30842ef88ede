//! Where logs go: stderr, for people or as JSON lines (requirement P16), written by a thread of their own so that a slow terminal or a full
//! pipe holds up no request. And what a panic looks like: a line of the log like any other.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::base::{Clock, Error, Result, panics};
use crate::config::LogFormat;
use crate::http::JsonLines;

/// Log lines waiting to be written; past this they are dropped, not waited for.
const MAX_LINES_WAITING: usize = 16_384;

/// What the path of sled's sources goes on with.
const SLED: &str = "sled-0.";

/// Starts logging for the rest of the process. What is still waiting is written when the guard is dropped.
///
/// # Errors
/// `config.invalid` for a filter that cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<WorkerGuard> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::invalid("config.invalid", format!("LOG_LEVEL is \"{level}\": {error}"))
            .hint("use error, warn, info, debug, or a filter such as grps=debug")
    })?;
    let lines = NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES_WAITING).lossy(true);
    let (writer, guard) = lines.finish(std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Human => subscriber.with_target(false).with_ansi(terminal()).try_init(),
        LogFormat::Json => subscriber.event_format(JsonLines::new(Clock::system())).try_init(),
    };
    Ok(guard)
}

/// Replaces the panic messages of the rest of the process. One that is contained becomes an error, which says it all; threads of sled's own are
/// beyond that, and what they panic with shows where they are waited for, so it is told in passing.
pub fn tell_panics() {
    let plain = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if panics::is_expected(&place) {
            return;
        }
        let why = info.payload_as_str().unwrap_or("it does not say why");
        if let Some(at) = place.rfind(SLED) {
            tracing::warn!(place = &place[at..], "sled gave up: {why}");
        } else if tracing::dispatcher::has_been_set() {
            let trace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
            tracing::error!(place, trace = trace.map(|trace| trace.to_string()), "a panic: {why}");
        } else {
            plain(info);
        }
    }));
}

fn terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}
