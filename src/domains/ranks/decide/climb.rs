//! Promotion: step by step, every condition of every step. A step that fails ends the climb where it stands.

use std::time::Duration;

use crate::domains::policy::{Action, Rank, Standing};

use super::text::{Lasting, counted};
use super::verdict::Judgement;
use super::{Case, Rule, warnings};

impl Case<'_> {
    /// PROMOTE as far as the conditions reach, or NONE with the first one that is not met.
    pub(super) fn climb(&mut self) -> Judgement {
        let ladder = self.policy.ladder();
        let start = self.place.map_or(0, |place| place + 1);
        let Some(next) = ladder.get(start) else {
            let top = self.place.and_then(|place| ladder.get(place)).map_or("", |rank| &rank.name);
            return Judgement::none(format!("{top} is the highest rank"));
        };
        if let Some(reason) = self.hindered(next) {
            return Judgement::none(reason);
        }
        let most = self.policy.settings().max_steps_per_decision as usize;
        let (mut reached, mut approval) = (None, self.subject.points_flagged);
        for (step, rank) in ladder.ranks()[start..].iter().take(most).enumerate() {
            if let Some(missing) = self.unmet(rank, step == 0) {
                if reached.is_none() {
                    return Judgement::none(missing);
                }
                break;
            }
            approval |= rank.requires_approval;
            reached = Some(rank.name.clone());
        }
        if self.subject.points_flagged {
            let text = "The points jumped more than is believable: a person must look first".to_owned();
            self.rule(Rule::flag("pointsBelieved", false, text));
        }
        let reason = "Eligible for promotion".to_owned();
        Judgement { target_rank: reached, requires_approval: approval, ..Judgement::new(Action::Promote, reason) }
    }

    /// What stands against any promotion at all.
    fn hindered(&mut self, next: &Rank) -> Option<String> {
        let mut reason = None;
        if let Standing::Known(name, status) = self.policy.punishments().standing(self.subject.punishment_status) {
            let blocks = status.blocks_promotion;
            let text = format!("Status \"{name}\" {} promotion", if blocks { "blocks" } else { "allows" });
            self.rule(Rule::flag("status", !blocks, text.clone()));
            reason = blocks.then_some(text);
        }
        if let Some(most) = self.policy.settings().max_warnings_for_promotion {
            let passed = self.warnings <= most;
            let (count, name) = (warnings(self.warnings), &next.name);
            let text = format!("{count}; at most {most} for promotion to {name}");
            self.rule(Rule::number("warnings", passed, (self.warnings, most), text));
            reason = reason.or_else(|| {
                (!passed).then(|| format!("{} too many for {name} (at most {most})", warnings(self.warnings - most)))
            });
        }
        reason
    }

    /// The first condition of `rank` that is not met; all of them are written down.
    fn unmet(&mut self, rank: &Rank, first: bool) -> Option<String> {
        let name = &rank.name;
        let mut missing = None;
        let mut asks = [
            self.asks_points(rank),
            self.asks_privilege(rank),
            self.asks_kos(rank),
            self.asks_recommendations(rank),
            self.asks_time(rank, first),
            self.asks_experience(rank),
        ];
        for (rule, reason) in asks.iter_mut().filter_map(Option::take) {
            if missing.is_none() && !rule.passed {
                missing = Some(reason.unwrap_or_else(|| format!("{name} is out of reach")));
            }
            self.rules.push(rule);
        }
        missing
    }

    fn asks_points(&self, rank: &Rank) -> Asked {
        Some(self.at_least("points", "point", (self.subject.points, rank.promote_at), rank))
    }

    fn asks_kos(&self, rank: &Rank) -> Asked {
        (rank.min_kos > 0).then(|| self.at_least("kos", "KO", (self.subject.kos, rank.min_kos), rank))
    }

    fn asks_recommendations(&self, rank: &Rank) -> Asked {
        let figures = (i64::from(self.subject.recommendations), i64::from(rank.min_recommendations));
        (figures.1 > 0).then(|| self.at_least("recommendations", "recommendation", figures, rank))
    }

    fn asks_privilege(&self, rank: &Rank) -> Asked {
        rank.privileged.then(|| {
            let text = format!("{} is privileged: only a person may grant it", rank.name);
            (Rule::flag("privileged", false, text.clone()), Some(text))
        })
    }

    fn asks_time(&self, rank: &Rank, first: bool) -> Asked {
        let needed = rank.min_time_in_previous;
        let holds = self.place.and_then(|place| self.policy.ladder().get(place)).filter(|_| !needed.is_zero())?;
        // A step further up starts from a rank that has not been held at all.
        let since = self.subject.rank_since.filter(|_| first);
        let held = since.map_or(Duration::ZERO, |since| self.now.since(since));
        let (held, needed) = (held.as_secs(), needed.as_secs());
        let passed = held >= needed;
        let text = format!("{} as {} of {}", Lasting(held), holds.name, Lasting(needed));
        let short = (!passed).then(|| {
            format!(
                "{} short of {} ({} as {} required)",
                Lasting(needed - held),
                rank.name,
                Lasting(needed),
                holds.name
            )
        });
        Some((Rule::number("hoursInRank", passed, (held / 3600, needed / 3600), text), short))
    }

    fn asks_experience(&self, rank: &Rank) -> Asked {
        if rank.experiences.is_empty() {
            return None;
        }
        let here = self.subject.experience;
        let passed = here.is_some_and(|here| rank.experiences.iter().any(|allowed| allowed == here));
        let allowed = rank.experiences.join(", ");
        let text = format!("{} is earned in {allowed}; this is {}", rank.name, here.unwrap_or("no known experience"));
        Some((Rule::flag("experience", passed, text.clone()), Some(text)))
    }

    fn at_least(
        &self,
        rule: &'static str,
        noun: &str,
        (value, limit): (i64, i64),
        rank: &Rank,
    ) -> (Rule, Option<String>) {
        let passed = value >= limit;
        let text = format!("{} of {limit} for {}", counted(value, noun), rank.name);
        let short = (!passed).then(|| {
            format!("{} short of {} ({limit} required)", counted(limit.saturating_sub(value), noun), rank.name)
        });
        (Rule::number(rule, passed, (value, limit), text), short)
    }
}

/// A rule and, when it is not met, the reason to give; `None` when the rank does not ask.
type Asked = Option<(Rule, Option<String>)>;
