//! What a decision stands for on Roblox.

use std::time::Duration;

use crate::base::Id;
use crate::domains::policy::{Action, PunishmentsFile};
use crate::remote::roblox::Wanted;

/// What a private reason begins with, so that our restrictions can be told from those of others.
pub const OURS: &str = "grps ";

/// A decision, as far as it matters outside.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub id: Id,
    pub action: Action,
    /// It undoes a punishment.
    pub lifts: bool,
    /// The rank that PROMOTE and DEMOTE lead to, and that comes back when a punishment ends; none for none.
    pub target_rank: Option<&'a str>,
    /// The status of the policy that says how a punishment is carried out.
    pub standing: Option<&'a str>,
    pub suspend_for: Option<Duration>,
    pub reason: &'a str,
}

/// How names become role ids; the text says why one does not.
pub trait Names {
    fn rank(&self, rank: &str) -> Result<u64, String>;
    fn group_role(&self, name: &str) -> Result<u64, String>;
}

/// What shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The one of our roles to hold: `Some(None)` for none of them, `None` to leave roles alone.
    pub role: Option<Option<u64>>,
    /// None: restrictions are left alone.
    pub restriction: Option<Wanted>,
    /// Whether it makes sense for somebody who is not in the group.
    pub for_guests: bool,
}

/// What `subject` asks for under the punishments in force.
///
/// # Errors
/// Why it cannot be done, for people: a role that is not in the group.
pub fn goal(subject: &Subject<'_>, punishments: &PunishmentsFile, names: &impl Names) -> Result<Goal, String> {
    if matches!(subject.action, Action::Promote | Action::Demote | Action::None) && !subject.lifts {
        let role = subject.target_rank.map(|rank| names.rank(rank)).transpose()?;
        return Ok(Goal { role: Some(role), restriction: None, for_guests: false });
    }
    let status = subject.standing.and_then(|name| punishments.statuses.get(name));
    let group_role = status.and_then(|status| status.group_role.as_deref());
    let bans = status.is_some_and(|status| status.experience_ban);
    let (role, restriction) = if subject.lifts {
        let restores = status.is_some_and(|status| status.restore_rank_after);
        let back = subject.target_rank.filter(|_| restores).map(|rank| names.rank(rank)).transpose()?;
        (group_role.map(|_| back), bans.then_some(Wanted::Free))
    } else {
        let role = group_role.map(|name| names.group_role(name)).transpose()?;
        (role.map(Some), bans.then(|| kept_out(subject, punishments)))
    };
    Ok(Goal { role, restriction, for_guests: true })
}

fn kept_out(subject: &Subject<'_>, punishments: &PunishmentsFile) -> Wanted {
    Wanted::KeptOut {
        duration: subject.suspend_for.filter(|_| subject.action == Action::Suspend),
        private_reason: format!("{OURS}{}: {}", subject.id, subject.reason),
        display_reason: punishments.display_reason.clone(),
        exclude_alts: punishments.exclude_alt_accounts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::policy::Policy;

    struct Group;

    impl Names for Group {
        fn rank(&self, rank: &str) -> Result<u64, String> {
            (rank == "Storm Corporal I").then_some(40).ok_or_else(|| format!("no role {rank}"))
        }
        fn group_role(&self, name: &str) -> Result<u64, String> {
            (name == "Suspended").then_some(5).ok_or_else(|| format!("no role {name}"))
        }
    }

    fn subject(action: Action) -> Subject<'static> {
        Subject {
            id: Id(7),
            action,
            lifts: false,
            target_rank: None,
            standing: None,
            suspend_for: None,
            reason: "3 warnings",
        }
    }

    fn asked(subject: &Subject<'_>) -> Result<Goal, String> {
        goal(subject, Policy::builtin().punishments(), &Group)
    }

    #[test]
    fn a_move_is_one_role_and_nothing_else() {
        let to = |rank| Subject { target_rank: rank, ..subject(Action::Promote) };
        let goal = |role| Goal { role: Some(role), restriction: None, for_guests: false };
        assert_eq!(asked(&to(Some("Storm Corporal I"))), Ok(goal(Some(40))));
        assert_eq!(asked(&to(None)), Ok(goal(None)));
        assert_eq!(asked(&to(Some("Gone"))), Err("no role Gone".to_owned()));
    }

    #[test]
    fn a_suspension_moves_to_its_role_and_keeps_out_for_its_time() {
        let day = Some(Duration::from_secs(86_400));
        let suspend = Subject { standing: Some("suspended"), suspend_for: day, ..subject(Action::Suspend) };
        let found = asked(&suspend).unwrap();
        assert_eq!((found.role, found.for_guests), (Some(Some(5)), true));
        let Some(Wanted::KeptOut { duration, private_reason, display_reason, exclude_alts }) = found.restriction else {
            panic!("kept out")
        };
        assert_eq!((duration, exclude_alts), (day, false));
        assert!(private_reason.starts_with(OURS) && private_reason.ends_with("3 warnings"), "{private_reason}");
        assert_eq!(display_reason, "Removed by group moderation.");
    }

    #[test]
    fn its_end_brings_the_rank_back() {
        let lift =
            |rank| Subject { lifts: true, target_rank: rank, standing: Some("suspended"), ..subject(Action::Suspend) };
        let back = asked(&lift(Some("Storm Corporal I"))).unwrap();
        assert_eq!((back.role, back.restriction), (Some(Some(40)), Some(Wanted::Free)));
        assert_eq!(asked(&lift(None)).unwrap().role, Some(None));
    }

    #[test]
    fn a_ban_is_for_good_and_leaves_roles_alone_unless_the_policy_names_one() {
        let ban =
            Subject { standing: Some("banned"), suspend_for: Some(Duration::from_secs(5)), ..subject(Action::Ban) };
        let found = asked(&ban).unwrap();
        assert_eq!(found.role, None);
        assert!(matches!(found.restriction, Some(Wanted::KeptOut { duration: None, .. })));
        let unknown = Subject { standing: None, ..subject(Action::Ban) };
        assert_eq!(asked(&unknown), Ok(Goal { role: None, restriction: None, for_guests: true }));
    }
}
