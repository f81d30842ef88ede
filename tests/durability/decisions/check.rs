//! Looks at the group and at the store when all is over: what happened there is what was decided, each once, and told once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use grps::base::metrics::Metrics;
use grps::base::{Cursor, Id, RobloxId, Time};
use grps::domains::applying::PUNISHED;
use grps::domains::audit::AUDITS;
use grps::domains::effects::{EFFECTS, EFFECTS_OPEN, Effect};
use grps::domains::jobs::JOBS;
use grps::domains::players::{Origin, PLAYERS, Status};
use grps::domains::policy::Action;
use grps::domains::ranks::{DECISIONS, Decision, OPEN_EFFECTS};
use grps::fakes::roblox::Change;
use grps::store::{DataDir, Key, MAX_PAGE, Record, Settings, Store, Table};
use serde_json::Value;

use super::{Books, Stage, Story, others};
use crate::applying::{CORPORAL, SPECIALIST, SUSPENDED};
use crate::contract;

/// A day, for which three warnings suspend.
const DAY: u64 = 86_400;

/// What is in the store, and what happened on Roblox.
struct Found {
    decisions: BTreeMap<u64, Vec<(Id, Decision)>>,
    effects: BTreeMap<Id, Effect>,
    changes: BTreeMap<u64, Vec<(Time, Change)>>,
    /// How often the audit trail says what of which decision.
    told: BTreeMap<(String, String), usize>,
    /// How often which decision became an event.
    events: BTreeMap<String, usize>,
    ranks: BTreeMap<u64, Option<String>>,
    punished: BTreeSet<u64>,
    left_open: usize,
}

async fn rows<K: Key, V: Record>(store: &Store, table: &Table<K, V>) -> Vec<(K, V)> {
    let (mut out, mut cursor): (_, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.scan(table.all().after(cursor.as_ref()), MAX_PAGE).await.unwrap();
        out.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return out;
        }
    }
}

impl Found {
    async fn read(stage: &Stage) -> Self {
        let dir = DataDir::open(&stage.home.data()).unwrap();
        let store = &Store::open(&dir, &Settings::default(), &Metrics::default()).unwrap();
        let mut found = Self {
            decisions: BTreeMap::new(),
            effects: rows(store, &EFFECTS).await.into_iter().collect(),
            changes: BTreeMap::new(),
            told: BTreeMap::new(),
            events: BTreeMap::new(),
            ranks: rows(store, &PLAYERS).await.into_iter().map(|(user, player)| (user.get(), player.rank)).collect(),
            punished: rows(store, &PUNISHED).await.into_iter().map(|(user, _): (RobloxId, _)| user.get()).collect(),
            left_open: rows(store, &OPEN_EFFECTS).await.len() + rows(store, &EFFECTS_OPEN).await.len(),
        };
        for ((user, id), decision) in rows(store, &DECISIONS).await {
            found.decisions.entry(user.get()).or_default().push((id, decision));
        }
        for (_, entry) in rows(store, &AUDITS).await {
            let Some(verb) = entry.action.strip_prefix("decision.") else { continue };
            let after: Value = serde_json::from_str(&entry.after.unwrap_or_default()).unwrap_or_default();
            let id = after["decision"].as_str().unwrap_or_default().to_owned();
            *found.told.entry((id, verb.to_owned())).or_default() += 1;
        }
        for (_, job) in rows(store, &JOBS).await {
            let payload: Value = serde_json::from_str(&job.payload).unwrap();
            assert_eq!(payload["event"], "decision.applied", "{payload}");
            *found.events.entry(payload["decision"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for effect in stage.fake.effects() {
            found.changes.entry(effect.user).or_default().push((effect.at, effect.what));
        }
        found
    }

    fn told(&self, id: &str, verb: &str) -> usize {
        self.told.get(&(id.to_owned(), verb.to_owned())).copied().unwrap_or(0)
    }
}

/// Holds everything against everything, and counts.
pub async fn audit(stage: &Stage, books: &Books, members: Range<u64>, kills: &[Time]) -> String {
    let found = Found::read(stage).await;
    if found.left_open > 0 {
        books.complain(format!("{} effects are still open", found.left_open));
    }
    for user in members.clone() {
        on_roblox(stage, books, &found, user);
        in_the_store(books, &found, user);
    }
    let answered = books.answered.lock().unwrap();
    for (id, (user, status)) in answered.iter() {
        let known = found.decisions.get(user).is_some_and(|own| own.iter().any(|(own, _)| own.to_string() == *id));
        if !known {
            books.complain(format!("the decision {id} about {user} was acknowledged as {status}, and is not there"));
        }
    }
    let (wrong, throttled) = (stage.fake.wrong(), stage.fake.limits().throttled());
    if !wrong.is_empty() {
        books.complain(format!("Roblox was asked for what it does not have: {wrong:?}"));
    }
    if throttled > 0 {
        books.complain(format!("{throttled} calls were too many for Roblox"));
    }
    contract::check(&stage.fake);
    let changes: usize = found.changes.values().map(Vec::len).sum();
    format!(
        "{} decisions about {} members ({} acknowledged, {} requests unanswered), {changes} changes on Roblox, {}, {throttled} refused for \
         being too many",
        found.decisions.values().map(Vec::len).sum::<usize>(),
        members.count(),
        answered.len(),
        books.unanswered.load(std::sync::atomic::Ordering::SeqCst),
        interrupted(&found, kills, books),
    )
}

/// The group and the restrictions are as they should be, and nothing was changed twice or for nothing.
fn on_roblox(stage: &Stage, books: &Books, found: &Found, user: u64) {
    use Change::*;
    let suspended = [Restricted, Assigned(SUSPENDED), Unassigned(SPECIALIST)];
    let back = [Unrestricted, Assigned(SPECIALIST), Unassigned(SUSPENDED)];
    let (role, wanted, kept_out) = match Story::of(user) {
        Story::Promoted => (CORPORAL, vec![Assigned(CORPORAL), Unassigned(SPECIALIST)], None),
        Story::Suspended => (SUSPENDED, suspended.to_vec(), Some(true)),
        Story::LetBack => (SPECIALIST, [suspended, back].concat(), Some(false)),
    };
    let held: BTreeSet<u64> = stage.fake.roles_of(user).into_iter().collect();
    let base = stage.fake.own_role(1);
    let must: BTreeSet<u64> = others(user).iter().copied().chain([role, base]).collect();
    if held != must {
        books.complain(format!("{user} holds {held:?} instead of {must:?}"));
    }
    let changes: Vec<Change> =
        found.changes.get(&user).into_iter().flatten().map(|(_, change)| change.clone()).collect();
    if changes != wanted {
        books.complain(format!("of {user} {changes:?} was changed instead of {wanted:?}"));
    }
    let restriction = stage.fake.restriction_of(user);
    if restriction.as_ref().map(|held| held.active) != kept_out {
        books.complain(format!("the restriction of {user} is {restriction:?}"));
    }
    let lasts = restriction.filter(|held| held.active).and_then(|held| held.duration);
    if kept_out == Some(true) && lasts.map(|length| length.as_secs()) != Some(DAY) {
        books.complain(format!("{user} is kept out for {lasts:?}"));
    }
}

/// Each decision was made once, took effect, was told once in the audit trail and became one event.
fn in_the_store(books: &Books, found: &Found, user: u64) {
    let story = Story::of(user);
    let none = Vec::new();
    let decisions = found.decisions.get(&user).unwrap_or(&none);
    let made: Vec<(Action, bool)> = decisions.iter().map(|(_, decision)| (decision.action, decision.lifts)).collect();
    let must: &[(Action, bool)] = match story {
        Story::Promoted => &[(Action::Promote, false)],
        Story::Suspended => &[(Action::Suspend, false)],
        Story::LetBack => &[(Action::Suspend, false), (Action::Suspend, true)],
    };
    if made != must {
        books.complain(format!("about {user} was decided {made:?} instead of {must:?}"));
    }
    for (id, decision) in decisions {
        let id = id.to_string();
        let orders = [Origin::Policy].contains(&decision.origin) || decision.lifts;
        let told = ["queued", "applied"].map(|verb| found.told(&id, verb));
        let all: usize = found.told.iter().filter(|((of, _), _)| *of == id).map(|(_, count)| count).sum();
        let events = found.events.get(&id).copied().unwrap_or(0);
        if decision.status != Status::Applied || !orders || told != [1, 1] || all != 2 || events != 1 {
            books.complain(format!("about {user}: told {told:?} of {all}, {events} events: {decision:?}"));
        }
    }
    let rank = if story == Story::Promoted { "Storm Corporal I" } else { "Volt Specialist II" };
    if found.ranks.get(&user).cloned().flatten().as_deref() != Some(rank) {
        books.complain(format!("{user} is stored as {:?}", found.ranks.get(&user)));
    }
    if found.punished.contains(&user) != (story == Story::Suspended) {
        books.complain(format!("that {user} is punished is {}", found.punished.contains(&user)));
    }
}

/// How many decisions a kill met between Roblox's first change and our last commit, by how many changes had been made.
fn interrupted(found: &Found, kills: &[Time], books: &Books) -> String {
    let mut met: BTreeMap<usize, usize> = BTreeMap::new();
    let mut decisions = 0;
    for (user, own) in &found.decisions {
        for (id, _) in own {
            let Some(effect) = found.effects.get(id) else { continue };
            let Some(ended) = effect.ended_at else { continue };
            let changes = found.changes.get(user).into_iter().flatten();
            let changes: Vec<Time> =
                changes.map(|(at, _)| *at).filter(|at| *at >= effect.began_at && *at <= ended).collect();
            let stages: Vec<usize> = kills
                .iter()
                .filter(|kill| **kill < ended)
                .map(|kill| changes.iter().filter(|at| *at <= kill).count())
                .filter(|stage| *stage > 0)
                .collect();
            decisions += usize::from(!stages.is_empty());
            stages.into_iter().for_each(|stage| *met.entry(stage).or_default() += 1);
        }
    }
    if decisions == 0 {
        books.complain("no kill came between a change on Roblox and our commit".to_owned());
    }
    format!("{decisions} decisions met between Roblox and our commit (after so many changes: {met:?})")
}
