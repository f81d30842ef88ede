//! What decisions do to a group on good days.

use super::*;

#[tokio::test]
async fn a_promotion_moves_the_role_of_the_ladder_and_no_other() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST, EVENT_HOST]).await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST]);
    scene.work().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, CORPORAL]);
    assert_eq!(scene.status(7, id).await, Status::Applied);
    assert_eq!(scene.player(7).await.rank.as_deref(), Some("Storm Corporal I"));
    use StepKind::*;
    assert_eq!(scene.steps(id).await, [ReadRoles, AssignRole, VerifyRoles, UnassignRole, VerifyRoles]);
    assert_eq!((scene.told(7, "decision.queued").await, scene.told(7, "decision.applied").await), (1, 1));
    assert_eq!(scene.fake.effects().len(), 2, "{:?}", scene.fake.effects());
    scene.check();
}

#[tokio::test]
async fn what_holds_already_is_applied_without_a_change() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[CORPORAL]).await;
    scene.work().await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![CORPORAL]));
    assert_eq!(scene.fake.effects(), []);
    assert_eq!(scene.steps(id).await, [StepKind::VerifyRoles]);
    scene.check();
}

#[tokio::test]
async fn several_ladder_roles_become_the_one_that_was_decided() {
    let scene = Scene::new().await;
    scene.promote(7, &[TROOPER, SPECIALIST, EVENT_HOST]).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, CORPORAL]);
    scene.check();
}

#[tokio::test]
async fn a_group_from_before_several_roles_works_too() {
    let scene = Scene::new().await;
    scene.fake.single_role(true);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Applied);
    assert_eq!(scene.roles(7).last(), Some(&CORPORAL), "of the others nothing can be read");
}

#[tokio::test]
async fn a_suspension_keeps_out_for_its_time_and_gives_the_rank_back() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST, EVENT_HOST]);
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Applied, "{:?}", scene.decision(7, id).await.failure);
    assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
    let held = scene.fake.restriction_of(7).unwrap();
    assert!(held.active && held.duration == Some(Duration::from_secs(86_400)), "{held:?}");
    // It ends by the clock: the role comes back, and what Roblox ended itself is left alone.
    scene.app.advance(86_399);
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
    scene.app.advance(2);
    scene.app.tick("releases").await;
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST]);
    assert_eq!(scene.player(7).await.rank.as_deref(), Some("Volt Specialist II"));
    assert_eq!(scene.told(7, "decision.applied").await, 2);
    scene.check();
}

#[tokio::test]
async fn a_suspension_that_rests_on_a_status_ends_when_the_status_is_lifted() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    let facts = |status: Value| json!({"rank": "Volt Specialist II", "rankPoints": 500, "punishmentStatus": status});
    scene.decide(7, facts(json!("suspended"))).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED]);
    assert_eq!(scene.fake.restriction_of(7).unwrap().duration, None);
    scene.app.advance(3_600);
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED], "the status still stands");
    let lifted = json!({"userId": 7, "username": "Player7", "punishmentStatus": null}).to_string();
    scene.app.ingest(lifted).expect(200).await;
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SPECIALIST]);
    assert!(!scene.fake.restriction_of(7).unwrap().active);
    scene.check();
}

#[tokio::test]
async fn the_ban_of_a_moderator_is_neither_shortened_nor_lifted() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.restrict_by_hand(7, None, "cheated");
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Applied);
    scene.app.advance(86_401);
    scene.app.tick("releases").await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SPECIALIST]);
    let held = scene.fake.restriction_of(7).unwrap();
    assert!(held.active && held.private_reason == "cheated", "{held:?}");
    scene.check();
}

#[tokio::test]
async fn without_a_group_a_decision_stays_queued() {
    let app = TestApp::new().await;
    let decision =
        app.apply(json!({"userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": 760})).await;
    assert_eq!(decision["status"], "queued");
    assert!(app.app.workers().iter().all(|worker| worker.name() != "applier"));
}

#[tokio::test]
async fn events_become_jobs_where_they_are_wanted() {
    let scene = Scene::with(Setup::new().set("EVENTS_QUEUE", "events")).await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    let job = scene.app.get("/job/next?queue=events").gateway().expect(200).await.json();
    let payload = if job["payload"].is_object() { job["payload"].clone() } else { job };
    assert_eq!(
        (payload["event"].as_str(), payload["decision"].as_str()),
        (Some("decision.applied"), Some(id.to_string().as_str())),
        "{payload}"
    );
}

#[tokio::test]
async fn the_entry_is_mirrored_where_the_policy_wants_it() {
    let setup = Setup::new().set("ROBLOX_DATASTORE_NAME", "PlayerData").set("ROBLOX_DATASTORE_PREFIX", "player:");
    let scene = Scene::with(
        setup.policy("backend.integrations.json", |file| file["features"]["mirrorDatastore"] = true.into()),
    )
    .await;
    scene.fake.entry_with(
        "PlayerData",
        ("global", "player:7"),
        &json!({"pets": [1], "rank": "x"}),
        (Some(json!({"v": 1})), &[7]),
    );
    scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    scene.app.tick("entry-mirror").await;
    let entry = scene.fake.entry_of("PlayerData", "global", "player:7").unwrap();
    let version = entry.current;
    assert_eq!(serde_json::from_str::<Value>(&version.text).unwrap(), json!({"pets": [1], "rank": "Storm Corporal I"}));
    assert_eq!((version.attributes.clone(), version.users.clone()), (Some(json!({"v": 1})), vec![7]));
    scene.promote(8, &[SPECIALIST]).await;
    scene.work().await;
    scene.app.tick("entry-mirror").await;
    assert!(scene.fake.entry_of("PlayerData", "global", "player:8").is_none(), "an entry is the game's to make");
    scene.check();
}

#[tokio::test]
async fn the_best_of_the_board_are_mirrored() {
    let setup = Setup::new().set("ROBLOX_ORDERED_DATASTORE", "Top").set("ROBLOX_ORDERED_TOP", "2");
    let scene = Scene::with(setup).await;
    scene.fake.ordered("Top", "global", "999", 5);
    for (user, points) in [(7, 10), (8, 30), (9, 20)] {
        scene.app.ingest(json!({"userId": user, "username": "A", "rankPoints": points}).to_string()).expect(200).await;
    }
    scene.app.tick("board-mirror").await;
    let board = |scene: &Scene| scene.fake.ordered_of("Top", "global");
    let rows = |rows: &[(&str, i64)]| rows.iter().map(|(id, value)| ((*id).to_owned(), *value)).collect::<Vec<_>>();
    assert_eq!(board(&scene), rows(&[("8", 30), ("9", 20), ("999", 5)]));
    scene.app.ingest(json!({"userId": 7, "username": "A", "rankPoints": 25}).to_string()).expect(200).await;
    scene.app.tick("board-mirror").await;
    assert_eq!(board(&scene), rows(&[("8", 30), ("7", 25), ("999", 5)]), "what others wrote is left alone");
    scene.check();
}
