//! The wire forms of snapshots and decisions, as the seed's clients know them.

use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::base::{Error, Result, RobloxId};
use crate::domains::players::{Observation, PlayerView, Status};
use crate::domains::ranks::decide::Rule;
use crate::domains::ranks::outcome::Outcome;
use crate::http::wire::{RobloxIdIn, RobloxIdOut};

/// A snapshot of one player, as a game server posts it.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct PlayerActivity {
    pub user_id: RobloxIdIn,
    /// 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub username: String,
    #[oai(validator(max_length = 64))]
    pub display_name: MaybeUndefined<String>,
    /// The rank the game sees; left out, the stored one stays.
    #[oai(validator(max_length = 64))]
    pub rank: MaybeUndefined<String>,
    /// The points the game sees.
    #[oai(validator(minimum(value = "-9007199254740991"), maximum(value = "9007199254740991")))]
    pub rank_points: Option<i64>,
    /// Knock-outs.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub kos: Option<i64>,
    /// Wipe-outs.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub wos: Option<i64>,
    #[oai(validator(maximum(value = "1000000")))]
    pub warnings: Option<u32>,
    #[oai(validator(maximum(value = "1000000")))]
    pub recommendations: Option<u32>,
    /// `suspended`, `banned`, `probation` or another status of `policy.punishments.json`; null when there is none.
    #[oai(validator(max_length = 64))]
    pub punishment_status: MaybeUndefined<String>,
    pub experience: Option<ExperienceView>,
}

/// Where the snapshot was taken.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct ExperienceView {
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub universe_id: Option<i64>,
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub place_id: Option<i64>,
    #[oai(validator(max_length = 128))]
    pub server: Option<String>,
}

impl poem_openapi::types::Example for PlayerActivity {
    /// The seed's own example.
    fn example() -> Self {
        let said = |text: &str| MaybeUndefined::Value(text.to_owned());
        Self {
            user_id: RobloxIdIn(RobloxId::EXAMPLE),
            username: "ArcTrooper".into(),
            display_name: said("Arc"),
            rank: said("Volt Specialist II"),
            rank_points: Some(520),
            kos: Some(84),
            wos: Some(12),
            warnings: Some(1),
            recommendations: Some(0),
            punishment_status: MaybeUndefined::Null,
            experience: Some(ExperienceView {
                universe_id: Some(987_654_321),
                place_id: Some(1_234_567_890),
                server: Some("vip-3".into()),
            }),
        }
    }
}

impl PlayerActivity {
    /// What it says about the player. `experience` is the `x-roblox-experience` header.
    pub fn observation(self, experience: Option<String>) -> Observation {
        Observation {
            user_id: self.user_id.0,
            username: self.username,
            display_name: said(self.display_name),
            rank: said(self.rank),
            points: self.rank_points,
            kos: self.kos,
            wos: self.wos,
            warnings: self.warnings,
            recommendations: self.recommendations,
            punishment: said(self.punishment_status),
            experience,
        }
    }
}

/// Not said is not the same as null; an empty text is null.
fn said(field: MaybeUndefined<String>) -> Option<Option<String>> {
    match field {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(text) => Some(Some(text).filter(|text| !text.is_empty())),
    }
}

/// What a snapshot brought.
#[derive(Debug, Object, Serialize)]
pub struct SnapshotIngestResponse {
    /// The player as evaluated: before any effect of the decision.
    pub player: PlayerView,
    /// Null unless `x-grps-evaluate` is true.
    pub decision: Option<DecisionView>,
}

/// What a decision does, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "UPPERCASE")]
#[serde(rename_all = "UPPERCASE")]
pub enum ActionView {
    Ban,
    Suspend,
    Demote,
    Promote,
    None,
}

/// Where a decision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum StatusView {
    Proposed,
    Queued,
    Applied,
    Failed,
    Blocked,
}

/// One rule the decision rests on.
#[derive(Debug, Object, Serialize)]
pub struct RuleView {
    /// A stable name, such as `points` or `warnings`.
    pub rule: String,
    pub passed: bool,
    /// What the player has, where the rule compares numbers.
    pub value: Option<i64>,
    /// What the rule asks for or allows.
    pub limit: Option<i64>,
    /// The rule and its outcome as a sentence.
    pub text: String,
}

/// A decision.
#[derive(Debug, Object, Serialize)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    pub action: ActionView,
    /// Where PROMOTE and DEMOTE lead.
    pub target_rank: Option<String>,
    pub reason: String,
    /// Whether it takes effect because of this request.
    pub apply: bool,
    /// The decision's id: 16 lower-case hex characters.
    pub request_id: String,
    /// Left out when there is nothing to do.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusView>,
    /// Why it does not take effect although that was asked for, or why it failed.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_reason: Option<String>,
    /// The policy set that decided.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// The rules gone through, in order; left out with `x-grps-explain: false`.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Vec<RuleView>>,
}

impl From<crate::domains::policy::Action> for ActionView {
    fn from(action: crate::domains::policy::Action) -> Self {
        use crate::domains::policy::Action;
        match action {
            Action::Ban => Self::Ban,
            Action::Suspend => Self::Suspend,
            Action::Demote => Self::Demote,
            Action::Promote => Self::Promote,
            Action::None => Self::None,
        }
    }
}

impl From<Status> for StatusView {
    fn from(status: Status) -> Self {
        match status {
            Status::Proposed => Self::Proposed,
            Status::Queued => Self::Queued,
            Status::Applied => Self::Applied,
            Status::Failed => Self::Failed,
            Status::Blocked => Self::Blocked,
        }
    }
}

impl From<Rule> for RuleView {
    fn from(rule: Rule) -> Self {
        Self {
            rule: rule.rule.into_owned(),
            passed: rule.passed,
            value: rule.value,
            limit: rule.limit,
            text: rule.text,
        }
    }
}

/// How much of a decision is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    Explained,
    /// The seed's five fields and nothing else.
    Seed,
}

impl DecisionView {
    pub fn of(outcome: Outcome, detail: Detail) -> Self {
        let explained = detail == Detail::Explained;
        Self {
            action: outcome.action.into(),
            target_rank: outcome.target_rank,
            reason: outcome.reason,
            apply: outcome.apply,
            request_id: outcome.id.to_string(),
            status: outcome.status.map(StatusView::from).filter(|_| explained),
            blocked_reason: outcome.blocked_reason.filter(|_| explained),
            policy_version: explained.then_some(outcome.policy_version),
            explain: explained.then(|| outcome.explain.into_iter().map(RuleView::from).collect()),
        }
    }
}

/// Whom to decide about: exactly one of `userId`, `userIds` and `all`.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct DecisionRequest {
    pub user_id: Option<RobloxIdIn>,
    /// At most 500.
    #[oai(validator(max_items = 500))]
    pub user_ids: Option<Vec<RobloxIdIn>>,
    /// Everyone, a page at a time.
    #[oai(default)]
    pub all: bool,
    /// With `all`: players a page, 1 to 500.
    #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "500")))]
    pub limit: u32,
    /// With `all`: `nextCursor` of the page before.
    pub cursor: Option<String>,
    /// Whether the decisions take effect.
    #[oai(default)]
    pub apply: bool,
}

fn default_limit() -> u32 {
    100
}

impl poem_openapi::types::Example for DecisionRequest {
    fn example() -> Self {
        let one = RobloxIdIn(RobloxId::EXAMPLE);
        Self { user_id: Some(one), user_ids: None, all: false, limit: default_limit(), cursor: None, apply: false }
    }
}

/// Whom a request names.
pub enum Whom {
    These(Vec<RobloxId>),
    Everyone,
}

impl DecisionRequest {
    /// # Errors
    /// `request.invalid` unless exactly one of the three is given.
    pub fn whom(&self) -> Result<Whom> {
        match (&self.user_id, &self.user_ids, self.all) {
            (Some(one), None, false) => Ok(Whom::These(vec![one.0])),
            (None, Some(many), false) => Ok(Whom::These(many.iter().map(|id| id.0).collect())),
            (None, None, true) => Ok(Whom::Everyone),
            _ => Err(Error::field(&["body"], "one_of", "give exactly one of userId, userIds and all: true")),
        }
    }
}

/// One player's decision.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct PlayerDecision {
    pub user_id: RobloxIdOut,
    #[oai(flatten)]
    pub decision: DecisionView,
}

impl From<(RobloxId, Outcome)> for PlayerDecision {
    fn from((user, outcome): (RobloxId, Outcome)) -> Self {
        Self { user_id: RobloxIdOut(user), decision: DecisionView::of(outcome, Detail::Explained) }
    }
}

/// Decisions about one, many or all players.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DecisionPage {
    pub decisions: Vec<PlayerDecision>,
    /// Players decided about.
    pub evaluated: u32,
    /// With `all`: pass as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}
