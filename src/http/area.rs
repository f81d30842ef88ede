//! The headings under which the published document sorts the operations.

use poem_openapi::Tags;

/// A part of the API, as a person looks for it.
#[derive(Tags)]
pub enum Area {
    /// Snapshots come in, decisions come out.
    Decisions,
    /// What is known about a player.
    Players,
    /// Scores and standings.
    Leaderboards,
    /// Queues between those who want something done and those who do it.
    Jobs,
    /// Keys and sample data, for whoever runs the server.
    Operation,
    /// For monitoring.
    Health,
}
