//! The pure rules of a player's row: what a snapshot changes, and what it may not.

use serde::{Deserialize, Serialize};

use super::decided::{Acted, Decided, StoredMarks};
use super::refused::Refused;
use crate::base::{RobloxId, Time};
use crate::domains::policy::Pace;
use crate::domains::standings::Place;

/// What the group knows of one person. Stored; the wire form is `PlayerView`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    pub user_id: RobloxId,
    pub username: String,
    pub display_name: Option<String>,
    /// The rank we hold them to have, by its ladder name; none for someone without one.
    pub rank: Option<String>,
    /// The rank the last snapshot carried; it differs from `rank` after a change of ours that the game has not seen, or one by hand.
    pub reported_rank: Option<String>,
    pub points: i64,
    pub kos: i64,
    pub wos: i64,
    pub warnings: u32,
    pub recommendations: u32,
    /// As the game server named it: `suspended`, `banned`, … or something the policy does not know.
    pub punishment: Option<String>,
    /// The experience the last snapshot came from (`x-roblox-experience`).
    pub experience: Option<String>,
    /// How fast points and KOs were gained lately, against the anti-cheat bounds.
    pub pace: Pace,
    /// The bounds objected to a gain and nobody has looked yet: promotions wait for a person.
    pub flagged: bool,
    pub created_at: Time,
    /// Moves whenever anything in this row changes.
    pub updated_at: Time,
    /// When the last snapshot came in.
    pub last_synced_at: Time,
    /// When the current rank was first held, as far as we saw.
    pub rank_since: Option<Time>,
    /// When the number of warnings last rose.
    pub last_warning_at: Option<Time>,
    /// What the decision engine remembers.
    pub marks: StoredMarks,
    /// The decision that is open now.
    pub decided: Option<Decided>,
    /// Made by `grps demo`, removed with it.
    pub demo: bool,
    /// The last decision that took effect.
    #[serde(default)]
    pub acted: Option<Acted>,
    /// The revision of the data store's entry that was last taken in, and the entry's key.
    #[serde(default)]
    pub synced_revision: Option<String>,
    /// How new what is stored is: when a snapshot came in, or when the data store's entry was written, whichever is later.
    #[serde(default)]
    pub said_at: Option<Time>,
    /// What people said no to lately, oldest first.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// When `reported_rank` was told: as `said_at`, but only by what carried a rank. None in rows from before this was kept.
    #[serde(default)]
    pub reported_at: Option<Time>,
}

/// What a snapshot says about one person. `None` means: not said, keep what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub user_id: RobloxId,
    pub username: String,
    pub display_name: Option<Option<String>>,
    pub rank: Option<Option<String>>,
    pub points: Option<i64>,
    pub kos: Option<i64>,
    pub wos: Option<i64>,
    pub warnings: Option<u32>,
    pub recommendations: Option<u32>,
    pub punishment: Option<Option<String>>,
    pub experience: Option<String>,
}

impl Observation {
    /// A snapshot that says nothing but who it is about.
    pub fn of(user_id: RobloxId, username: impl Into<String>) -> Self {
        Self {
            user_id,
            username: username.into(),
            display_name: None,
            rank: None,
            points: None,
            kos: None,
            wos: None,
            warnings: None,
            recommendations: None,
            punishment: None,
            experience: None,
        }
    }
}

impl Player {
    /// Someone we have not seen before, as the first snapshot tells.
    pub fn first_seen(seen: &Observation, now: Time) -> Self {
        let rank = seen.rank.clone().flatten();
        Self {
            user_id: seen.user_id,
            username: seen.username.clone(),
            display_name: seen.display_name.clone().flatten(),
            rank_since: rank.is_some().then_some(now),
            reported_rank: rank.clone(),
            rank,
            points: seen.points.unwrap_or(0),
            kos: seen.kos.unwrap_or(0),
            wos: seen.wos.unwrap_or(0),
            warnings: seen.warnings.unwrap_or(0),
            recommendations: seen.recommendations.unwrap_or(0),
            punishment: seen.punishment.clone().flatten(),
            experience: seen.experience.clone(),
            pace: Pace::default(),
            flagged: false,
            created_at: now,
            updated_at: now,
            last_synced_at: now,
            last_warning_at: seen.warnings.is_some_and(|warnings| warnings > 0).then_some(now),
            marks: StoredMarks::default(),
            decided: None,
            demo: false,
            acted: None,
            synced_revision: None,
            said_at: Some(now),
            refused: Vec::new(),
            reported_at: Some(now),
        }
    }

    /// When the game last told a rank; of a row that does not say, the latest that it can have been.
    pub fn rank_reported_at(&self) -> Time {
        self.reported_at.or(self.said_at).unwrap_or(self.last_synced_at)
    }

    /// Takes over what `seen` says. The rank only until a decision of ours has taken effect: from then on ours counts and a report that
    /// differs is kept beside it (requirement R8). Returns the rank held before, when the report replaced it.
    pub fn observe(&mut self, seen: &Observation, now: Time) -> Option<Option<String>> {
        self.username = seen.username.clone();
        if seen.warnings.is_some_and(|warnings| warnings > self.warnings) {
            self.last_warning_at = Some(now);
        }
        take(&mut self.display_name, &seen.display_name);
        take(&mut self.points, &seen.points);
        take(&mut self.kos, &seen.kos);
        take(&mut self.wos, &seen.wos);
        take(&mut self.warnings, &seen.warnings);
        take(&mut self.recommendations, &seen.recommendations);
        take(&mut self.punishment, &seen.punishment);
        if seen.experience.is_some() {
            self.experience = seen.experience.clone();
        }
        self.reported_at = Some(if seen.rank.is_some() { now } else { self.rank_reported_at() });
        self.last_synced_at = now;
        self.said_at = Some(now);
        self.updated_at = now;
        let reported = seen.rank.clone()?;
        self.reported_rank = reported.clone();
        if self.rank_is_ours() || reported == self.rank {
            return None;
        }
        self.rank_since = reported.is_some().then_some(now);
        Some(std::mem::replace(&mut self.rank, reported))
    }

    /// Where this player stands on the players' board: points, then KOs, then the lower id (requirement G11).
    pub fn place(&self) -> Place {
        Place::for_player(self.points, self.kos, self.user_id)
    }
}

fn take<T: Clone>(field: &mut T, said: &Option<T>) {
    if let Some(value) = said {
        *field = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rank: Option<Option<&str>>) -> Observation {
        let rank = rank.map(|rank| rank.map(str::to_owned));
        Observation { rank, points: Some(520), ..Observation::of(RobloxId::new(7).unwrap(), "Arc") }
    }

    #[test]
    fn what_a_snapshot_does_not_say_stays() {
        let mut player = Player::first_seen(&Observation { kos: Some(9), ..seen(Some(Some("A"))) }, Time(1));
        assert_eq!(player.observe(&Observation { points: None, ..seen(None) }, Time(2)), None);
        assert_eq!((player.points, player.kos, player.rank.as_deref()), (520, 9, Some("A")));
        assert_eq!((player.created_at, player.updated_at), (Time(1), Time(2)));
    }

    #[test]
    fn a_rank_is_as_old_as_what_told_it() {
        let mut player = Player::first_seen(&seen(Some(Some("A"))), Time(1));
        player.observe(&seen(None), Time(2));
        assert_eq!((player.rank_reported_at(), player.said_at), (Time(1), Some(Time(2))));
        player.observe(&seen(Some(None)), Time(3));
        assert_eq!(player.rank_reported_at(), Time(3));
        // A row from before this was kept: what is said later without a rank makes it no newer.
        (player.reported_at, player.said_at) = (None, Some(Time(4)));
        assert_eq!(player.rank_reported_at(), Time(4));
        player.observe(&seen(None), Time(5));
        assert_eq!(player.rank_reported_at(), Time(4));
    }

    #[test]
    fn only_a_rise_of_warnings_starts_their_clock_anew() {
        let mut player = Player::first_seen(&Observation { warnings: Some(2), ..seen(None) }, Time(1));
        player.observe(&Observation { warnings: Some(2), ..seen(None) }, Time(2));
        assert_eq!(player.last_warning_at, Some(Time(1)));
        player.observe(&Observation { warnings: Some(3), ..seen(None) }, Time(3));
        assert_eq!(player.last_warning_at, Some(Time(3)));
    }
}
