//! What a request to join is answered with. Pure.

use crate::base::{RobloxId, Time};
use crate::domains::players::{Player, Punishment};
use crate::domains::policy::{Action, Penalty, Policy, Standing};

/// How a request is answered; both with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept(String),
    Decline(String),
    /// A person decides.
    Leave,
}

/// Decides about `user`, of whom `player` is what we know.
pub fn decide(policy: &Policy, user: RobloxId, player: Option<&Player>, now: Time) -> Verdict {
    let rules = &policy.settings().join_requests;
    if policy.permissions().protects(user) {
        return Verdict::Leave;
    }
    match player.map_or(Record::Clean, |player| record(policy, player, now)) {
        Record::Banned if rules.decline_banned => return Verdict::Decline("banned".into()),
        Record::Banned | Record::Marked => return Verdict::Leave,
        Record::Clean => {}
    }
    if !rules.accept {
        return Verdict::Leave;
    }
    let needed = rules.min_points.unwrap_or(0);
    match player {
        None if rules.known_only || needed > 0 => Verdict::Leave,
        None => Verdict::Accept("everybody may join".into()),
        Some(player) if player.points < needed => Verdict::Leave,
        // Points that the bounds objected to open no doors.
        Some(player) if needed > 0 && player.flagged => Verdict::Leave,
        Some(player) => Verdict::Accept(format!("known, with {} points", player.points)),
    }
}

enum Record {
    Clean,
    Banned,
    /// Punished otherwise, or by a status that nobody explains.
    Marked,
}

fn record(policy: &Policy, player: &Player, now: Time) -> Record {
    let reports =
        |status: &str| player.punishment.as_deref().is_some_and(|told| told.trim().eq_ignore_ascii_case(status));
    let holds =
        |held: &Punishment| held.until.is_none_or(|until| now < until) && held.rests_on.as_deref().is_none_or(reports);
    let ours = player.punished().filter(holds).map(|held| held.action);
    let queued = player.decided.as_ref().filter(|open| open.is_queued() && open.punishes()).map(|open| open.action);
    let reported = match policy.punishments().standing(player.punishment.as_deref()) {
        Standing::Clear => None,
        Standing::Unknown(_) => return Record::Marked,
        Standing::Known(_, status) => Some(status.action),
    };
    if [ours, queued].contains(&Some(Action::Ban)) || reported == Some(Some(Penalty::Ban)) {
        return Record::Banned;
    }
    match (ours.or(queued), reported) {
        (None, None) => Record::Clean,
        _ => Record::Marked,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domains::players::Observation;
    use crate::domains::policy::FileKind;

    fn policy(rules: Value) -> Policy {
        let ranks =
            json!({"version": 1, "settings": {"joinRequests": rules}, "ranks": [{"name": "A", "requiredPoints": 0}]});
        let permissions = json!({"version": 1, "protectedUserIds": [9]});
        let punishments =
            json!({"version": 1, "statuses": {"banned": {"action": "BAN"}, "suspended": {"action": "SUSPEND"}}});
        let texts = [ranks.to_string(), permissions.to_string(), punishments.to_string()];
        Policy::from_texts(&[
            (FileKind::Ranks, &texts[0]),
            (FileKind::Permissions, &texts[1]),
            (FileKind::Punishments, &texts[2]),
        ])
        .unwrap_or_else(|report| panic!("{report}"))
    }

    fn player(points: i64, status: Option<&str>) -> Player {
        let seen = Observation {
            points: Some(points),
            punishment: Some(status.map(str::to_owned)),
            ..Observation::of(RobloxId::new(7).unwrap(), "Arc")
        };
        Player::first_seen(&seen, Time(0))
    }

    fn told(rules: Value, user: u64, player: Option<Player>) -> &'static str {
        match decide(&policy(rules), RobloxId::new(user).unwrap(), player.as_ref(), Time(5)) {
            Verdict::Accept(_) => "accept",
            Verdict::Decline(_) => "decline",
            Verdict::Leave => "leave",
        }
    }

    #[test]
    fn whoever_the_policy_wants_is_let_in() {
        assert_eq!(told(json!({}), 7, Some(player(500, None))), "leave", "off by default");
        let known = json!({"accept": true});
        assert_eq!(told(known.clone(), 7, Some(player(0, None))), "accept");
        assert_eq!(told(known.clone(), 7, None), "leave");
        assert_eq!(told(known, 9, Some(player(500, None))), "leave", "protected");
        let points = json!({"accept": true, "minPoints": 100});
        assert_eq!(told(points.clone(), 7, Some(player(99, None))), "leave");
        assert_eq!(told(points.clone(), 7, Some(player(100, None))), "accept");
        assert_eq!(told(points, 7, Some(Player { flagged: true, ..player(100, None) })), "leave");
        assert_eq!(told(json!({"accept": true, "knownOnly": false}), 7, None), "accept");
        assert_eq!(told(json!({"accept": true, "knownOnly": false, "minPoints": 1}), 7, None), "leave");
    }

    #[test]
    fn the_banned_are_declined_only_when_that_is_wanted() {
        let banned = || Some(player(500, Some("Banned")));
        assert_eq!(told(json!({"accept": true}), 7, banned()), "leave");
        assert_eq!(told(json!({"accept": true, "declineBanned": true}), 7, banned()), "decline");
        assert_eq!(told(json!({"declineBanned": true}), 7, banned()), "decline");
        assert_eq!(told(json!({"declineBanned": true}), 7, Some(player(500, None))), "leave");
        for marked in ["suspended", "shadowbanned"] {
            let rules = json!({"accept": true, "declineBanned": true});
            assert_eq!(told(rules, 7, Some(player(500, Some(marked)))), "leave", "{marked}");
        }
    }
}
