//! Panics of code that is not ours to mend. Where one is expected it is caught and becomes an error, which its owner reports like any other,
//! and once; all others are the panic hook's to tell of.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`contained`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic inside one happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; the error is what it panicked with, and where, if that is known. What `work` was changing is the caller's to distrust.
///
/// # Errors
/// When it panics.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|panic| {
        let text = message(panic.as_ref());
        PLACE.take().map_or_else(|| text.to_owned(), |place| format!("{text} ({place})"))
    })
}

/// Takes down where a panic happened; whether it is contained, so that nobody else has to tell of it. For the panic hook.
pub fn is_expected(place: &str) -> bool {
    let expected = DEPTH.get() > 0;
    if expected {
        PLACE.set(Some(place.to_owned()));
    }
    expected
}

/// What a caught panic said.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_the_next_one_is_told_apart() {
        assert_eq!(contained(|| 7), Ok(7));
        let outer = contained(|| contained(|| panic!("inner {}", 1)).unwrap_err());
        assert!(outer.unwrap().starts_with("inner 1"));
        assert!(contained(|| panic!("outer")).unwrap_err().starts_with("outer"));
        assert_eq!(DEPTH.get(), 0);
    }
}
