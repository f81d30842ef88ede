//! The decision engine: a pure function of (policy, player, now). It reads no clock and no store and changes nothing; whoever calls it
//! stores what it answers.
//!
//! Precedence is BAN > SUSPEND > DEMOTE > PROMOTE > NONE, and it reads top to bottom in [`decide`]:
//!
//! 1. **Left alone.** Protected users, holders of privileged ranks, of ranks not on the ladder, and players with a status the policy
//!    does not explain get NONE with `decisions_blocked`. Automation never grants a privileged rank either: climbs stop below one,
//!    and demotions that would land on one are left to a person.
//! 2. **Punishments** (`punish`): a status that calls for one, or warnings that reached a threshold; each once, see [`Marks`].
//!    While a suspension is in force only a ban may follow; while a ban is, nothing.
//! 3. **Demotion** (`fall`): for warnings at once, for points after the grace time.
//! 4. **Promotion** (`climb`): step by step, every condition of every step.
//!
//! Whatever rests on doubtful facts is decided, but waits for a person (`requires_approval`): a rank that differs between game and
//! server, points flagged as unbelievable. Nothing is ever punished or promoted automatically because of a doubt.

mod climb;
mod explain;
mod fall;
mod punish;
mod subject;
mod text;
mod verdict;

#[cfg(test)]
mod tests;

pub use explain::{Explanation, explain};
pub use subject::{InForce, LastDecision, Marks, RankReport, STALE_RANK, Subject};
pub use verdict::{Rule, Verdict};

use crate::base::Time;
use crate::domains::policy::{Action, Block, Policy};
use text::{Lasting, counted};
use verdict::Judgement;

/// Decides about one player at `now`. Pure and quick (microseconds, whatever the length of the ladder).
pub fn decide(policy: &Policy, subject: &Subject<'_>, now: Time) -> Verdict {
    let mut case = Case::new(policy, subject, now);
    if let Some(blocked) = case.left_alone() {
        return case.close(blocked);
    }
    case.check_rank_report();
    let judged = match case.punish() {
        Some(judged) => judged,
        None => case.move_on_ladder(),
    };
    case.close(judged)
}

/// One decision being made: the facts, the marks as they will be stored, and the rules gone through so far.
struct Case<'a> {
    policy: &'a Policy,
    subject: &'a Subject<'a>,
    now: Time,
    /// Place of the stored rank on the ladder; `None` without a rank.
    place: Option<usize>,
    /// Warnings that still count.
    warnings: u32,
    report: RankReport,
    marks: Marks,
    rules: Vec<Rule>,
}

impl<'a> Case<'a> {
    fn new(policy: &'a Policy, subject: &'a Subject<'a>, now: Time) -> Self {
        let rules = &policy.punishments().warnings;
        let warnings = rules.counting(subject.warnings, subject.last_warning_at, now);
        let place = subject.rank.and_then(|rank| policy.ladder().find(rank));
        let report = subject.rank_report(policy.ladder(), now);
        let mut case = Self {
            policy,
            subject,
            now,
            place,
            warnings,
            report,
            marks: subject.marks.clone(),
            rules: Vec::with_capacity(12),
        };
        case.renew_marks();
        case
    }

    /// Marks of what is no longer so are taken away: then it can act again when it comes back.
    fn renew_marks(&mut self) {
        let reached = self.policy.punishments().warnings.reached(self.warnings);
        self.marks.acted_warning_threshold = self.marks.acted_warning_threshold.min(reached);
        if self.marks.acted_status.as_deref() != self.status_name() {
            self.marks.acted_status = None;
        }
        // A status that shows up while we hold as severe a punishment is that punishment, seen from the game.
        if matches!((self.held(), self.status_penalty()), (Some(held), Some(called)) if held <= called) {
            self.marks.acted_status = self.status_name().map(Into::into);
        }
        let holds = self.place.and_then(|place| self.policy.ladder().get(place));
        self.marks.points_below_since = match holds {
            Some(rank) if self.subject.points < rank.demote_below => {
                // A clock that ran under a former rank does not count against this one.
                let since = self.marks.points_below_since.unwrap_or(self.now);
                Some(since.max(self.subject.rank_since.unwrap_or(since)).min(self.now))
            }
            _ => None,
        };
    }

    /// Whom automation does not touch.
    fn left_alone(&mut self) -> Option<Judgement> {
        let block = self.policy.block(self.subject.user, self.subject.rank, self.subject.punishment_status);
        // A privileged rank given by hand on Roblox counts at once, whatever the server has stored.
        let seen = self.subject.reported_rank.and_then(|rank| self.policy.ladder().rank(rank));
        let seen = seen.filter(|rank| rank.privileged).map(|rank| Block::Privileged(&rank.name));
        let block = block.or(seen)?;
        let reason = block.to_string();
        let name = match block {
            Block::Protected => "protected",
            Block::Privileged(_) => "privileged",
            Block::UnknownRank(_) => "rankKnown",
            Block::UnknownStatus(_) => "statusKnown",
        };
        self.rules.push(Rule::flag(name, false, reason.clone()));
        Some(Judgement { decisions_blocked: true, ..Judgement::none(reason) })
    }

    fn check_rank_report(&mut self) {
        let (Some(reported), Some(stored)) = (self.subject.reported_rank, self.subject.rank) else { return };
        match self.report {
            RankReport::Agrees => {}
            RankReport::Stale => self.rule(Rule::flag(
                "rankReport",
                true,
                format!("The game reported {reported} before it could know of {stored}, which was decided since"),
            )),
            RankReport::Drift => self.rule(Rule::flag(
                "rankReport",
                false,
                format!("The game reports {reported}, this server holds {stored}: a person settles which is right"),
            )),
        }
    }

    /// Demotion, else promotion, else nothing; none of them while cooling down.
    fn move_on_ladder(&mut self) -> Judgement {
        if let Some(waiting) = self.cooling_down() {
            return waiting;
        }
        match self.fall() {
            Some(judged) if judged.action == Action::Demote => judged,
            kept => {
                let climbed = self.climb();
                // Below the points that keep the rank, the demotion ahead is what a moderator must know, not the promotion missed.
                if climbed.action == Action::None { kept.unwrap_or(climbed) } else { climbed }
            }
        }
    }

    fn cooling_down(&mut self) -> Option<Judgement> {
        let cooldown = self.policy.settings().cooldown_seconds;
        let last = self.subject.last_decision.as_ref().filter(|_| cooldown > 0)?;
        let passed = self.now.since(last.at).as_secs();
        let done = passed >= cooldown;
        let text = if done {
            format!("Cooled down since the last decision ({})", Lasting(cooldown))
        } else {
            format!(
                "Cooling down after the last decision: {} left of {}",
                Lasting(cooldown - passed),
                Lasting(cooldown)
            )
        };
        self.rule(Rule::number("cooldownSeconds", done, (passed, cooldown), text.clone()));
        (!done).then(|| Judgement::wait(text))
    }

    fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    fn close(self, judged: Judgement) -> Verdict {
        let settings = self.policy.settings();
        let doubtful =
            matches!(self.report, RankReport::Drift) && matches!(judged.action, Action::Promote | Action::Demote);
        let approval = self.policy.punishments().approval.needed(judged.action);
        let mut marks_if_applied = self.marks.clone();
        if judged.action == Action::Demote {
            marks_if_applied.points_below_since = None;
        }
        if let Some(threshold) = judged.acts_on_threshold {
            marks_if_applied.acted_warning_threshold = marks_if_applied.acted_warning_threshold.max(Some(threshold));
        }
        if let Some(status) = &judged.status {
            marks_if_applied.acted_status = Some(status.clone());
        }
        Verdict {
            action: judged.action,
            target_rank: judged.target_rank,
            reason: judged.reason,
            explain: self.rules,
            decisions_blocked: judged.decisions_blocked,
            requires_approval: judged.requires_approval || approval || doubtful,
            mode: settings.mode,
            suspend_for: judged.suspend_for,
            status: judged.status,
            rests_on: judged.rests_on,
            holds_open: judged.holds_open,
            policy_version: self.policy.version().clone(),
            rank_report: self.report,
            marks: self.marks,
            marks_if_applied,
        }
    }
}

/// `3 warnings`, for the texts of several rules.
fn warnings(count: u32) -> String {
    counted(i64::from(count), "warning")
}
