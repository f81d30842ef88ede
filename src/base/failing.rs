//! What is wrong at the moment, in words for people: parts tell it of themselves, readiness and lists show it.

use std::fmt;

/// What is wrong, and what somebody can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    pub what: String,
    /// None where waiting is all there is.
    pub hint: Option<String>,
}

/// Both in one line.
impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}
