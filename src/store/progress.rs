//! Telling how far a long piece of work is.

use std::fmt;
use std::sync::Arc;

/// Told how far a long piece of work is: `(what, done, total)`; total 0 = unknown. Cheap to call, cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<Told>);

type Told = dyn Fn(&str, u64, u64) + Send + Sync;

impl Progress {
    pub fn new(each: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(each))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_, _, _| ())
    }

    /// `done` of `total` parts of `what` are behind us.
    pub fn step(&self, what: &str, done: u64, total: u64) {
        (self.0)(what, done, total);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress(…)")
    }
}
