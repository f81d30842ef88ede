//! One checked set of policy files. Immutable: a reload makes another one.

use std::sync::Arc;

use ring::digest;

use crate::base::{Error, RobloxId};

use super::access::Permissions;
use super::files::{FileKind, IntegrationsFile, PointsFile, PunishmentsFile, Settings};
use super::ladder::Ladder;
use super::lint::{Finding, LintReport, Severity};
use super::load::{Source, Sources, parse, shipped_sources};
use super::sanctions::Standing;

/// Everything a decision rests on, checked as a whole. Hold it by `Arc` and let it go after the request: the next one may differ.
#[derive(Debug, Clone)]
pub struct Policy {
    ladder: Ladder,
    settings: Settings,
    punishments: PunishmentsFile,
    points: PointsFile,
    permissions: Permissions,
    integrations: IntegrationsFile,
    version: Arc<str>,
    /// Warnings, then notes.
    findings: Vec<Finding>,
}

/// Why automation leaves a player alone: the player object's `decisionsBlocked`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block<'a> {
    /// Listed in `protectedUserIds`.
    Protected,
    /// Holds a privileged rank.
    Privileged(&'a str),
    /// Holds a rank that is not on the ladder.
    UnknownRank(&'a str),
    /// Has a punishment status the policy does not explain.
    UnknownStatus(&'a str),
}

impl std::fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protected => f.write_str("Protected: only a person may decide"),
            Self::Privileged(rank) => write!(f, "{rank} is privileged: only a person may decide"),
            Self::UnknownRank(rank) => write!(f, "{rank} is not on the ladder: only a person may decide"),
            Self::UnknownStatus(status) => {
                write!(f, "Punishment status \"{status}\" is not in the policy: only a person may decide")
            }
        }
    }
}

impl Policy {
    /// Checks a set of texts.
    ///
    /// # Errors
    /// The report of everything found, when any of it is an error.
    pub fn from_sources(sources: &Sources) -> Result<Self, LintReport> {
        let labels = sources.list.iter().map(|source| source.label.clone()).collect();
        let (files, findings) = parse(sources);
        let report = LintReport::new(labels, findings);
        let Some(ranks) = files.ranks.filter(|_| report.ok) else { return Err(report) };
        let permissions = files.permissions.unwrap_or_default();
        let punishments = files.punishments.unwrap_or_default();
        let points = files.points.unwrap_or_default();
        let version = version(&(&ranks, &permissions, &punishments, &points));
        Ok(Self {
            ladder: Ladder::new(&ranks),
            settings: ranks.settings,
            permissions: Permissions::new(&permissions),
            punishments,
            points,
            integrations: files.integrations.unwrap_or_default(),
            version,
            findings: report.findings,
        })
    }

    /// Checks texts given directly; files left out take their defaults.
    ///
    /// # Errors
    /// As [`Policy::from_sources`]; a set without ranks is reported too.
    pub fn from_texts(texts: &[(FileKind, &str)]) -> Result<Self, LintReport> {
        let source = |(kind, text): &(FileKind, &str)| Source {
            kind: *kind,
            label: kind.name().into(),
            text: (*text).to_owned(),
            changed_at: None,
        };
        Self::from_sources(&Sources { dir: None, list: texts.iter().map(source).collect() })
    }

    /// The set that comes with the program.
    ///
    /// # Panics
    /// Never in a program whose tests passed: they check the shipped files.
    pub fn builtin() -> Self {
        Self::from_sources(&shipped_sources()).unwrap_or_else(|report| panic!("the shipped policy is broken: {report}"))
    }

    /// The rank ladder.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// How automation behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What warnings and statuses lead to.
    pub fn punishments(&self) -> &PunishmentsFile {
        &self.punishments
    }

    /// Which points are believable.
    pub fn points(&self) -> &PointsFile {
        &self.points
    }

    /// Who may do what.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// What the server is connected to.
    pub fn integrations(&self) -> &IntegrationsFile {
        &self.integrations
    }

    /// 16 lower-case hex characters that change exactly when the content of the four rule files does: spaces, order of keys, `$schema`
    /// and defaults written out make no difference, and neither do integrations, which hold no rules.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Findings this set is used in spite of.
    pub fn warnings(&self) -> &[Finding] {
        let warnings = self.findings.partition_point(|finding| finding.severity == Severity::Warning);
        self.findings.get(..warnings).unwrap_or_default()
    }

    /// Why automation must leave this player alone, if it must: what `decisionsBlocked` shows, without deciding anything.
    pub fn block<'a>(&'a self, user: RobloxId, rank: Option<&'a str>, status: Option<&'a str>) -> Option<Block<'a>> {
        if self.permissions.protects(user) {
            return Some(Block::Protected);
        }
        if let Some(name) = rank {
            match self.ladder.rank(name) {
                None => return Some(Block::UnknownRank(name)),
                Some(rank) if rank.privileged => return Some(Block::Privileged(&rank.name)),
                Some(_) => {}
            }
        }
        match self.punishments.standing(status) {
            Standing::Unknown(text) => Some(Block::UnknownStatus(text)),
            Standing::Clear | Standing::Known(..) => None,
        }
    }
}

/// What `grps policy lint` shows of a set, loadable or not.
pub fn lint_report(sources: &Sources) -> LintReport {
    match Policy::from_sources(sources) {
        Err(report) => report,
        Ok(policy) => {
            let labels = sources.list.iter().map(|source| source.label.clone()).collect();
            let version = Some(policy.version.to_string());
            LintReport { version, ..LintReport::new(labels, policy.findings) }
        }
    }
}

impl From<&LintReport> for Error {
    /// The first error in full, and how many there are.
    fn from(report: &LintReport) -> Self {
        let count = report.errors().count();
        let Some(first) = report.errors().next() else {
            return Error::invalid("policy.ranks_missing", "the set has no policy.ranks.json");
        };
        let place = first.line.map_or_else(|| first.file.clone(), |line| format!("{}:{line}", first.file));
        let more = if count > 1 { format!(" (and {} more errors)", count - 1) } else { String::new() };
        Error::invalid(first.code, format!("{place}: {}{more}", first.what)).hint(first.fix.clone())
    }
}

fn version(content: &impl serde::Serialize) -> Arc<str> {
    // Structs keep the order of their fields and maps are sorted, so equal content gives equal bytes. Plain data always serialises.
    let bytes = serde_json::to_vec(content).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, &bytes);
    data_encoding::HEXLOWER.encode(hash.as_ref().get(..8).unwrap_or_default()).into()
}
