//! Where logs go: stderr, for people or as JSON lines (requirement P16), written by a thread of their own so that a slow terminal or a full
//! pipe holds up no request.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::base::{Clock, Error, Result};
use crate::config::LogFormat;
use crate::http::JsonLines;

/// Log lines waiting to be written; past this they are dropped, not waited for.
const MAX_LINES_WAITING: usize = 16_384;

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

fn terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}
