//! Where logs go: stderr, for people or as JSON lines (requirement P16).

use tracing_subscriber::EnvFilter;

use crate::base::{Error, Result};
use crate::config::LogFormat;

/// Starts logging for the rest of the process.
///
/// # Errors
/// `config.invalid` for a filter that cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::invalid("config.invalid", format!("LOG_LEVEL is \"{level}\": {error}"))
            .hint("use error, warn, info, debug, or a filter such as grps=debug")
    })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Human => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}
