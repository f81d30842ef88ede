//! Turns that go another way than they began: decisions that fall, people who were quicker, clocks that were set back.

use grps::domains::audit::Actor;
use grps::domains::players::Origin;
use grps::domains::policy::Action;
use grps::domains::ranks::{Order, OrderIds, Ordered, Sender};
use grps::fakes::roblox::{BOT, Class, Day, Key};

use super::*;

/// Three calls of each kind a minute.
fn tight() -> Setup {
    Setup::new().set("ROBLOX_BUDGET_PERCENT", "1")
}

/// Bans take effect without anybody's approval.
fn bans(setup: Setup) -> Setup {
    setup.policy("policy.punishments.json", |file| file["approval"]["BAN"] = false.into())
}

fn specialist(more: Value) -> Value {
    let mut facts = json!({"rank": "Volt Specialist II", "rankPoints": 500});
    facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    facts
}

impl Scene {
    async fn suspend(&self, user: u64) -> Id {
        self.decide(user, specialist(json!({"warnings": 3}))).await
    }

    async fn ban(&self, user: u64) -> Id {
        self.decide(user, specialist(json!({"warnings": 3, "punishmentStatus": "banned"}))).await
    }

    /// Orders something that the policy did not decide.
    async fn order(&self, user: u64, order: Order) {
        let (app, now) = (&self.app.app, self.now());
        let ids = OrderIds::new(&app.ids);
        let sender = Sender { actor: Actor::of("somebody"), request_id: "by hand".into() };
        let (user, order, sender, ranks) = (RobloxId::new(user).unwrap(), &order, &sender, &app.ranks);
        let ordered = app.store.transact(|tx| async move { ranks.order(&tx, user, order, ids, (sender, now)).await });
        let ordered = ordered.await.unwrap();
        assert!(matches!(ordered, Ordered::Queued(_)), "{ordered:?}");
    }

    async fn lift(&self, user: u64, id: Id) {
        self.order(user, Order::lift(Origin::Revert(id), Action::Ban, Some("banned".into()), "taken back")).await;
    }
}

#[tokio::test]
async fn a_suspension_that_falls_midway_gives_the_role_back() {
    let scene = Scene::with(tight()).await;
    scene.fake.member(7, &[SPECIALIST]);
    // The key's owner is read, too: not in the minute that is to end before the last look.
    scene.app.app.group.roles(Duration::from_secs(1)).await.unwrap();
    scene.app.advance(61);
    let id = scene.decide(7, specialist(json!({"punishmentStatus": "suspended"}))).await;
    for _ in 0..200 {
        scene.run(1).await;
        if scene.roles(7) == [SUSPENDED] {
            break;
        }
    }
    assert_eq!((scene.roles(7), scene.status(7, id).await), (vec![SUSPENDED], Status::Queued));
    let mut lifted = specialist(json!({"punishmentStatus": null}));
    lifted.as_object_mut().unwrap().extend(json!({"userId": 7, "username": "Player7"}).as_object().unwrap().clone());
    scene.app.apply(lifted).await;
    assert_eq!(scene.status(7, id).await, Status::Blocked);
    scene.run(400).await;
    assert_eq!(scene.roles(7), [SPECIALIST]);
}

#[tokio::test]
async fn pauses_take_nothing_from_what_is_told() {
    let scene = Scene::with(tight()).await;
    for user in 1..=3 {
        scene.promote(user, &[SPECIALIST]).await;
    }
    scene.run(600).await;
    let told = state::audits(&scene.app).await.into_iter().filter(|entry| entry.action == "decision.applied");
    let told: Vec<String> = told.filter_map(|entry| entry.after).collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|told| told.contains("assignRole") && told.contains("unassignRole")), "{told:#?}");
}

#[tokio::test]
async fn what_changed_nothing_on_roblox_says_why() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.suspend(7).await;
    scene.work().await;
    scene.order(7, Order::new(Origin::Drift, Action::Promote, Some("Storm Corporal I".into()), "by hand")).await;
    scene.work().await;
    assert_eq!((scene.roles(7), scene.player(7).await.rank.as_deref()), (vec![SUSPENDED], Some("Storm Corporal I")));
    let told = state::audits(&scene.app).await.into_iter().rfind(|entry| entry.action == "decision.applied");
    let told = told.unwrap().after.unwrap();
    assert!(told.contains("nothing was changed: is suspended or banned; the role is given when that ends"), "{told}");
}

#[tokio::test]
async fn a_restriction_that_was_changed_by_hand_midway_is_made_again() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.days_for(Class::Assign, &[Day::Down]);
    let id = scene.suspend(7).await;
    scene.work().await;
    scene.fake.restrict_by_hand(7, Some(Duration::from_secs(60)), "short");
    scene.run(300).await;
    assert_eq!(scene.status(7, id).await, Status::Applied);
}

#[tokio::test]
async fn without_a_stored_rank_the_role_that_was_there_comes_back() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.decide(7, json!({"rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED]);
    scene.app.advance(86_401);
    scene.release().await;
    assert_eq!(scene.roles(7), [SPECIALIST]);
}

#[tokio::test]
async fn a_status_that_does_not_give_the_rank_back_leaves_none() {
    let lasting = |file: &mut Value| file["statuses"]["suspended"]["restoreRankAfter"] = false.into();
    let scene = Scene::with(Setup::new().policy("policy.punishments.json", lasting)).await;
    scene.fake.member(7, &[SPECIALIST, EVENT_HOST]);
    scene.suspend(7).await;
    scene.work().await;
    scene.app.advance(86_401);
    scene.release().await;
    assert_eq!((scene.roles(7), scene.player(7).await.rank), (vec![EVENT_HOST], None));
}

#[tokio::test]
async fn roles_that_people_gave_on_roblox_are_not_taken_away() {
    let scene = Scene::new().await;
    for (user, role) in [(7, MARSHAL), (8, SUSPENDED)] {
        let id = scene.promote(user, &[SPECIALIST, role]).await;
        scene.work().await;
        assert_eq!(scene.status(user, id).await, Status::Failed);
        assert!(scene.roles(user).contains(&role) && scene.roles(user).contains(&SPECIALIST));
    }
    assert_eq!(scene.fake.effects(), []);
    let demotes = |file: &mut Value| file["warnings"]["thresholds"] = json!([{"at": 3, "action": "DEMOTE"}]);
    let scene = Scene::with(Setup::new().policy("policy.punishments.json", demotes)).await;
    scene.fake.member(9, &[CORPORAL]);
    let demotion = scene.decide(9, specialist(json!({"warnings": 3}))).await;
    scene.work().await;
    let why = scene.decision(9, demotion).await;
    assert_eq!((why.action, why.status), (Action::Demote, Status::Failed), "{why:?}");
    assert!(why.failure.is_some_and(|why| why.contains("somebody gave it by hand")));
    assert_eq!((scene.roles(9), scene.fake.effects()), (vec![CORPORAL], vec![]));
}

#[tokio::test]
async fn who_is_to_be_left_alone_is_not_put_out_of_the_experience_either() {
    let scene = Scene::with(bans(Setup::new())).await;
    for (user, role, why) in [(7, MARSHAL, "Stormmarshal"), (9, scene.fake.own_role(255), "owns the group")] {
        scene.fake.member(user, &[SPECIALIST, role]);
        scene.fake.member(user + 1, &[SPECIALIST, role]);
        for (user, id) in [(user, scene.suspend(user).await), (user + 1, scene.ban(user + 1).await)] {
            scene.run(5).await;
            let failure = scene.decision(user, id).await.failure.unwrap_or_default();
            assert!(failure.contains(why) && failure.contains("automation leaves"), "{user}: {failure}");
            assert_eq!((scene.status(user, id).await, scene.roles(user)), (Status::Failed, vec![SPECIALIST, role]));
            assert!(!scene.effect(id).await.touched);
        }
    }
    assert_eq!(scene.fake.effects(), []);
    assert_eq!(scene.fake.limits().served(Class::Restrict), 0, "nobody was let in again, either");
}

#[tokio::test]
async fn a_ban_concerns_those_outside_the_group_and_waits_while_nobody_can_tell() {
    let scene = Scene::with(bans(Setup::new())).await;
    let outside = scene.ban(8).await;
    scene.work().await;
    assert_eq!((scene.status(8, outside).await, scene.fake.restriction_of(8).unwrap().active), (Status::Applied, true));
    scene.fake.member(7, &[SPECIALIST, MARSHAL]);
    scene.fake.member(9, &[SPECIALIST]);
    scene.fake.days_for(Class::Memberships, &[Day::Garbage, Day::Empty, Day::Unavailable, Day::Garbage]);
    let ids = [scene.ban(7).await, scene.ban(9).await];
    scene.work().await;
    assert_eq!((scene.status(7, ids[0]).await, scene.status(9, ids[1]).await), (Status::Queued, Status::Queued));
    assert!(scene.fake.restriction_of(7).is_none() && scene.fake.restriction_of(9).is_none());
    scene.run(60).await;
    assert_eq!((scene.status(7, ids[0]).await, scene.status(9, ids[1]).await), (Status::Failed, Status::Applied));
    assert!(scene.fake.restriction_of(7).is_none() && scene.fake.restriction_of(9).unwrap().active);
    assert_eq!(scene.roles(9), [SPECIALIST], "the ban of the shipped policy takes no role");
}

#[tokio::test]
async fn who_rises_while_a_restriction_waits_is_left_alone() {
    let scene = Scene::new().await;
    scene.fake.put_key(KEY, Key::of(BOT).without("universe.user-restriction:write"));
    scene.fake.member(7, &[SPECIALIST]);
    let id = scene.suspend(7).await;
    scene.work().await;
    assert!(scene.effect(id).await.touched && scene.status(7, id).await == Status::Queued);
    scene.fake.member(7, &[SPECIALIST, MARSHAL]);
    scene.fake.put_key(KEY, Key::of(BOT));
    scene.run(120).await;
    let decision = scene.decision(7, id).await;
    assert_eq!((decision.status, scene.fake.effects()), (Status::Failed, vec![]), "{decision:?}");
    assert!(decision.failure.unwrap().contains("Stormmarshal"));
}

#[tokio::test]
async fn suspended_then_banned_then_taken_back_ends_with_the_rank() {
    let scene = Scene::with(bans(Setup::new())).await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.suspend(7).await;
    scene.work().await;
    let ban = scene.ban(7).await;
    scene.run(61).await;
    assert_eq!((scene.status(7, ban).await, scene.roles(7)), (Status::Applied, vec![SUSPENDED]));
    scene.lift(7, ban).await;
    scene.run(61).await;
    assert_eq!(scene.roles(7), [SPECIALIST]);
    assert!(!scene.fake.restriction_of(7).unwrap().active);
}

#[tokio::test]
async fn a_missing_scope_for_restrictions_does_not_hold_promotions_back() {
    let scene = Scene::new().await;
    scene.fake.put_key(KEY, Key::of(BOT).without("universe.user-restriction:write"));
    scene.fake.member(7, &[SPECIALIST]);
    let suspension = scene.suspend(7).await;
    scene.work().await;
    let id = scene.promote(8, &[SPECIALIST]).await;
    scene.run(10).await;
    assert_eq!((scene.status(8, id).await, scene.status(7, suspension).await), (Status::Applied, Status::Queued));
    let held = scene.app.app.applying.held().unwrap();
    assert!(held.failing.hint.unwrap().contains("universe.user-restriction:write"));
}

#[tokio::test]
async fn a_decision_that_failed_and_is_queued_again_can_end() {
    let scene = Scene::with(Setup::new().set("EVENTS_QUEUE", "events")).await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.leave(7);
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    scene.app.advance(3_700);
    let again = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!((again, scene.status(7, again).await), (id, Status::Applied));
}

#[tokio::test]
async fn a_punishment_that_the_policy_does_not_explain_is_not_told_done() {
    let scene = Scene::with(Setup::new().policy("policy.punishments.json", |file| {
        file["statuses"].as_object_mut().unwrap().remove("suspended");
    }))
    .await;
    scene.fake.member(7, &[SPECIALIST]);
    let id = scene.suspend(7).await;
    scene.work().await;
    let decision = scene.decision(7, id).await;
    assert_eq!(decision.status, Status::Failed);
    assert!(decision.failure.unwrap().contains("policy.punishments.json"));
}

#[tokio::test]
async fn a_former_role_that_is_gone_does_not_hold_up_the_next_decision() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    scene.fake.days_for(Class::Unassign, &[Day::Down]);
    scene.work().await;
    scene.fake.delete_role(SPECIALIST);
    scene.fake.days_for(Class::Assign, &vec![Day::Missing; 100]);
    scene.suspend(7).await;
    let before = scene.fake.asked().len();
    scene.run(120).await;
    assert!(scene.effect(id).await.ended_at.is_some(), "{:?}", scene.effect(id).await);
    assert!(scene.fake.asked().len() - before < 60, "{} requests", scene.fake.asked().len() - before);
}

#[tokio::test]
async fn a_ban_that_falls_leaves_the_suspension_from_before() {
    let alone = |file: &mut Value| file["excludeAltAccounts"] = true.into();
    let scene = Scene::with(bans(Setup::new().policy("policy.punishments.json", alone))).await;
    scene.fake.member(7, &[SPECIALIST]);
    let suspension = scene.suspend(7).await;
    scene.run(400).await;
    assert_eq!(scene.status(7, suspension).await, Status::Applied);
    scene.fake.days_for(Class::Restrict, &[Day::CutAfterApplying]);
    let ban = scene.ban(7).await;
    scene.work().await;
    assert_eq!((scene.status(7, ban).await, scene.fake.restriction_of(7).unwrap().duration), (Status::Queued, None));
    let down = Order::new(Origin::Drift, Action::Demote, Some("Shock Trooper II".into()), "by hand");
    scene.order(7, down).await;
    scene.run(400).await;
    let held = scene.fake.restriction_of(7).unwrap();
    assert!(
        held.active && held.duration.is_some(),
        "suspended for a day, and let in: {held:?} {:?}",
        scene.effect(ban).await
    );
    assert!(held.exclude_alts, "the suspension left other accounts alone: {held:?}");
    assert_eq!(scene.roles(7), [SUSPENDED]);
}

#[tokio::test]
async fn from_suspension_to_ban_nobody_is_let_in_between() {
    let scene = Scene::with(bans(Setup::new())).await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.days_for(Class::Assign, &[Day::Down]);
    scene.suspend(7).await;
    scene.work().await;
    assert!(scene.fake.restriction_of(7).unwrap().active);
    let ban = scene.ban(7).await;
    for _ in 0..100 {
        scene.run(1).await;
        assert!(scene.fake.restriction_of(7).unwrap().active);
    }
    assert_eq!((scene.status(7, ban).await, scene.roles(7)), (Status::Applied, vec![SPECIALIST]));
}

#[tokio::test]
async fn a_role_that_cannot_be_told_from_another_is_not_left_beside_the_new_one() {
    let by_name = |ranks: &mut Value| drop(ranks["ranks"][1].as_object_mut().unwrap().remove("robloxRank"));
    let scene = Scene::with(Setup::new().policy("policy.ranks.json", by_name)).await;
    scene.fake.role(GROUP * 1000 + 31, "Volt Specialist II", 31, &[]);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!((scene.roles(7), scene.status(7, id).await), (vec![SPECIALIST], Status::Failed));
}

#[tokio::test]
async fn a_role_made_a_moment_ago_is_found() {
    let scene = Scene::new().await;
    scene.fake.delete_role(CORPORAL);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    scene.fake.role(CORPORAL, "Storm Corporal I", 40, &[]);
    let id = scene.promote(8, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.status(8, id).await, Status::Applied, "{:?}", scene.decision(8, id).await.failure);
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(Class::Assign, &[Day::Down]);
    scene.work().await;
    scene.app.clock.set_back(Duration::from_secs(3_600));
    scene.run(120).await;
    assert_eq!(scene.status(7, id).await, Status::Applied);
}

#[tokio::test]
async fn what_fell_before_a_clock_was_set_back_is_taken_back_before_what_came_after() {
    let mut scene = Scene::new().await;
    scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    scene.fake.days_for(Class::Unassign, &[Day::Down]);
    scene.work().await;
    scene.app.clock.set_back(Duration::from_secs(7_200));
    scene = scene.restart().await;
    scene.suspend(7).await;
    scene.run(120).await;
    assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
}

#[tokio::test]
async fn a_bot_that_lost_its_rights_fails_nothing() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.work().await;
    scene.fake.days_for(Class::Assign, &vec![Day::Forbidden; 40]);
    let mut ids = Vec::new();
    for user in 101..=120 {
        ids.push((user, scene.promote(user, &[SPECIALIST]).await));
    }
    scene.work().await;
    for (user, id) in ids {
        assert_eq!(scene.status(user, id).await, Status::Queued);
    }
    assert!(scene.app.app.applying.held().unwrap().failing.hint.unwrap().contains("permission"));
}

#[tokio::test]
async fn what_waits_behind_a_pause_does_not_keep_the_worker_busy() {
    let scene = Scene::new().await;
    scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(Class::Unassign, &[Day::Down]);
    scene.work().await;
    scene.fake.days_for(Class::Unassign, &[Day::Limited(Some(60), None)]);
    scene.suspend(7).await;
    let mut at_once = 0;
    for _ in 0..100 {
        at_once += u32::from(scene.app.tick("applier").await == Next::Now);
    }
    assert!(at_once < 10, "{at_once} of 100 ticks ask for the next at once, with nothing to do for a minute");
}

#[tokio::test]
async fn a_moderators_ban_that_ours_replaced_comes_back() {
    let scene = Scene::with(bans(Setup::new())).await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.restrict_by_hand(7, Some(Duration::from_secs(90 * 86_400)), "cheated");
    let ban = scene.decide(7, specialist(json!({"punishmentStatus": "banned"}))).await;
    scene.work().await;
    assert_eq!(scene.fake.restriction_of(7).unwrap().duration, None);
    scene.lift(7, ban).await;
    scene.run(61).await;
    let held = scene.fake.restriction_of(7).unwrap();
    assert!(held.active && held.private_reason == "cheated" && held.duration.is_some(), "{held:?}");
    assert!(held.exclude_alts, "their other accounts were left alone: {held:?}");
}

#[tokio::test]
async fn a_call_that_is_refused_for_one_member_holds_nobody_back() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.work().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(Class::Memberships, &[Day::Invalid]);
    scene.work().await;
    assert_eq!((scene.app.app.applying.held(), scene.status(7, id).await), (None, Status::Failed));
}
