//! The policy, or the group's roles, change while something is under way or a punishment lasts: what we gave is still ours to take.

use grps::domains::applying::PUNISHED;
use grps::domains::audit::Actor;
use grps::domains::players::Origin;
use grps::domains::policy::Action;
use grps::domains::ranks::{Order, OrderIds, Ordered, Sender};
use grps::fakes::roblox::{Class, Day};

use super::*;
use crate::harness::edit_json;

fn warned() -> Value {
    json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})
}

impl Scene {
    /// Edits a policy file while the program runs.
    async fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        edit_json(&self.app.policy_dir().join(file), change);
        let before = self.app.app.policy.status().version;
        for _ in 0..2 {
            self.app.tick("policy-watch").await;
        }
        assert_ne!(self.app.app.policy.status().version, before, "the edit is in force");
    }

    async fn demand(&self, user: u64, order: Order) -> Id {
        let (app, now) = (&self.app.app, self.now());
        let ids = OrderIds::new(&app.ids);
        let sender = Sender { actor: Actor::of("somebody"), request_id: "by hand".into() };
        let (user, order, sender, ranks) = (RobloxId::new(user).unwrap(), &order, &sender, &app.ranks);
        let ordered = app.store.transact(|tx| async move { ranks.order(&tx, user, order, ids, (sender, now)).await });
        match ordered.await.unwrap() {
            Ordered::Queued(id) => id,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_role_of_a_suspension_is_taken_whatever_it_is_called_by_then() {
    for by_policy in [false, true] {
        let scene = Scene::new().await;
        scene.fake.member(7, &[SPECIALIST, EVENT_HOST]);
        let id = scene.decide(7, warned()).await;
        scene.work().await;
        assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
        if by_policy {
            scene.fake.role(GROUP * 1000 + 6, "Timeout", 6, &[]);
            let other = |file: &mut Value| file["statuses"]["suspended"]["groupRole"] = "Timeout".into();
            scene.edit("policy.punishments.json", other).await;
        } else {
            scene.fake.role(SUSPENDED, "Timeout", 5, &[]);
        }
        scene.app.advance(86_401);
        scene.app.tick("releases").await;
        scene.run(60).await;
        assert_eq!(scene.player(7).await.punished(), None);
        assert_eq!(
            scene.roles(7),
            [EVENT_HOST, SPECIALIST],
            "by the policy: {by_policy}, {:?}",
            scene.effect(id).await
        );
        scene.check();
    }
}

#[tokio::test]
async fn a_rank_that_left_the_ladder_midway_is_taken_back() {
    let mut scene = Scene::new().await;
    scene.fake.days_for(Class::Unassign, &[Day::Down]);
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST, CORPORAL]);
    scene = scene.restart().await;
    let gone = |file: &mut Value| drop(file["limits"]["mod"].as_object_mut().unwrap().remove("highestTargetRank"));
    edit_json(&scene.app.policy_dir().join("permissions.json"), gone);
    let gone =
        |file: &mut Value| file["ranks"].as_array_mut().unwrap().retain(|rank| rank["name"] != "Storm Corporal I");
    scene.edit("policy.ranks.json", gone).await;
    scene.run(60).await;
    let failed = scene.decision(7, id).await;
    assert_eq!(failed.status, Status::Failed);
    assert!(failed.failure.unwrap().contains("Storm Corporal I is not on the ladder"));
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST]);
}

#[tokio::test]
async fn a_lift_that_falls_midway_leaves_the_member_kept_out() {
    let mut scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    let id = scene.decide(7, warned()).await;
    scene.work().await;
    let kept_out = |scene: &Scene| scene.fake.restriction_of(7).is_some_and(|held| held.active);
    assert!(kept_out(&scene));
    scene.app.advance(3_600);
    scene.fake.days_for(Class::Assign, &[Day::Down]);
    let lift = Order::lift(Origin::Revert(id), Action::Suspend, Some("suspended".into()), "taken back");
    let lift = scene.demand(7, lift).await;
    scene.work().await;
    assert!(!kept_out(&scene), "the lift has begun");
    scene.app.advance(1);
    scene = scene.restart().await;
    scene.demand(7, Order::new(Origin::Drift, Action::Demote, Some("Shock Trooper II".into()), "by hand")).await;
    scene.run(120).await;
    assert_eq!(scene.status(7, lift).await, Status::Blocked);
    assert_eq!((scene.roles(7), scene.player(7).await.punished().unwrap().id), (vec![SUSPENDED], id));
    let held = scene.fake.restriction_of(7).unwrap();
    let left = held.duration.unwrap().as_secs();
    assert!(held.active && (82_000..=82_800).contains(&left), "{held:?}");
    scene.app.advance(86_400);
    scene.app.tick("releases").await;
    scene.run(60).await;
    assert_eq!((scene.roles(7), kept_out(&scene)), (vec![TROOPER], false), "and its end is as any other");
}

/// The program with another experience to look after.
async fn elsewhere(scene: Scene, universe: u64) -> Scene {
    let Scene { app, fake } = scene;
    let change = |config: &mut grps::config::Config| {
        config.roblox.iter_mut().for_each(|roblox| roblox.universe = Some(universe));
    };
    let app = app.restart_with(change).await;
    app.app.group_size.set(LARGE);
    Scene { app, fake }
}

#[tokio::test]
async fn a_ban_of_another_experience_is_not_taken_for_lifted() {
    let unasked = |file: &mut Value| file["approval"]["BAN"] = false.into();
    let scene = Scene::with(Setup::new().policy("policy.punishments.json", unasked)).await;
    scene.fake.member(7, &[SPECIALIST]);
    let ban = scene.decide(7, json!({"rank": "Volt Specialist II", "punishmentStatus": "banned"})).await;
    scene.work().await;
    assert!(scene.fake.restriction_of(7).unwrap().active);
    let scene = elsewhere(scene, 4_711).await;
    let lift = scene.demand(7, Order::lift(Origin::Revert(ban), Action::Ban, Some("banned".into()), "sorry")).await;
    scene.work().await;
    assert_eq!(scene.status(7, lift).await, Status::Failed);
    let why = scene.decision(7, lift).await.failure.unwrap();
    assert!(why.contains("4711") && why.contains(&UNIVERSE.to_string()) && why.contains("ROBLOX_UNIVERSE_ID"), "{why}");
    assert_eq!(state::rows(&scene.app, &PUNISHED).await.len(), 1, "it is not forgotten");
    let scene = elsewhere(scene, UNIVERSE).await;
    scene.app.post(&format!("/automation/decisions/{lift}/retry"), "{}").operator().expect(200).await;
    scene.work().await;
    assert_eq!((scene.status(7, lift).await, scene.fake.restriction_of(7).unwrap().active), (Status::Applied, false));
    assert_eq!(state::rows(&scene.app, &PUNISHED).await.len(), 0);
}

#[tokio::test]
async fn a_suspension_of_another_experience_ends_with_its_time() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.decide(7, warned()).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED]);
    let scene = elsewhere(scene, 4_711).await;
    scene.app.advance(86_401);
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!((scene.roles(7), state::rows(&scene.app, &PUNISHED).await.len()), (vec![SPECIALIST], 0));
}

#[tokio::test]
async fn a_suspension_that_was_begun_in_another_experience_is_not_begun_again_here() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.days_for(Class::Assign, &[Day::Down]);
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert!(scene.fake.restriction_of(7).unwrap().active);
    let scene = elsewhere(scene, 4_711).await;
    scene.run(61).await;
    let decision = scene.decision(7, id).await;
    let why = decision.failure.unwrap();
    assert!(decision.status == Status::Failed && why.contains(&UNIVERSE.to_string()) && why.contains("4711"), "{why}");
    let scene = elsewhere(scene, UNIVERSE).await;
    scene.app.post(&format!("/automation/decisions/{id}/retry"), "{}").operator().expect(200).await;
    scene.work().await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![SUSPENDED]));
    // What the retry only found there is its own all the same.
    let lift = Order::lift(Origin::Revert(id), Action::Suspend, Some("suspended".into()), "taken back");
    let lift = scene.demand(7, lift).await;
    scene.run(61).await;
    assert_eq!((scene.status(7, lift).await, scene.roles(7)), (Status::Applied, vec![SPECIALIST]));
    assert!(!scene.fake.restriction_of(7).unwrap().active);
}
