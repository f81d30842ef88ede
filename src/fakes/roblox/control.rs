//! What is in the fake, and what has become of it: for tests and the demo. Nothing here counts as a request.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::days::Day;
use super::groups::{Group, Logged};
use super::keys::Key;
use super::limits::Class;
use super::restrictions::Restriction;
use super::stores::{Entry, Put, Spot};
use super::universe::Message;
use super::world::{Asked, Effect, World};
use super::{BOT, FakeRoblox, KEY, OWNER};
use crate::base::{Clock, Time};

/// Where it is, which group and universe are meant, and how it goes with time.
impl FakeRoblox {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The key that everything may be done with.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// The same fake, with this group meant from now on.
    #[must_use]
    pub fn in_group(&self, group: u64) -> Self {
        Self { group, ..self.clone() }
    }

    /// Goes by this clock from now on.
    pub fn clock(&self, clock: &Clock) {
        self.lock().clock = clock.clone();
    }

    /// How far its `date` runs ahead of its clock.
    pub fn skew(&self, ahead: Duration) {
        self.lock().skew = ahead;
    }

    /// Adds a key, or changes one.
    pub fn put_key(&self, secret: &str, key: Key) {
        self.lock().keys.insert(secret.to_owned(), key);
    }
}

/// People and groups.
impl FakeRoblox {
    pub fn user(&self, user: u64, name: &str, display: &str) {
        self.lock().users.insert(user, (name.to_owned(), display.to_owned()));
    }

    /// Makes a group with the roles that every group has, and gives the fake with that group meant.
    pub fn group(&self, id: u64, name: &str, owner: Option<u64>) -> Self {
        let mut world = self.lock();
        let group = Group::new(id, name, owner, world.now());
        world.groups.insert(id, group);
        drop(world);
        self.in_group(id)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Group, Time) -> T) -> Option<T> {
        let mut world = self.lock();
        let now = world.now();
        world.groups.get_mut(&self.group).map(|group| change(group, now))
    }

    /// Makes a role, or changes one.
    pub fn role(&self, id: u64, name: &str, rank: u8, permissions: &[&str]) {
        self.change(|group, _| group.role(id, name, rank, permissions));
    }

    pub fn delete_role(&self, id: u64) {
        self.change(|group, now| {
            group.delete_role(id);
            group.note(now, OWNER, "DeleteRoleset", json!({"RoleSetId": id}));
        });
    }

    /// The id of a role that every group has: rank 0, 1 or 255.
    pub fn own_role(&self, rank: u8) -> u64 {
        self.change(|group, _| group.own_role(rank)).unwrap_or_default()
    }

    /// Makes somebody a member with the base role and exactly these; nobody did it.
    pub fn member(&self, user: u64, roles: &[u64]) {
        self.change(|group, now| group.hold(user, roles, now));
        let name = format!("Player{user}");
        self.lock().users.entry(user).or_insert_with(|| (name.clone(), name));
    }

    pub fn leave(&self, user: u64) {
        self.change(|group, now| {
            group.leave(user);
            group.note(now, user, "LeaveGroup", json!({"TargetId": user}));
        });
    }

    /// The group's owner gives somebody this role in place of all others.
    pub fn rank_by_hand(&self, user: u64, role: u64) {
        self.change(|group, now| {
            let old = group.top(user).0;
            group.hold(user, &[role], now);
            let name = |id: u64| group.roles.get(&id).map_or("", |role| role.name.as_str());
            let description = json!({
                "TargetId": user,
                "TargetName": format!("Player{user}"),
                "OldRoleSetId": old,
                "OldRoleSetName": name(old),
                "NewRoleSetId": role,
                "NewRoleSetName": name(role),
            });
            group.note(now, OWNER, "ChangeRank", description);
        });
    }

    pub fn join_request(&self, user: u64) {
        self.change(|group, now| group.joins.insert(user, now));
    }

    /// Who asks to be let in.
    pub fn joins(&self) -> Vec<u64> {
        self.change(|group, _| group.joins.keys().copied().collect()).unwrap_or_default()
    }

    /// Every role of a member, the lowest first; none of who is no member.
    pub fn roles_of(&self, user: u64) -> Vec<u64> {
        let roles = self.change(|group, _| {
            let member = group.members.get(&user)?;
            let rank = |id: &u64| group.roles.get(id).map_or(0, |role| role.rank);
            let mut roles: Vec<u64> = member.roles.iter().copied().collect();
            roles.sort_by_key(rank);
            Some(roles)
        });
        roles.flatten().unwrap_or_default()
    }

    /// The group's log, oldest first.
    pub fn audit(&self) -> Vec<Logged> {
        self.change(|group, _| group.log.values().cloned().collect()).unwrap_or_default()
    }

    /// Memberships come without `roles`, as before there could be several.
    pub fn single_role(&self, single: bool) {
        self.lock().single_role = single;
    }

    /// For so long reads of memberships do not show what was changed by a call.
    pub fn lag(&self, lag: Duration) {
        self.lock().lag = lag;
    }
}

/// What is in the universe.
impl FakeRoblox {
    fn spot(&self, store: &str, scope: &str, key: &str) -> Spot {
        (self.universe, store.to_owned(), scope.to_owned(), key.to_owned())
    }

    /// Writes an entry as the game would.
    pub fn entry(&self, store: &str, scope: &str, key: &str, value: &Value) {
        self.entry_with(store, (scope, key), value, (None, &[]));
    }

    /// The same with attributes and users.
    pub fn entry_with(
        &self,
        store: &str,
        (scope, key): (&str, &str),
        value: &Value,
        (attributes, users): (Option<Value>, &[u64]),
    ) {
        let put = Put { text: value.to_string(), attributes, users: users.to_vec() };
        let mut world = self.lock();
        let now = world.now();
        world.entries.put(self.spot(store, scope, key), put, now);
    }

    pub fn delete_entry(&self, store: &str, scope: &str, key: &str) {
        let mut world = self.lock();
        let now = world.now();
        world.entries.delete(&self.spot(store, scope, key), now);
    }

    /// An entry, deleted or not.
    pub fn entry_of(&self, store: &str, scope: &str, key: &str) -> Option<Entry> {
        self.lock().entries.any(&self.spot(store, scope, key)).cloned()
    }

    pub fn ordered(&self, store: &str, scope: &str, key: &str, value: i64) {
        self.lock().boards.at(self.universe, store, scope).put(key, value);
    }

    /// An ordered store, the highest first.
    pub fn ordered_of(&self, store: &str, scope: &str) -> Vec<(String, i64)> {
        self.lock().boards.at(self.universe, store, scope).top()
    }

    pub fn restriction_of(&self, user: u64) -> Option<Restriction> {
        let world = self.lock();
        world.restrictions.of.get(&(self.universe, user)).map(|held| held.at(world.now()))
    }

    /// A moderator keeps somebody out, and leaves their other accounts alone; without a duration for good.
    pub fn restrict_by_hand(&self, user: u64, duration: Option<Duration>, reason: &str) {
        let mut world = self.lock();
        let restriction = Restriction {
            active: true,
            start: world.now(),
            duration,
            private_reason: reason.to_owned(),
            display_reason: String::new(),
            exclude_alts: true,
        };
        world.restrictions.of.insert((self.universe, user), restriction);
    }

    /// Messages that were accepted, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.iter().cloned().collect()
    }

    /// Of a hundred messages, so many are accepted and lost.
    pub fn lose_messages(&self, percent: u32) {
        self.lock().lost_percent = percent.min(100);
    }
}

/// Bad days and limits.
impl FakeRoblox {
    /// What happens to each of the next requests.
    pub fn days(&self, days: &[Day]) {
        self.lock().days.next.extend(days.iter().cloned());
    }

    /// What happens to each of the next requests of a class.
    pub fn days_for(&self, class: Class, days: &[Day]) {
        self.lock().days.of.entry(class).or_default().extend(days.iter().cloned());
    }

    /// What happens to every request after those.
    pub fn climate(&self, day: Option<Day>) {
        self.lock().days.climate = day;
    }

    pub fn limits(&self) -> Limits<'_> {
        Limits { fake: self }
    }
}

/// The limits, and how they are kept.
pub struct Limits<'a> {
    fake: &'a FakeRoblox,
}

impl Limits<'_> {
    /// So many in the class's window, instead of what Roblox has published.
    pub fn set(&self, class: Class, most: u32) {
        self.fake.lock().limits.set.insert(class, most);
    }

    /// Other callers with the same owner, or in the same universe, have just sent so many.
    pub fn others(&self, class: Class, count: u32) {
        let mut world = self.fake.lock();
        let now = world.now();
        world.limits.others(class, class.pool(BOT, self.fake.universe), count, now);
    }

    /// Requests that were over a limit; bad days are not among them.
    pub fn throttled(&self) -> u64 {
        self.fake.lock().limits.throttled
    }

    /// Requests of a class that were within its limit.
    pub fn served(&self, class: Class) -> u64 {
        self.fake.lock().limits.served.get(&class).copied().unwrap_or_default()
    }

    /// How much of its limit is used now, by everybody.
    pub fn used_percent(&self, class: Class) -> u32 {
        let mut world = self.fake.lock();
        let now = world.now();
        world.limits.used_percent(class, now)
    }
}

/// What has come.
impl FakeRoblox {
    fn list<T: Clone>(&self, of: impl FnOnce(&World) -> &VecDeque<T>) -> Vec<T> {
        of(&self.lock()).iter().cloned().collect()
    }

    /// The last requests, whatever became of them; at most [`super::MAX_ASKED`].
    pub fn asked(&self) -> Vec<Asked> {
        self.list(|world| &world.asked)
    }

    /// Requests that Roblox would not have understood.
    pub fn wrong(&self) -> Vec<String> {
        self.list(|world| &world.wrong)
    }

    /// What requests really changed in the group and among the restrictions, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.list(|world| &world.effects)
    }

    /// Forgets what has come, and keeps what there is.
    pub fn forget(&self) {
        let mut world = self.lock();
        world.asked.clear();
        world.wrong.clear();
        world.effects.clear();
    }
}
