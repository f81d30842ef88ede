//! Bans and suspensions: by a status that calls for one, or by warnings. Each is carried out once.

use std::sync::Arc;
use std::time::Duration;

use crate::domains::policy::{Penalty, Standing, Threshold};

use super::text::{Lasting, counted};
use super::verdict::Judgement;
use super::{Case, Rule, warnings};

impl Case<'_> {
    /// The name of the reported status in the policy.
    pub(super) fn status_name(&self) -> Option<&str> {
        match self.policy.punishments().standing(self.subject.punishment_status) {
            Standing::Known(name, _) => Some(name),
            Standing::Clear | Standing::Unknown(_) => None,
        }
    }

    /// A BAN or SUSPEND that is due, or NONE while one is in force. `None`: nothing stands against moving on the ladder.
    pub(super) fn punish(&mut self) -> Option<Judgement> {
        let in_force = self.in_force();
        let threshold = self.due_threshold();
        let by_status = self.called_for(in_force);
        let by_warnings = threshold.as_ref().filter(|step| outranks(step.action, in_force)).map(|step| step.action);
        // The more severe first; with equals the status, since a person gave it.
        match (by_status, by_warnings) {
            (Some(status), Some(warned)) if warned < status => self.act_on_warnings(threshold.as_ref()),
            (Some(status), _) => Some(self.act_on_status(status)),
            (None, Some(_)) => self.act_on_warnings(threshold.as_ref()),
            (None, None) => in_force.map(|penalty| self.still_in_force(penalty)),
        }
    }

    /// The most severe punishment that holds now: ours, or the reported status once it was carried out.
    fn in_force(&self) -> Option<Penalty> {
        let reported = self.status_penalty().filter(|_| self.marks.acted_status.is_some());
        self.held().into_iter().chain(reported).min()
    }

    /// The punishment of ours that holds now.
    pub(super) fn held(&self) -> Option<Penalty> {
        self.subject.in_force.filter(|punishment| punishment.holds(self.now)).map(|held| held.penalty)
    }

    /// What the reported status calls for.
    pub(super) fn status_penalty(&self) -> Option<Penalty> {
        match self.policy.punishments().standing(self.subject.punishment_status) {
            Standing::Known(_, status) => status.action,
            Standing::Clear | Standing::Unknown(_) => None,
        }
    }

    /// The punishment the reported status calls for and nobody has carried out.
    fn called_for(&self, in_force: Option<Penalty>) -> Option<Penalty> {
        self.status_penalty().filter(|penalty| outranks(*penalty, in_force))
    }

    fn due_threshold(&mut self) -> Option<Threshold> {
        let rules = &self.policy.punishments().warnings;
        if rules.thresholds.is_empty() {
            return None;
        }
        let due = rules.due(self.warnings, self.marks.acted_warning_threshold).cloned();
        let rule = match (&due, rules.ahead(self.warnings)) {
            (Some(step), _) => {
                let text = format!("{} reached the threshold of {}", warnings(self.warnings), step.at);
                Rule::number("warningThreshold", false, (self.warnings, step.at), text)
            }
            (None, Some(at)) => {
                let text = format!("{}; the next threshold is {at}", warnings(self.warnings));
                Rule::number("warningThreshold", true, (self.warnings, at), text)
            }
            (None, None) => {
                let text = format!("{}; every threshold was acted on", warnings(self.warnings));
                let at = self.marks.acted_warning_threshold.unwrap_or(self.warnings);
                Rule::number("warningThreshold", true, (self.warnings, at), text)
            }
        };
        self.rule(rule);
        due
    }

    fn act_on_status(&mut self, penalty: Penalty) -> Judgement {
        let name = self.status_name().unwrap_or_default().to_owned();
        let verb = if penalty == Penalty::Ban { "a ban" } else { "a suspension" };
        let reason = format!("Status \"{name}\" calls for {verb}");
        self.rule(Rule::flag("status", false, reason.clone()));
        let name: Arc<str> = name.into();
        Judgement { status: Some(Arc::clone(&name)), rests_on: Some(name), ..Judgement::new(penalty.into(), reason) }
    }

    fn act_on_warnings(&mut self, threshold: Option<&Threshold>) -> Option<Judgement> {
        let step = threshold?;
        let count = warnings(self.warnings);
        let (reason, suspend_for) = match step.action {
            Penalty::Ban => (format!("{count}: a ban is due at {}", step.at), None),
            Penalty::Suspend => {
                let hours = u64::from(step.hours.unwrap_or(1));
                let lasts = counted(i64::try_from(hours).unwrap_or(i64::MAX), "hour");
                let reason = format!("{count}: a suspension of {lasts} is due at {}", step.at);
                (reason, Some(Duration::from_secs(hours * 3600)))
            }
            Penalty::Demote => return self.fall_for_warnings(step),
        };
        let status = self.policy.punishments().status_for(step.action).map(|(name, _)| name.into());
        let acts_on_threshold = Some(step.at);
        Some(Judgement { suspend_for, status, acts_on_threshold, ..Judgement::new(step.action.into(), reason) })
    }

    fn still_in_force(&mut self, penalty: Penalty) -> Judgement {
        let held = if penalty == Penalty::Ban { "Banned" } else { "Suspended" };
        let left = self.subject.in_force.and_then(|punishment| punishment.until).map(|until| until.since(self.now));
        let reason = match left {
            Some(left) => format!("{held}: {} left", Lasting(left.as_secs().max(1))),
            None => format!("{held} until it is lifted"),
        };
        self.rule(Rule::flag("punishment", false, reason.clone()));
        Judgement::wait(reason)
    }
}

/// Whether a penalty may follow while another holds: only a ban upon a suspension.
fn outranks(penalty: Penalty, in_force: Option<Penalty>) -> bool {
    in_force.is_none_or(|held| penalty < held)
}
