//! Simulation: who would move under a policy, over all stored players, with nothing written.

use std::collections::BTreeMap;

use super::decide::{Verdict, decide};
use super::facts::subject;
use super::outcome::Outcome;
use super::service::Ranks;
use crate::base::{Cursor, Error, Result, RobloxId};
use crate::domains::players::{PLAYERS, Player, Status};
use crate::domains::policy::{Action, Policy};

/// Someone who would be moved, or punished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub user_id: RobloxId,
    pub username: String,
    pub action: Action,
    pub from_rank: Option<String>,
    pub target_rank: Option<String>,
    pub points: i64,
    pub reason: String,
}

/// What would happen to one page of players.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    pub evaluated: usize,
    /// How many of each action, NONE included.
    pub counts: BTreeMap<&'static str, usize>,
    pub moves: Vec<Move>,
    /// Where the next page starts.
    pub next: Option<Cursor>,
}

impl Ranks {
    /// Decides about one page of players by `policy`; nothing is written.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; those of the store.
    pub async fn simulate(&self, policy: &Policy, after: Option<&Cursor>, limit: usize) -> Result<Simulation> {
        let now = self.clock.now();
        let page = self.store.scan(PLAYERS.all().after(after), limit).await?;
        let mut out =
            Simulation { evaluated: page.items.len(), counts: BTreeMap::new(), moves: Vec::new(), next: page.next };
        for (_, player) in page.items {
            let verdict = decide(policy, &subject(&player, now), now);
            *out.counts.entry(verdict.action.as_str()).or_default() += 1;
            if verdict.action == Action::None {
                continue;
            }
            out.moves.push(Move::of(player, verdict));
        }
        Ok(out)
    }

    /// Decides about one player by `policy`; nothing is written. The decision has the status it would be proposed with, and an id that
    /// no row has.
    ///
    /// # Errors
    /// `players.missing`; those of the store.
    pub async fn simulate_one(&self, policy: &Policy, user: RobloxId) -> Result<(Simulation, Outcome)> {
        let missing = || Error::missing("players.missing", format!("Player {user} not found"));
        let (now, player) = (self.clock.now(), self.store.get(&PLAYERS, &user).await?.ok_or_else(missing)?);
        let verdict = decide(policy, &subject(&player, now), now);
        let moves = verdict.action != Action::None;
        let outcome = Outcome {
            status: moves.then_some(Status::Proposed),
            blocked_reason: verdict.waits_because().map(str::to_owned),
            ..Outcome::of(self.ids.next(), &verdict)
        };
        let counts = BTreeMap::from([(verdict.action.as_str(), 1)]);
        let moves = moves.then(|| Move::of(player, verdict)).into_iter().collect();
        Ok((Simulation { evaluated: 1, counts, moves, next: None }, outcome))
    }
}

impl Move {
    fn of(player: Player, verdict: Verdict) -> Self {
        Self {
            user_id: player.user_id,
            username: player.username,
            action: verdict.action,
            from_rank: player.rank,
            target_rank: verdict.target_rank.as_deref().map(str::to_owned),
            points: player.points,
            reason: verdict.reason,
        }
    }
}
