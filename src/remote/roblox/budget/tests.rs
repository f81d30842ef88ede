//! The windows, refusals and what a process leaves behind for the next.

use bytes::Bytes;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    Answer { status, headers: headers.iter().map(pair).collect::<HeaderMap>(), body: Bytes::new() }
}

proptest! {
    /// However long answers take, no stretch of a minute at Roblox holds more calls than the limit.
    #[test]
    fn no_minute_at_roblox_holds_more_than_the_limit(delays in prop::collection::vec((0u64..4_000, 0u64..4_000), 400..900)) {
        let clock = Clock::fake(Time(0));
        let budget = Budget::new(clock.clone(), 10); // 30 a minute
        let mut seen: Vec<i64> = Vec::new();
        for (there, back) in delays {
            let leave = loop {
                match budget.leave(Class::EntryReads, None) {
                    Ok(leave) => break leave,
                    Err(wait) => clock.advance(wait),
                }
            };
            clock.advance(Duration::from_millis(there));
            seen.push(clock.now().0);
            clock.advance(Duration::from_millis(back));
            drop(leave);
        }
        for pair in seen.windows(31) {
            prop_assert!(pair[30] - pair[0] >= 60_000, "31 calls within {} ms", pair[30] - pair[0]);
        }
    }
}

#[test]
fn the_whole_limit_is_used() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    let mut sent = 0;
    while clock.now() < Time(600_000) {
        match budget.leave(Class::EntryReads, None) {
            Ok(leave) => {
                sent += 1;
                drop(leave);
            }
            Err(wait) => clock.advance(wait),
        }
    }
    assert_eq!(sent, 3_000);
}

/// The same key in another process, as if the one before had been killed.
fn kept(path: &Path, clock: &Clock) -> Budget {
    let budget = Budget::new(clock.clone(), 1); // 3 a minute
    budget.keep_in(path).unwrap();
    budget
}

#[test]
fn what_a_killed_process_used_counts_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (path, clock) = (dir.path().join("calls"), Clock::fake(Time(1_000_000)));
    let before = kept(&path, &clock);
    drop(before.leave(Class::Roles, None));
    clock.advance(Duration::from_secs(10));
    let unanswered = before.leave(Class::Roles, None);
    assert!(unanswered.is_ok());
    for _ in 0..UPDATES_OF_A_USER {
        assert!(before.leave(Class::RestrictionUpdates, Some(7)).is_ok());
        clock.advance(Duration::from_secs(5));
    }
    let next = kept(&path, &clock);
    assert!(next.leave(Class::Roles, None).is_ok() && next.leave(Class::Assign, None).is_ok());
    assert_eq!(next.leave(Class::Roles, None).err(), Some(Duration::from_secs(40)), "a minute after the first");
    assert_eq!(next.leave(Class::RestrictionUpdates, Some(7)).err(), Some(Duration::from_secs(50)));
    clock.advance(Duration::from_secs(40));
    // What nobody saw the end of may have reached Roblox until it would have been given up.
    let third = kept(&path, &clock);
    assert!(third.leave(Class::Roles, None).is_ok());
    assert_eq!(third.leave(Class::Roles, None).err(), Some(Duration::from_secs(20)));
    assert!(kept(&path, &Clock::fake(Time(2_000_000))).leave(Class::Roles, None).is_ok());
}

#[test]
fn a_refusal_closes_its_class_and_no_other() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    budget.heed(Class::Assign, &answer(429, &[("retry-after", "7")]));
    assert_eq!(budget.leave(Class::Assign, None).err(), Some(Duration::from_secs(7)));
    assert!(budget.leave(Class::Unassign, None).is_ok());
    clock.advance(Duration::from_secs(7));
    assert!(budget.leave(Class::Assign, None).is_ok());
    for expected in [1, 2, 4] {
        budget.heed(Class::Roles, &answer(429, &[]));
        assert_eq!(budget.leave(Class::Roles, None).err(), Some(Duration::from_secs(expected)));
        clock.advance(Duration::from_secs(expected));
    }
}

#[test]
fn a_refusal_that_asks_for_hardly_any_wait_is_not_followed_by_a_call_at_once() {
    for asked in ["0", "0.001", "-5", "NaN", "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
        for name in ["retry-after", "x-ratelimit-reset"] {
            let clock = Clock::fake(Time(0));
            let budget = Budget::new(clock.clone(), 100);
            for expected in [1, 2, 4] {
                budget.heed(Class::Assign, &answer(429, &[(name, asked)]));
                let pause = Duration::from_secs(expected);
                assert_eq!(budget.leave(Class::Assign, None).err(), Some(pause), "{name}: {asked:?}");
                clock.advance(pause);
            }
        }
    }
}

#[test]
fn what_was_under_way_together_is_refused_once() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    for _ in 0..16 {
        budget.heed(Class::EntryReads, &answer(429, &[]));
    }
    assert_eq!(budget.leave(Class::EntryReads, None).err(), Some(FIRST_PAUSE));
}

#[test]
fn what_others_used_up_is_heeded() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    let left = |left, reset| answer(200, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", reset)]);
    budget.heed(Class::Assign, &left("12", "20"));
    assert!(budget.leave(Class::Assign, None).is_ok());
    budget.heed(Class::Assign, &left("0, 0;w=60", "20"));
    assert_eq!(budget.leave(Class::Assign, None).err(), Some(Duration::from_secs(20)));
    assert_eq!(budget.usage().len(), 1);
}

#[test]
fn one_users_restriction_is_updated_twice_a_minute() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    let update = |user| budget.leave(Class::RestrictionUpdates, Some(user));
    assert!(update(7).is_ok());
    clock.advance(Duration::from_secs(10));
    assert!(update(7).is_ok());
    assert_eq!(update(7).err(), Some(Duration::from_secs(50)));
    assert!(update(8).is_ok());
    clock.advance(Duration::from_secs(50));
    assert!(update(7).is_ok());
}

#[test]
fn a_users_minute_begins_with_the_answer() {
    let clock = Clock::fake(Time(0));
    let budget = Budget::new(clock.clone(), 100);
    let update = |user| budget.leave(Class::RestrictionUpdates, Some(user));
    let (first, second) = (update(7).unwrap_or_else(|_| panic!()), update(7));
    clock.advance(Duration::from_secs(50));
    assert_eq!(update(7).err(), Some(IN_FLIGHT), "both are under way");
    drop(first);
    clock.advance(Duration::from_secs(10));
    drop(second);
    assert_eq!(update(7).err(), Some(Duration::from_secs(50)), "a minute after the first answer");
    clock.set_back(Duration::from_secs(3_600));
    assert_eq!(update(7).err(), Some(MINUTE));
    clock.advance(MINUTE);
    assert!(update(7).is_ok());
}

#[test]
fn no_answer_closes_a_class_for_longer_than_is_obeyed() {
    let clock = Clock::fake(Time(10_000_000));
    let budget = Budget::new(clock.clone(), 100);
    budget.heed(Class::Assign, &answer(429, &[("retry-after", "86400")]));
    assert_eq!(budget.leave(Class::Assign, None).err(), Some(LONGEST_OBEYED));
    budget.heed(Class::Roles, &answer(429, &[("retry-after", "7")]));
    clock.set_back(Duration::from_secs(3_600));
    assert_eq!(budget.leave(Class::Roles, None).err(), Some(Duration::from_secs(7)), "as long as was asked for");
    budget.heed(Class::Roles, &answer(429, &[("retry-after", "3")]));
    assert_eq!(budget.leave(Class::Roles, None).err(), Some(Duration::from_secs(7)), "the longer one holds");
}

#[test]
fn a_clock_that_was_set_back_closes_nothing_for_long() {
    let clock = Clock::fake(Time(10_000_000));
    let budget = Budget::new(clock.clone(), 1); // 3 a minute
    for _ in 0..3 {
        drop(budget.leave(Class::Roles, None));
    }
    clock.set_back(Duration::from_secs(3_600));
    let wait = budget.leave(Class::Roles, None).err();
    assert!(wait.is_some_and(|wait| wait <= MINUTE), "{wait:?}");
}
