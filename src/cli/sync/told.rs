//! A run of the sync in words.

use std::time::Duration;

use indicatif::HumanDuration;
use serde_json::Value;

use crate::cli::session::{number, text};

/// A run in a line.
pub fn line(run: &Value) -> String {
    let (seen, total) = (number(&run["seen"]), run["total"].as_u64());
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let eta = run["eta_seconds"].as_u64().map(|seconds| HumanDuration(Duration::from_secs(seconds)));
    let eta = eta.map(|eta| format!(", {eta} left")).unwrap_or_default();
    let (id, status, at) = (text(&run["id"]), text(&run["status"]), text(&run["created_at"]));
    format!("{id}  {status:<8} {at}  {:<12} {seen}{of} entries{eta}", text(&run["activity"]))
}

/// A run with its counts, and with why it stopped.
pub fn told(run: &Value) -> String {
    let count = |name: &str| number(&run[name]);
    let mut out = line(run);
    out += &format!(
        "\n  {} created, {} updated, {} unchanged, {} deleted, {} not taken in",
        count("created"),
        count("updated"),
        count("unchanged"),
        count("deleted"),
        count("failed")
    );
    for (name, label) in [("reason", "why"), ("hint", "fix")] {
        if let Some(text) = run[name].as_str() {
            out += &format!("\n  {label}: {text}");
        }
    }
    out
}
