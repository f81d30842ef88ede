//! Rules that span fields and files: what a schema cannot say. Every finding says what is wrong, why it matters and how to fix it.
//!
//! Errors keep a set from being loaded; warnings are shown and the set is used. All findings of all files are collected, so one run
//! shows everything there is to fix.

mod joins;
mod permissions;
mod points;
mod punishments;
mod ranks;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::files::{FILE_VERSION, FileKind, IntegrationsFile, PermissionsFile, PointsFile, PunishmentsFile, RanksFile};
use super::load::{Positions, Source};

pub(super) use text::nearest;

/// Findings kept of one set, and collected of one file and severity: a file that is wrong throughout does not flood the log, nor take
/// long to check.
pub const MAX_FINDINGS: usize = 200;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set is not loaded.
    Error,
    /// The set is loaded; somebody should look.
    Warning,
    /// The set is loaded, and nothing is wrong; something in it does less than one may think.
    Note,
}

/// One thing wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A stable dotted name: `policy.points_not_rising`.
    pub code: &'static str,
    /// The file, as it was found.
    pub file: String,
    /// JSON pointer to the place: `/ranks/1/requiredPoints`. Empty when the whole file is meant.
    pub pointer: String,
    /// Line of that place, from 1; `None` when the file is missing.
    pub line: Option<usize>,
    /// Column of that place in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// How to fix it.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}\n  why: {}\n  fix: {}", self.what, self.why, self.fix)
    }
}

/// Everything found in a set of policy files. Prints as text for a terminal, serialises for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// Whether the set can be loaded.
    pub ok: bool,
    /// The version the set has, or would have; `None` when it cannot be loaded.
    pub version: Option<String>,
    /// The files that were read.
    pub files: Vec<String>,
    /// Errors first, then warnings, then notes.
    pub findings: Vec<Finding>,
}

impl LintReport {
    pub(super) fn new(files: Vec<String>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(MAX_FINDINGS);
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        Self { ok, version: None, files, findings }
    }

    /// Findings that keep the set from being loaded.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// Findings the set is loaded in spite of.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning)
    }
}

impl fmt::Display for LintReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let (errors, warnings) = (self.errors().count(), self.warnings().count());
        match &self.version {
            Some(version) => write!(f, "policy {version}: {errors} errors, {warnings} warnings"),
            None => write!(f, "policy not usable: {errors} errors, {warnings} warnings"),
        }
    }
}

/// What a rule has to say; the place in the text is worked out afterwards.
pub(super) struct Problem {
    pub code: &'static str,
    pub pointer: String,
    pub what: String,
    pub why: &'static str,
    pub fix: String,
}

/// Collects the problems of one file.
pub(super) struct Notes<'a> {
    source: &'a Source,
    positions: Positions,
    findings: Vec<Finding>,
}

impl<'a> Notes<'a> {
    pub fn new(source: &'a Source, positions: Positions) -> Self {
        Self { source, positions, findings: Vec::new() }
    }

    pub fn error(&mut self, problem: Problem) {
        self.add(Severity::Error, problem);
    }

    pub fn warn(&mut self, problem: Problem) {
        self.add(Severity::Warning, problem);
    }

    pub fn note(&mut self, problem: Problem) {
        self.add(Severity::Note, problem);
    }

    /// Errors are counted apart from the rest: however many warnings there are, an error is not missed.
    fn add(&mut self, severity: Severity, problem: Problem) {
        if self.findings.iter().filter(|finding| finding.severity == severity).count() >= MAX_FINDINGS {
            return;
        }
        let (line, column) = self.positions.locate(&self.source.text, &problem.pointer);
        self.findings.push(Finding {
            severity,
            code: problem.code,
            file: self.source.label.clone(),
            pointer: problem.pointer,
            line: Some(line),
            column: Some(column),
            what: problem.what,
            why: problem.why.to_owned(),
            fix: problem.fix,
        });
    }

    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// The version at the head of a file, and keys that stand there twice.
    pub fn head(&mut self, version: u32) {
        if version != FILE_VERSION {
            self.error(Problem {
                code: "policy.version_unknown",
                pointer: "/version".into(),
                what: format!("version {version} of this file is not one this build reads"),
                why: "another layout may mean something else by the same keys",
                fix: format!("write \"version\": {FILE_VERSION}, or run the build this file was written for"),
            });
        }
        for pointer in self.positions.duplicates().to_vec() {
            let key = pointer.rsplit('/').next().unwrap_or_default().to_owned();
            self.error(Problem {
                code: "policy.duplicate_key",
                what: format!("the key \"{key}\" stands here a second time"),
                why: "only one of the two values could count, and nobody could tell which",
                fix: "keep one of them".into(),
                pointer,
            });
        }
    }
}

/// The parsed files of a set; those that could not be parsed are `None`, and rules that need them are skipped.
#[derive(Default)]
pub(super) struct Files {
    pub ranks: Option<RanksFile>,
    pub permissions: Option<PermissionsFile>,
    pub punishments: Option<PunishmentsFile>,
    pub points: Option<PointsFile>,
    pub integrations: Option<IntegrationsFile>,
}

impl Files {
    /// Checks one file of the set, with what it refers to in others.
    pub fn check(&self, kind: FileKind, notes: &mut Notes<'_>) {
        match kind {
            FileKind::Ranks => {
                if let Some(file) = &self.ranks {
                    notes.head(file.version);
                    ranks::check(file, self.points.as_ref(), notes);
                }
            }
            FileKind::Permissions => {
                if let Some(file) = &self.permissions {
                    notes.head(file.version);
                    permissions::check(file, self.ranks.as_ref(), notes);
                }
            }
            FileKind::Punishments => {
                if let Some(file) = &self.punishments {
                    notes.head(file.version);
                    punishments::check(file, self.ranks.as_ref(), notes);
                }
            }
            FileKind::Points => {
                if let Some(file) = &self.points {
                    notes.head(file.version);
                    points::check(file, notes);
                }
            }
            FileKind::Integrations => {
                if let Some(file) = &self.integrations {
                    notes.head(file.version);
                    points::check_integrations(file, notes);
                }
            }
        }
    }
}
