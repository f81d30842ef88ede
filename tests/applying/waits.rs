//! What is not carried out says why: a decision behind a hold, the check of Roblox in `/health/ready`, and one that failed for good.

use grps::fakes::roblox::{BOT, Class, Day, Key};

use super::*;

/// A decision as the API shows it.
async fn shown(scene: &Scene, id: Id) -> Value {
    scene.app.get(&format!("/automation/decisions/{id}")).operator().expect(200).await.json()
}

async fn check(scene: &Scene, name: &str) -> Value {
    let ready = scene.app.get("/health/ready").expect(200).await.json();
    ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn whoever_waits_behind_a_hold_says_why_and_no_row_is_written_for_it() {
    let scene = Scene::new().await;
    scene.promote(7, &[SPECIALIST]).await;
    scene.fake.climate(Some(Day::Unauthorized));
    scene.work().await;
    let behind = [scene.promote(8, &[SPECIALIST]).await, scene.promote(9, &[SPECIALIST]).await];
    scene.run(20).await;
    let list = scene.app.get("/automation/decisions?status=queued").operator().expect(200).await.json();
    assert_eq!(list["decisions"].as_array().unwrap().len(), 3);
    let mut told = list["decisions"].as_array().unwrap().clone();
    told.push(shown(&scene, behind[0]).await);
    told.push(shown(&scene, behind[1]).await);
    for one in told {
        let said = |name: &str| one["effect"][name].as_str().unwrap_or_default().to_owned();
        assert!(said("waiting").contains("does not accept ROBLOX_OPEN_CLOUD_API_KEY"), "{one}");
        assert!(said("hint").contains("Creator Dashboard"), "{one}");
    }
    for id in behind {
        assert_eq!(
            scene.app.app.store.get(&EFFECTS, &id).await.unwrap(),
            None,
            "nothing is written for who only waits"
        );
        let one = shown(&scene, id).await;
        assert_eq!((&one["effect"]["beganAt"], &one["effect"]["steps"]), (&Value::Null, &json!([])), "{one}");
    }
    scene.fake.climate(None);
    scene.run(90).await;
    for id in behind {
        let one = shown(&scene, id).await;
        assert_eq!((&one["status"], &one["effect"]["waiting"]), (&json!("applied"), &Value::Null), "{one}");
    }
}

#[tokio::test]
async fn what_waits_for_another_decision_says_so() {
    let scene = Scene::new().await;
    let first = scene.promote(7, &[SPECIALIST]).await;
    // Both roles are held when the next decision comes: that one waits until this is taken back. A conflict holds nobody else back.
    scene.fake.days_for(Class::Unassign, &[Day::Aborted]);
    scene.work().await;
    let facts = json!({"rank": "Volt Specialist II", "rankPoints": 760, "warnings": 3});
    let second = scene.decide(7, facts).await;
    let one = shown(&scene, second).await;
    let waiting = one["effect"]["waiting"].as_str().unwrap_or_default();
    assert_eq!(waiting, format!("decision {first} about the same player comes first"), "{one}");
    scene.run(5).await;
    let one = shown(&scene, second).await;
    assert_eq!((&one["status"], &one["effect"]["waiting"]), (&json!("applied"), &Value::Null), "{one}");
}

#[tokio::test]
async fn what_waits_for_the_breaker_says_so() {
    let scene = Scene::strict(Setup::new()).await;
    (0..LARGE).for_each(|user| scene.fake.member(5_000_000 + user, &[]));
    scene.app.app.group_size.set(LARGE);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.app.post("/automation/breaker", r#"{"open":true}"#).operator().expect(200).await;
    scene.work().await;
    let one = shown(&scene, id).await;
    assert!(one["effect"]["waiting"].as_str().unwrap_or_default().contains("breaker"), "{one}");
    assert!(one["effect"]["hint"].as_str().unwrap_or_default().contains("grps decisions breaker"), "{one}");
}

#[tokio::test]
async fn the_check_of_roblox_fails_while_the_key_is_refused_and_recovers_by_itself() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.app.tick("group").await;
    scene.work().await;
    assert_eq!(check(&scene, "roblox").await["ok"], true);
    scene.promote(7, &[SPECIALIST]).await;
    scene.fake.climate(Some(Day::Unauthorized));
    scene.work().await;
    for name in ["roblox", "decisions"] {
        let failing = check(&scene, name).await;
        assert_eq!(failing["ok"], false, "{failing}");
        assert!(failing["detail"].as_str().unwrap().contains("does not accept ROBLOX_OPEN_CLOUD_API_KEY"), "{failing}");
    }
    scene.fake.climate(None);
    scene.run(61).await;
    for name in ["roblox", "decisions"] {
        assert_eq!(check(&scene, name).await["ok"], true, "{name}");
    }
}

#[tokio::test]
async fn what_the_doctor_sees_of_the_key_shows_until_the_next_look() {
    let scene = Scene::new().await;
    scene.app.tick("group").await;
    assert_eq!(check(&scene, "roblox").await["ok"], true);
    scene.fake.climate(Some(Day::Unauthorized));
    scene.app.post("/admin/api/roblox/probe", "").operator().expect(200).await;
    assert_eq!(check(&scene, "roblox").await["ok"], false);
    assert_eq!(check(&scene, "decisions").await["ok"], true, "nothing waits");
    assert_eq!(scene.app.tick("group").await, Next::After(Duration::from_secs(60)), "it is looked at again soon");
    scene.fake.climate(None);
    scene.app.tick("group").await;
    assert_eq!(check(&scene, "roblox").await["ok"], true);
}

#[tokio::test]
async fn a_scope_that_is_missing_fails_the_check_of_roblox_until_it_is_there() {
    let scene = Scene::new().await;
    scene.app.tick("group").await;
    let mut key = Key::of(BOT);
    key.scopes.retain(|scope| scope.name != "universe.user-restriction");
    scene.fake.put_key(KEY, key);
    scene.fake.member(7, &[SPECIALIST]);
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    let failing = check(&scene, "roblox").await;
    assert!(failing["ok"] == false && failing["detail"].as_str().unwrap().contains("user-restriction"), "{failing}");
    scene.fake.put_key(KEY, Key::of(BOT));
    scene.run(61).await;
    assert_eq!((scene.status(7, id).await, &check(&scene, "roblox").await["ok"]), (Status::Applied, &json!(true)));
}

#[tokio::test]
async fn a_key_that_was_mended_is_read_again_within_a_minute() {
    let scene = Scene::new().await;
    let mut key = Key::of(BOT);
    key.scopes.retain(|scope| scope.name != "group");
    scene.fake.put_key(KEY, key);
    scene.app.tick("group").await;
    assert_eq!(check(&scene, "roblox").await["ok"], false);
    scene.fake.put_key(KEY, Key::of(BOT));
    scene.app.advance(60);
    scene.app.tick("group").await;
    assert_eq!(check(&scene, "roblox").await["ok"], true, "not only tomorrow");
}

#[tokio::test]
async fn a_hold_that_nothing_waits_behind_any_more_is_no_news() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.climate(Some(Day::Unauthorized));
    scene.work().await;
    assert_eq!(check(&scene, "decisions").await["ok"], false);
    let path = format!("/automation/decisions/{id}/reject");
    scene.app.post(&path, r#"{"reason":"by mistake"}"#).operator().expect(200).await;
    scene.work().await;
    assert_eq!(check(&scene, "decisions").await["ok"], true);
}

#[tokio::test]
async fn a_role_deleted_since_it_was_read_is_told_once_with_what_to_do() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.work().await; // The group's roles are known now.
    scene.fake.delete_role(CORPORAL);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    let failure = scene.decision(7, id).await.failure.unwrap();
    assert!(failure.contains("Storm Corporal I") && !failure.contains("INVALID_ARGUMENT"), "{failure}");
    assert!(failure.contains("grps doctor roblox") && failure.contains("policy.ranks.json"), "{failure}");
    assert_eq!(failure.matches("refused").count(), 0, "the roles were read anew: {failure}");
    assert_eq!(scene.roles(7), [SPECIALIST]);
}

#[tokio::test]
async fn a_change_that_roblox_refuses_for_good_is_told_once_with_its_words_at_the_end() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(Class::Assign, &[Day::Invalid, Day::Invalid]);
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    let failure = scene.decision(7, id).await.failure.unwrap();
    assert_eq!(failure.matches("refused").count(), 1, "{failure}");
    assert!(failure.contains("grps doctor roblox"), "{failure}");
    assert!(
        failure.ends_with("\"") || failure.ends_with("\")"),
        "the vendor's words stand quoted at the end: {failure}"
    );
}
