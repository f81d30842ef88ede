//! Bad days: each is waited out, or told in words a group owner understands, and nothing is lost or done twice.

use grps::fakes::roblox::{Class, Day, Key};

use super::*;

/// What the decision says is in the way, or made it fail.
async fn why(scene: &Scene, user: u64, id: Id) -> String {
    let decision = scene.decision(user, id).await;
    let waiting = scene.app.app.store.get(&EFFECTS, &id).await.unwrap().and_then(|effect| effect.waiting);
    decision.failure.or(waiting).unwrap_or_default()
}

#[tokio::test]
async fn days_that_pass_are_waited_out() {
    let days = [
        Day::Limited(Some(3), None),
        Day::Limited(None, Some(2)),
        Day::Limited(None, None),
        Day::Down,
        Day::Unavailable,
        Day::Cancelled,
        Day::Aborted,
        Day::Garbage,
        Day::Empty,
        Day::CutAfterApplying,
    ];
    for class in [Class::Memberships, Class::Assign, Class::Unassign] {
        for day in &days {
            let scene = Scene::new().await;
            let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
            scene.fake.days_for(class, std::slice::from_ref(day));
            scene.work().await;
            scene.run(90).await;
            let what = format!("{class:?} {day:?}: {}", why(&scene, 7, id).await);
            assert_eq!(scene.status(7, id).await, Status::Applied, "{what}");
            assert_eq!(scene.roles(7), [EVENT_HOST, CORPORAL], "{what}");
            assert_eq!((scene.fake.effects().len(), scene.told(7, "decision.applied").await), (2, 1), "{what}");
        }
    }
}

#[tokio::test]
async fn what_only_the_owner_can_cure_holds_everything_back_and_says_so() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.climate(Some(Day::Unauthorized));
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Queued);
    assert!(why(&scene, 7, id).await.contains("does not accept ROBLOX_OPEN_CLOUD_API_KEY"));
    let ready = scene.app.get("/health/ready").expect(200).await.json();
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "decisions").unwrap().clone();
    assert!(check["ok"] == false && check["detail"].as_str().unwrap().contains("Creator Dashboard"), "{check}");
    let asked = scene.fake.asked().len();
    scene.run(30).await;
    assert_eq!(scene.fake.asked().len(), asked, "nobody knocks at a closed door");
    scene.fake.climate(None);
    scene.run(61).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![CORPORAL]));
    assert_eq!(scene.app.app.applying.held(), None);
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_from_a_rank_above_the_keys() {
    let scene = Scene::new().await;
    let mut key = Key::of(grps::fakes::roblox::BOT);
    key.scopes.retain(|scope| scope.name != "group");
    scene.fake.put_key(KEY, key);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Queued, "{}", why(&scene, 7, id).await);
    assert!(scene.effect(id).await.hint.unwrap().contains("group:write"), "{:?}", scene.effect(id).await);
    scene.fake.put_key(KEY, Key::of(grps::fakes::roblox::BOT));
    scene.app.advance(86_400);
    scene.run(61).await;
    assert_eq!(scene.status(7, id).await, Status::Applied, "{}", why(&scene, 7, id).await);
}

#[tokio::test]
async fn a_member_above_the_keys_owner_is_not_touched_and_the_owner_hears_why() {
    let scene = Scene::new().await;
    let high = GROUP * 1000 + 252;
    scene.fake.role(high, "Council", 252, &[]);
    let id = scene.promote(7, &[SPECIALIST, high]).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    let why = why(&scene, 7, id).await;
    assert!(why.contains("must rank below the owner of the Open Cloud key"), "{why}");
    assert_eq!((scene.roles(7), scene.fake.effects().len()), (vec![SPECIALIST, high], 0));
    assert_eq!(scene.told(7, "decision.failed").await, 1);
}

#[tokio::test]
async fn who_left_the_group_cannot_be_promoted() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.leave(7);
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    assert!(why(&scene, 7, id).await.contains("not a member of the group"));
    let id = scene.decide(8, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert_eq!(scene.status(8, id).await, Status::Applied, "who is no member can be kept out all the same");
    assert!(scene.fake.restriction_of(8).unwrap().active);
}

#[tokio::test]
async fn a_role_that_is_gone_or_not_one_of_a_kind_fails_with_its_name() {
    let scene = Scene::new().await;
    scene.fake.delete_role(CORPORAL);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Failed, vec![SPECIALIST]));
    let gone = why(&scene, 7, id).await;
    assert!(gone.contains("the group has no role with the rank number 40"), "{gone}");

    let by_name = Setup::new().policy("policy.ranks.json", |ranks| {
        ranks["ranks"][2].as_object_mut().unwrap().remove("robloxRank");
    });
    let scene = Scene::with(by_name).await;
    scene.fake.role(GROUP * 1000 + 41, "Storm Corporal I", 41, &[]);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    let twice = why(&scene, 7, id).await;
    assert!(scene.status(7, id).await == Status::Failed && twice.contains("Storm Corporal I"), "{twice}");
}

#[tokio::test]
async fn a_role_deleted_while_it_is_given_is_noticed_and_nothing_is_left_half_done() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.work().await; // The group's roles are known now.
    scene.fake.delete_role(CORPORAL);
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST]);
}

#[tokio::test]
async fn what_cannot_be_ended_is_taken_back() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    // The new role can be given, but the old one not be taken, at first.
    scene.fake.days_for(Class::Unassign, &[Day::Invalid, Day::Invalid]);
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed, "{}", why(&scene, 7, id).await);
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST], "{:?}", scene.effect(id).await);
    assert!(scene.steps(id).await.contains(&StepKind::TakeBack));
    assert_eq!(scene.player(7).await.rank.as_deref(), Some("Volt Specialist II"));
}

#[tokio::test]
async fn a_decision_that_falls_while_it_is_carried_out_leaves_one_role() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    // Both roles are held when the next decision comes.
    scene.fake.days_for(Class::Unassign, &[Day::Down]);
    scene.work().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST, CORPORAL]);
    let facts = json!({"rank": "Volt Specialist II", "rankPoints": 760, "warnings": 3});
    let suspension = scene.decide(7, facts).await;
    scene.run(5).await;
    assert_eq!(scene.status(7, id).await, Status::Blocked, "superseded");
    assert_eq!(scene.status(7, suspension).await, Status::Applied);
    assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
    scene.app.advance(86_400);
    scene.app.tick("releases").await;
    scene.run(2).await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST], "the rank that is stored comes back");
}

#[tokio::test]
async fn a_restriction_whose_answer_is_lost_is_made_once() {
    for day in [Day::CutAfterApplying, Day::Down, Day::Limited(Some(2), None)] {
        let scene = Scene::new().await;
        scene.fake.member(7, &[SPECIALIST]);
        scene.fake.days_for(Class::Restrict, std::slice::from_ref(&day));
        let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
        scene.work().await;
        scene.run(70).await;
        assert_eq!(scene.status(7, id).await, Status::Applied, "{day:?} {}", why(&scene, 7, id).await);
        let restricted =
            scene.fake.effects().into_iter().filter(|effect| effect.what == grps::fakes::roblox::Change::Restricted);
        assert_eq!(restricted.count(), 1, "{day:?}");
    }
}
