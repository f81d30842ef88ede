//! The invented group: the same number always makes the same person, with points spread as in a real group (many near the bottom, few at
//! the top), a rank that fits them, and now and then a warning. Pure.

use crate::base::{RobloxId, Time};
use crate::domains::players::{Observation, Player};
use crate::domains::policy::Policy;

/// Where invented user ids start: far above any id Roblox has given out, below the largest JSON carries.
pub const DEMO_BASE: u64 = 9_000_000_000_000_000;

/// Invented players at most.
pub const MAX_DEMO_PLAYERS: u64 = 1_000_000;

const FIRST: [&str; 24] = [
    "Storm", "Arc", "Volt", "Nova", "Iron", "Frost", "Ember", "Lunar", "Solar", "Shadow", "Crimson", "Azure", "Silent",
    "Rapid", "Ghost", "Cobalt", "Amber", "Onyx", "Jade", "Echo", "Vortex", "Delta", "Sable", "Titan",
];
const SECOND: [&str; 24] = [
    "Trooper", "Falcon", "Wolf", "Ranger", "Knight", "Raven", "Tiger", "Viper", "Hawk", "Scout", "Fox", "Bear", "Lynx",
    "Cobra", "Otter", "Badger", "Heron", "Drake", "Comet", "Pilot", "Sniper", "Medic", "Rider", "Smith",
];
const EXPERIENCES: [&str; 3] = ["training", "nexus", "arena"];

/// Invented player number `index`, as of `now`.
///
/// # Errors
/// Only for an index past [`MAX_DEMO_PLAYERS`], whose id would leave the range of ids.
pub fn invent(index: u64, policy: &Policy, now: Time) -> crate::base::Result<Player> {
    let mut dice = fastrand::Rng::with_seed(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // The product of three even draws leans hard towards zero, as activity does.
    let points = (9_000.0 * dice.f64() * dice.f64() * dice.f64()) as i64;
    let kos = points / 6 + dice.i64(0..40);
    let name = format!("{}{}{}", FIRST[dice.usize(..FIRST.len())], SECOND[dice.usize(..SECOND.len())], index);
    let seen = Observation {
        user_id: RobloxId::new(DEMO_BASE + index)?,
        display_name: Some(Some(name.clone())),
        username: name,
        rank: Some(held_rank(policy, points, &mut dice)),
        points: Some(points),
        kos: Some(kos),
        wos: Some(kos / 4 + dice.i64(0..10)),
        warnings: Some(if dice.u32(..100) < 4 { dice.u32(1..=2) } else { 0 }),
        recommendations: Some(dice.u32(..4)),
        punishment: Some(None),
        experience: Some(EXPERIENCES[dice.usize(..EXPERIENCES.len())].to_owned()),
    };
    let mut player = Player::first_seen(&seen, now);
    player.demo = true;
    Ok(player)
}

/// The rank someone with `points` holds: mostly the fitting one, for one in ten still the one below it.
fn held_rank(policy: &Policy, points: i64, dice: &mut fastrand::Rng) -> Option<String> {
    let open = policy.ladder().ranks().iter().filter(|rank| !rank.privileged && rank.required_points <= points);
    let fitting = open.count();
    let behind = usize::from(dice.u32(..10) == 0);
    let place = fitting.checked_sub(1 + behind)?;
    policy.ladder().ranks().iter().filter(|rank| !rank.privileged).nth(place).map(|rank| rank.name.to_string())
}
