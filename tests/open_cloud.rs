//! The client and the fake understand each other: every call once, and what comes of the odd days. What was sent is held against Roblox's
//! own document.

use std::collections::BTreeSet;
use std::time::Duration;

use grps::base::Clock;
use grps::fakes::roblox::{BOT, BOT_ROLE, Change, Class, Day, FakeRoblox, GROUP, KEY, Key, OWNER, UNIVERSE};
use grps::remote::Roblox;
use grps::remote::roblox::{Replaced, StoreId, Trouble, Wanted};
use serde_json::json;

use crate::contract;
use crate::fakes::roblox;
use crate::harness::START;

struct Scene {
    fake: FakeRoblox,
    clock: Clock,
    roblox: Roblox,
}

impl Scene {
    fn new() -> Self {
        let clock = Clock::fake(START);
        let fake = FakeRoblox::start(clock.clone()).unwrap();
        let roblox = roblox(&fake, &clock);
        Self { fake, clock, roblox }
    }

    /// Within its limits, and nothing that Roblox would not have understood.
    fn end(self) {
        assert_eq!((self.fake.wrong(), self.fake.limits().throttled()), (vec![], 0));
        contract::check(&self.fake);
    }
}

fn store(name: &str) -> StoreId {
    StoreId { universe: UNIVERSE, name: name.into(), scope: "global".into() }
}

/// Else whoever looks at the key would find it good and refused in turn, and look again for ever.
#[tokio::test]
async fn that_a_dead_key_can_be_asked_about_makes_it_no_better() {
    let Scene { fake, roblox, .. } = &Scene::new();
    let refused = || roblox.standing().refused().is_some();
    fake.put_key(KEY, Key { enabled: false, ..Key::of(BOT) });
    assert!(matches!(roblox.roles_page(GROUP, None).await, Err(Trouble::Unauthenticated(_))) && refused());
    assert!(!roblox.introspect().await.unwrap().enabled);
    assert!(refused());
    fake.put_key(KEY, Key::of(BOT));
    roblox.roles_page(GROUP, None).await.unwrap();
    assert!(!refused());
}

#[tokio::test]
async fn a_group_is_read_and_changed() {
    let scene = Scene::new();
    let Scene { fake, roblox, .. } = &scene;
    (1..=30).for_each(|rank| fake.role(u64::from(rank) + 100, &format!("Rank {rank}"), rank, &[]));
    (1..=150).for_each(|user| fake.member(user, &[105]));
    let group = roblox.group(GROUP).await.unwrap();
    assert_eq!((group.owner, group.members), (Some(OWNER), 152));
    let first = roblox.roles_page(GROUP, None).await.unwrap();
    let second = roblox.roles_page(GROUP, first.next.as_deref()).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (20, 14, None));
    let roles = [first.items, second.items].concat();
    let bot = roles.iter().find(|role| role.id == BOT_ROLE).unwrap();
    assert_eq!((bot.rank, bot.permissions.contains("changeRank")), (250, true));
    let first = roblox.memberships(GROUP, None).await.unwrap();
    let second = roblox.memberships(GROUP, first.next.as_deref()).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (100, 52, None));
    roblox.assign_role(GROUP, 7, 106).await.unwrap();
    roblox.unassign_role(GROUP, 7, 105).await.unwrap();
    let roles: BTreeSet<u64> = roblox.membership(GROUP, 7).await.unwrap().unwrap().roles.into_iter().collect();
    assert_eq!(roles, [106, fake.own_role(1)].into());
    assert_eq!(roblox.membership(GROUP, 4711).await, Ok(None));
    let denied = roblox.assign_role(GROUP, OWNER, 106).await.unwrap_err();
    assert!(matches!(denied, Trouble::Denied { .. }), "{denied:?}");
    fake.join_request(300);
    fake.join_request(301);
    let asking = roblox.join_requests(GROUP, None).await.unwrap().items;
    assert_eq!((asking.len(), asking[0].user, asking[0].created), (2, 300, Some(START)));
    roblox.accept_join(GROUP, 300).await.unwrap();
    roblox.decline_join(GROUP, 301).await.unwrap();
    let log = roblox.audit_log(GROUP, None).await.unwrap().items;
    assert_eq!((log.len(), log[0].actor, log[3].action.as_str()), (4, Some(BOT), "AssignRole"));
    let whats: Vec<Change> = fake.effects().into_iter().map(|effect| effect.what).collect();
    assert_eq!(whats, [Change::Assigned(106), Change::Unassigned(105), Change::Accepted, Change::Declined]);
    scene.end();
}

#[tokio::test]
async fn stores_are_listed_read_and_written() {
    let scene = Scene::new();
    let Scene { fake, roblox, .. } = &scene;
    let stats = store("Stats");
    for key in ["p_1", "p_2", "p_me@home", "p_a/b c%", "other \"one\""] {
        fake.entry("Stats", "global", key, &json!({"key": key}));
    }
    fake.delete_entry("Stats", "global", "p_2");
    fake.days_for(Class::StoreList, &[Day::Short(1), Day::EmptyPage]);
    let (mut keys, mut page) = (vec![], None);
    loop {
        let listed = roblox.list_entries(&stats, Some("p_"), page.as_deref(), 256).await.unwrap();
        keys.extend(listed.items);
        page = listed.next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["p_1", "p_a/b c%", "p_me@home"]);
    assert_eq!(roblox.list_entries(&stats, Some("other \""), None, 10).await.unwrap().items.len(), 1);
    for key in &keys {
        assert_eq!(roblox.entry(&stats, key).await.unwrap().unwrap().value, json!({"key": key}));
    }
    let whole = (Some(json!({"season": 3})), &[7u64][..]);
    fake.entry_with("Stats", ("global", "p_1"), &json!({"xp": 5}), whole);
    let was = roblox.versioned_entry(&stats, "p_1").await.unwrap().unwrap();
    assert_eq!((was.text.as_str(), was.attributes.as_deref()), (r#"{"xp":5}"#, Some(r#"{"season":3}"#)));
    let write = async |text: &str| roblox.replace_entry(&stats, "p_1", text.to_owned(), &was).await;
    assert_eq!(write(r#"{"xp":6}"#).await, Ok(Replaced::Done));
    assert_eq!(write(r#"{"xp":7}"#).await, Ok(Replaced::Moved));
    let now = fake.entry_of("Stats", "global", "p_1").unwrap().current;
    assert_eq!((now.text.as_str(), now.attributes, now.users), (r#"{"xp":6}"#, Some(json!({"season": 3})), vec![7]));
    fake.delete_entry("Stats", "global", "p_1");
    let gone = roblox.replace_entry(&stats, "p_1", "1".into(), &was).await;
    assert_eq!(gone, Ok(Replaced::Moved), "no entry is made");
    // Whichever way a deleted entry is answered.
    for _ in 0..2 {
        assert_eq!(roblox.entry(&stats, "p_2").await, Ok(None));
        assert_eq!(roblox.versioned_entry(&stats, "p_2").await, Ok(None));
    }
    scene.end();
}

#[tokio::test]
async fn an_entry_whose_attributes_cannot_be_read_is_not_given_out() {
    let scene = Scene::new();
    let odd = (Some(json!({"name": "é"})), &[7u64][..]);
    scene.fake.entry_with("Stats", ("global", "p_1"), &json!({"xp": 5}), odd);
    let read = scene.roblox.versioned_entry(&store("Stats"), "p_1").await;
    assert!(matches!(read, Err(Trouble::Unreadable(_))), "written back, it would lose them: {read:?}");
    for key in ["a\tb", ".\n.", "\u{7}"] {
        let read = scene.roblox.versioned_entry(&store("Stats"), key).await;
        assert!(matches!(read, Err(Trouble::Refused { status: 400, .. })), "{key:?}: {read:?}");
    }
    scene.end();
}

#[tokio::test]
async fn boards_are_written_and_read_from_the_top() {
    let scene = Scene::new();
    let top = store("Top");
    for (id, value) in [("a", 5), ("b", 9), ("a", 10), ("c", 1)] {
        scene.roblox.put_ordered(&top, id, value).await.unwrap();
    }
    scene.roblox.delete_ordered(&top, "c").await.unwrap();
    scene.roblox.delete_ordered(&top, "c").await.unwrap();
    let listed = scene.roblox.ordered_top(&top, None).await.unwrap();
    assert_eq!((listed.items, listed.next), (vec![("a".to_owned(), 10), ("b".to_owned(), 9)], None));
    scene.end();
}

#[tokio::test]
async fn people_are_kept_out_once_even_when_the_answer_is_lost() {
    let scene = Scene::new();
    let Scene { fake, roblox, clock } = &scene;
    let wanted = Wanted::KeptOut {
        duration: Some(Duration::from_secs(3600)),
        private_reason: "grps".into(),
        display_reason: "Come back later.".into(),
        exclude_alts: false,
    };
    assert!(!roblox.restriction(UNIVERSE, 7).await.unwrap().active);
    fake.days_for(Class::Restrict, &[Day::CutAfterApplying]);
    let lost = roblox.restrict(UNIVERSE, 7, &wanted, ("k", START)).await.unwrap_err();
    assert!(matches!(lost, Trouble::Unanswered(_)), "{lost:?}");
    clock.advance(Duration::from_secs(5));
    roblox.restrict(UNIVERSE, 7, &wanted, ("k", START)).await.unwrap();
    let held = roblox.restriction(UNIVERSE, 7).await.unwrap();
    assert_eq!((held.active, held.duration, held.start), (true, Some(Duration::from_secs(3600)), Some(START)));
    assert_eq!(fake.effects().len(), 1);
    clock.advance(Duration::from_secs(60));
    roblox.restrict(UNIVERSE, 7, &Wanted::Free, ("k2", clock.now())).await.unwrap();
    assert!(!fake.restriction_of(7).unwrap().active);
    scene.end();
}

#[tokio::test]
async fn the_key_and_messages() {
    let scene = Scene::new();
    let Scene { fake, roblox, .. } = &scene;
    let key = roblox.introspect().await.unwrap();
    assert!(key.enabled && !key.expired && key.owner == Some(BOT), "{key:?}");
    for scope in ["group:write", "legacy-group:manage"] {
        assert!(key.may(scope, GROUP), "{scope}");
    }
    for scope in ["universe-datastores.objects:update", "universe.user-restriction:write"] {
        assert!(key.may(scope, UNIVERSE), "{scope}");
    }
    roblox.publish_message(UNIVERSE, "topic", "hello").await.unwrap();
    assert_eq!(fake.messages()[0].message, "hello");
    scene.end();
}

#[tokio::test]
async fn a_budget_keeps_within_the_limits_and_heeds_what_others_use() {
    let scene = Scene::new();
    let Scene { fake, roblox, clock } = &scene;
    let mut waited = Duration::ZERO;
    for _ in 0..400 {
        match roblox.group(GROUP).await {
            Ok(_) => clock.advance(Duration::from_millis(10)),
            Err(Trouble::Paced { wait }) => {
                waited += wait;
                clock.advance(wait);
            }
            Err(trouble) => panic!("{trouble:?}"),
        }
    }
    assert!(waited > Duration::from_secs(100) && fake.limits().served(Class::Group) > 300, "{waited:?}");
    fake.limits().others(Class::Roles, 299);
    roblox.roles_page(GROUP, None).await.unwrap();
    let paced = roblox.roles_page(GROUP, None).await.unwrap_err();
    assert!(matches!(paced, Trouble::Paced { wait } if wait > Duration::from_secs(50)), "{paced:?}");
    scene.end();
}
