//! What a decision stands for on Roblox.

use std::time::Duration;

use crate::base::Id;
use crate::domains::policy::{Action, PunishmentsFile};
use crate::remote::roblox::Wanted;

use super::restriction::{Restrict, signature};

/// A decision, as far as it matters outside.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub id: Id,
    pub action: Action,
    /// The rank that PROMOTE and DEMOTE lead to; none for none.
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
    pub restriction: Option<Restrict>,
    pub kind: Kind,
}

/// What a goal is for; it decides what may stand against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A rank of the ladder.
    Rank,
    /// A punishment. It concerns those who left the group, too.
    Punishment,
    /// What was before: the end of a punishment, or of something begun.
    Return,
}

/// What a PROMOTE, DEMOTE, SUSPEND or BAN asks for under the punishments in force.
///
/// # Errors
/// Why it cannot be done, for people: a role that is not in the group, a punishment that the policy does not explain.
pub fn goal(subject: &Subject<'_>, punishments: &PunishmentsFile, names: &impl Names) -> Result<Goal, String> {
    if matches!(subject.action, Action::Promote | Action::Demote | Action::None) {
        let role = subject.target_rank.map(|rank| names.rank(rank)).transpose()?;
        return Ok(Goal { role: Some(role), restriction: None, kind: Kind::Rank });
    }
    let status =
        subject.standing.and_then(|name| punishments.statuses.get(name)).ok_or_else(|| unexplained(subject))?;
    let role = status.group_role.as_deref().map(|name| names.group_role(name)).transpose()?;
    let restriction = status.experience_ban.then(|| kept_out(subject, punishments));
    Ok(Goal { role: role.map(Some), restriction, kind: Kind::Punishment })
}

fn unexplained(subject: &Subject<'_>) -> String {
    let action = subject.action.as_str();
    match subject.standing {
        Some(name) => format!("policy.punishments.json has no status \"{name}\" any more, which said how to {action}"),
        None => {
            format!("no status of policy.punishments.json has \"action\": \"{action}\", so nothing says how to do it")
        }
    }
}

fn kept_out(subject: &Subject<'_>, punishments: &PunishmentsFile) -> Restrict {
    Restrict::Keep(Wanted::KeptOut {
        duration: subject.suspend_for.filter(|_| subject.action == Action::Suspend),
        private_reason: format!("{} {}", signature(subject.id), subject.reason),
        display_reason: punishments.display_reason.clone(),
        exclude_alts: punishments.exclude_alt_accounts,
    })
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
        Subject { id: Id(7), action, target_rank: None, standing: None, suspend_for: None, reason: "3 warnings" }
    }

    fn asked(subject: &Subject<'_>) -> Result<Goal, String> {
        goal(subject, Policy::builtin().punishments(), &Group)
    }

    #[test]
    fn a_move_is_one_role_and_nothing_else() {
        let to = |rank| Subject { target_rank: rank, ..subject(Action::Promote) };
        let goal = |role| Goal { role: Some(role), restriction: None, kind: Kind::Rank };
        assert_eq!(asked(&to(Some("Storm Corporal I"))), Ok(goal(Some(40))));
        assert_eq!(asked(&to(None)), Ok(goal(None)));
        assert_eq!(asked(&to(Some("Gone"))), Err("no role Gone".to_owned()));
    }

    #[test]
    fn a_suspension_moves_to_its_role_and_keeps_out_for_its_time() {
        let day = Some(Duration::from_secs(86_400));
        let suspend = Subject { standing: Some("suspended"), suspend_for: day, ..subject(Action::Suspend) };
        let found = asked(&suspend).unwrap();
        assert_eq!((found.role, found.kind), (Some(Some(5)), Kind::Punishment));
        let Some(Restrict::Keep(Wanted::KeptOut { duration, private_reason, display_reason, exclude_alts })) =
            found.restriction
        else {
            panic!("kept out")
        };
        assert_eq!((duration, exclude_alts), (day, false));
        assert!(private_reason.starts_with(&signature(Id(7))) && private_reason.ends_with("3 warnings"));
        assert_eq!(display_reason, "Removed by group moderation.");
    }

    #[test]
    fn a_ban_is_for_good_and_leaves_roles_alone_unless_the_policy_names_one() {
        let ban =
            Subject { standing: Some("banned"), suspend_for: Some(Duration::from_secs(5)), ..subject(Action::Ban) };
        let found = asked(&ban).unwrap();
        assert_eq!(found.role, None);
        assert!(matches!(found.restriction, Some(Restrict::Keep(Wanted::KeptOut { duration: None, .. }))));
    }

    #[test]
    fn what_the_policy_does_not_explain_is_not_told_done() {
        assert!(asked(&subject(Action::Ban)).unwrap_err().contains("\"action\": \"BAN\""));
        let renamed = Subject { standing: Some("suspendido"), ..subject(Action::Suspend) };
        assert!(asked(&renamed).unwrap_err().contains("suspendido"));
    }
}
