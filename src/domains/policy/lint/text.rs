//! Small checks of texts that several files share: names, scopes, nearest spellings.

use super::super::files::MAX_NAME;
use super::{Notes, Problem};

/// The known name closest to `name`, when so few letters differ (a third, at least one) that it is likely a slip.
/// Nothing is close to a name longer than [`MAX_NAME`] characters: comparing takes the product of both lengths.
pub(in super::super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = name.chars().count();
    if letters > MAX_NAME {
        return None;
    }
    let known = known.into_iter().filter(|candidate| candidate.len() <= MAX_NAME * 4);
    let scored = known.map(|candidate| {
        let slips = strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase());
        (slips, candidate)
    });
    scored.filter(|(slips, _)| *slips <= (letters / 3).max(1)).min_by_key(|(slips, _)| *slips).map(|(_, near)| near)
}

/// `did you mean "x"?`, or the plain advice when nothing comes close.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(name, known).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean \"{near}\"?"))
}

/// A name shown to people: 1 to 64 characters, no control characters, no spaces around it.
pub(super) fn check_name(name: &str, pointer: String, notes: &mut Notes<'_>) {
    let what = if name.trim().is_empty() {
        "the name is empty".to_owned()
    } else if name.trim() != name {
        format!("\"{name}\" has spaces around it")
    } else if name.chars().count() > MAX_NAME {
        format!("the name is longer than {MAX_NAME} characters")
    } else if name.chars().any(char::is_control) {
        "the name has control characters in it".to_owned()
    } else {
        return;
    };
    notes.error(Problem {
        code: "policy.name_invalid",
        pointer,
        what,
        why: "names are compared exactly with what game servers send",
        fix: format!("write a name of 1 to {MAX_NAME} visible characters"),
    });
}

/// A scope: `*`, or words of lower-case letters, digits, `-` and `_`, joined by colons.
pub(super) fn is_scope(scope: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    scope == "*" || (scope.len() <= MAX_NAME && scope.split(':').all(word))
}

/// An environment variable: letters, digits and `_`, not starting with a digit.
pub(super) fn is_env_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A list longer than its named bound. Callers then look at no more items than the bound.
pub(super) fn check_length(list: (&str, usize, usize), pointer: &str, notes: &mut Notes<'_>) {
    let (name, length, most) = list;
    if length > most {
        notes.error(Problem {
            code: "policy.too_many",
            pointer: pointer.to_owned(),
            what: format!("{length} {name}, at most {most}"),
            why: "every list here is bounded, so that checking a decision stays quick",
            fix: format!("keep the {most} that matter"),
        });
    }
}

/// A part of a file that nothing rests on yet: whether it is filled, where it stands, what it is called.
pub(super) type Idle<'a> = (bool, &'a str, &'a str);

/// Parts that are checked and kept, and have no effect in this version.
pub(super) fn check_idle(parts: &[Idle<'_>], later: &'static str, notes: &mut Notes<'_>) {
    for (_, pointer, name) in parts.iter().filter(|(filled, ..)| *filled) {
        notes.note(Problem {
            code: "policy.not_in_force",
            pointer: (*pointer).to_owned(),
            what: format!("{name}: read, not yet in force"),
            why: later,
            fix: "nothing to do: it may stay as it is".into(),
        });
    }
}

/// A number outside the range it may have.
pub(super) fn check_range(number: (&str, i64), range: (i64, i64), pointer: String, notes: &mut Notes<'_>) {
    let ((name, value), (least, most)) = (number, range);
    if !(least..=most).contains(&value) {
        notes.error(Problem {
            code: "policy.out_of_range",
            pointer,
            what: format!("{name} is {value}, which is outside {least} to {most}"),
            why: "a figure out of range would make every decision that uses it wrong",
            fix: format!("write a whole number from {least} to {most}"),
        });
    }
}

/// One path part of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
