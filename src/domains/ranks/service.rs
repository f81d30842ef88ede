//! Ingest and review: one commit each, however much it touches.

use std::sync::Arc;
use std::time::Duration;

use super::carry::Waiting;
use super::history;
use super::outcome::{Outcome, Tracks};
use super::settle::Case;
use crate::base::{Clock, Error, Ids, Result, RobloxId, Time};
use crate::domains::audit;
use crate::domains::auth::Sender;
use crate::domains::brakes::{Brakes, Fittings};
use crate::domains::players::{self, Observation, PLAYERS, Player, SNAPSHOTS, Snapshot};
use crate::domains::policy::{Flag, Policy, PolicyStore, Tally};
use crate::store::{Store, Tx};

/// Decides about players and keeps what was decided.
#[derive(Clone)]
pub struct Ranks {
    pub(super) store: Store,
    pub(super) policy: Arc<PolicyStore>,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) waiting: Waiting,
    /// How long a caller who applies waits for the outcome; zero for not at all.
    pub(super) inline: Duration,
    pub(super) brakes: Brakes,
}

/// What the caller wants done about a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Only take the snapshot in.
    Nothing,
    /// Decide, but leave it at that.
    Evaluate,
    /// Decide, and let the decision take effect.
    Apply,
    /// Asked to apply, but the credential may not: decide, and say so.
    ApplyDenied,
}

/// A snapshot taken in.
pub struct Ingested {
    /// The player as evaluated: before any effect of the decision.
    pub player: Player,
    /// None when no decision was asked for.
    pub outcome: Option<Outcome>,
    /// The policy that decided.
    pub policy: Arc<Policy>,
}

/// Longest snapshot body, in bytes: it is stored in one row, whole.
pub const MAX_SNAPSHOT_BYTES: usize = 6 * 1024;

impl Ranks {
    /// Decides in the store, and by the policy, that the brakes have; follows its decisions from then on. `inline` is how long a caller who
    /// applies waits for the outcome, zero for not at all.
    ///
    /// # Errors
    /// Those of the store, while decisions of an older program are brought up to date.
    pub async fn open(brakes: Brakes, inline: Duration) -> Result<Self> {
        let Fittings { store, policy, clock, ids, .. } = brakes.fittings();
        let (store, policy, clock, ids) = (store.clone(), policy.clone(), clock.clone(), ids.clone());
        history::lift(&store).await?;
        let waiting = Waiting::follow(&store);
        Ok(Self { store, policy, clock, ids, waiting, inline, brakes })
    }

    /// Takes a snapshot in and, when asked, decides on it: player, place, snapshot, decision and audit rows in one commit. `body` is the
    /// snapshot as it was sent.
    ///
    /// # Errors
    /// `ingest.too_large` for a body past [`MAX_SNAPSHOT_BYTES`]; `ingest.experience_not_allowed`; those of the store.
    pub async fn ingest(&self, seen: &Observation, body: &str, ask: Ask, sender: &Sender) -> Result<Ingested> {
        if body.len() > MAX_SNAPSHOT_BYTES {
            let detail = format!("a snapshot has at most {MAX_SNAPSHOT_BYTES} bytes; this one has {}", body.len());
            return Err(Error::too_large("ingest.too_large", detail).hint("send the documented fields only"));
        }
        let policy = self.policy.current();
        if !policy.integrations().experiences.accepts(seen.experience.as_deref()) {
            return Err(experience_not_allowed(seen.experience.as_deref()));
        }
        let tracks = Tracks::new(&self.ids);
        let now = self.clock.now();
        let case = Case { policy: &policy, ask, tracks: &tracks, sender, now, brakes: &self.brakes };
        let (case, seen) = (&case, seen);
        let (player, outcome) = self
            .store
            .transact(|tx| async move {
                let before = tx.get(&PLAYERS, &seen.user_id).await?;
                let mut seen_now = observe(before.as_ref(), seen, case.policy, case.now);
                let shown = seen_now.player.clone();
                let outcome = match ask {
                    Ask::Nothing => None,
                    _ => Some(case.settle(&tx, &mut seen_now.player).await?),
                };
                players::save(&tx, before.as_ref(), &seen_now.player);
                keep_snapshot(&tx, case, seen, body, outcome.as_ref());
                keep_audit(&tx, case, before.as_ref(), &seen_now);
                Ok((shown, outcome))
            })
            .await?;
        Ok(Ingested { player, outcome, policy: Arc::clone(&policy) })
    }

    /// Decides about a stored player, without a snapshot.
    ///
    /// # Errors
    /// `players.missing`; those of the store.
    pub async fn review(&self, user: RobloxId, ask: Ask, sender: &Sender) -> Result<Outcome> {
        let policy = self.policy.current();
        let tracks = Tracks::new(&self.ids);
        let now = self.clock.now();
        let case = Case { policy: &policy, ask, tracks: &tracks, sender, now, brakes: &self.brakes };
        let (case, user) = (&case, &user);
        let outcome = self
            .store
            .transact(|tx| async move {
                let missing = || Error::missing("players.missing", format!("Player {user} not found"));
                let before = tx.get(&PLAYERS, user).await?.ok_or_else(missing)?;
                let mut player = before.clone();
                let outcome = case.settle(&tx, &mut player).await?;
                if player != before {
                    player.updated_at = case.now;
                    players::save(&tx, Some(&before), &player);
                }
                Ok(outcome)
            })
            .await?;
        Ok(outcome)
    }
}

fn experience_not_allowed(experience: Option<&str>) -> Error {
    let detail = match experience {
        Some(key) => format!("snapshots of the experience \"{key}\" are not accepted"),
        None => "this snapshot does not say which experience it comes from".to_owned(),
    };
    Error::denied("ingest.experience_not_allowed", detail)
        .hint("send one of experiences.allow (backend.integrations.json) as x-roblox-experience, or add this one to it")
}

/// A player with a snapshot's news in it.
struct Seen {
    player: Player,
    /// The rank held before, when the snapshot replaced it.
    rank_was: Option<Option<String>>,
    /// What the anti-cheat bounds objected to.
    flags: Vec<Flag>,
}

/// Lays the snapshot over what is stored, through the anti-cheat bounds.
fn observe(before: Option<&Player>, seen: &Observation, policy: &Policy, now: Time) -> Seen {
    let stored = before.map(|player| Tally { points: player.points, kos: player.kos });
    let held = stored.unwrap_or_default();
    let reported = Tally { points: seen.points.unwrap_or(held.points), kos: seen.kos.unwrap_or(held.kos) };
    let pace = before.map(|player| player.pace).unwrap_or_default();
    let judged = policy.points().observe(stored, pace, reported, now);
    let believed = Observation { points: Some(judged.accepted.points), kos: Some(judged.accepted.kos), ..seen.clone() };
    let (mut player, rank_was) = match before {
        None => (Player::first_seen(&believed, now), None),
        Some(before) => {
            let mut player = before.clone();
            let rank_was = player.observe(&believed, now);
            (player, rank_was)
        }
    };
    player.pace = judged.pace;
    player.flagged |= !judged.flags.is_empty();
    Seen { player, rank_was, flags: judged.flags }
}

fn keep_snapshot(tx: &Tx, case: &Case<'_>, seen: &Observation, body: &str, outcome: Option<&Outcome>) {
    let snapshot = Snapshot {
        received_at: case.now,
        experience: seen.experience.clone(),
        key_id: case.sender.actor.id.clone(),
        body: body.to_owned(),
        outcome: outcome.map(|outcome| (outcome.action.as_str().to_owned(), outcome.policy_version.clone())),
    };
    tx.put(&SNAPSHOTS, &(seen.user_id, case.tracks.snapshot), &snapshot);
}

/// Tells of a snapshot that made or changed something, or was doubted; of any other the snapshot's own row tells.
fn keep_audit(tx: &Tx, case: &Case<'_>, before: Option<&Player>, seen: &Seen) {
    let (was, is) = changes(before, &seen.player);
    let mut after = is;
    if !seen.flags.is_empty() {
        let flags: Vec<String> = seen.flags.iter().map(ToString::to_string).collect();
        after.insert("flags".into(), flags.into());
    }
    if after.is_empty() {
        return;
    }
    let action = match (before, &seen.rank_was) {
        (None, _) => "player.created",
        (_, Some(_)) => "player.rank_reported",
        _ => "player.snapshot",
    };
    let text = |map: serde_json::Map<String, serde_json::Value>| {
        (!map.is_empty()).then(|| serde_json::Value::Object(map).to_string())
    };
    let entry = case.sender.entry(case.now, action, format!("player:{}", seen.player.user_id));
    let entry = audit::Entry { before: text(was), after: text(after), ..entry };
    audit::record(tx, case.tracks.snapshot_audit, &entry);
}

type Changed = serde_json::Map<String, serde_json::Value>;

/// What differs between two states of a player, before and after, in the fields people ask about.
fn changes(before: Option<&Player>, player: &Player) -> (Changed, Changed) {
    let (mut was, mut is) = (Changed::new(), Changed::new());
    let mut compare = |name: &str, old: Option<serde_json::Value>, new: serde_json::Value| {
        if old.as_ref() != Some(&new) {
            was.extend(old.map(|old| (name.to_owned(), old)));
            is.insert(name.to_owned(), new);
        }
    };
    compare("username", before.map(|p| p.username.as_str().into()), player.username.as_str().into());
    compare("rank", before.map(|p| p.rank.clone().into()), player.rank.clone().into());
    compare("points", before.map(|p| p.points.into()), player.points.into());
    compare("kos", before.map(|p| p.kos.into()), player.kos.into());
    compare("wos", before.map(|p| p.wos.into()), player.wos.into());
    compare("warnings", before.map(|p| p.warnings.into()), player.warnings.into());
    compare("punishment", before.map(|p| p.punishment.clone().into()), player.punishment.clone().into());
    (was, is)
}
