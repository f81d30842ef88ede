//! A stolen key asks for as much as it can (`GRPS_STOLEN` says how much). What it gets is bounded, somebody hears of it, and all of it comes back.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_stolen_key_moves_what_the_breaker_allows_and_all_of_it_comes_back() {
    let scene = Scene::strict(Setup::new().set("EVENTS_QUEUE", "events")).await;
    let members = sized("GRPS_STOLEN", 600) as u64;
    (1..=members).for_each(|user| scene.fake.member(user, &[SPECIALIST, EVENT_HOST]));
    scene.app.tick("group").await; // Now the size of the group is known.
    let (mut queued, mut tripped) = (0, None);
    for user in 1..=members {
        let snapshot = json!({"userId": user, "username": "A", "rank": "Volt Specialist II", "rankPoints": 7_900});
        let decision = scene.app.apply(snapshot).await;
        match decision["status"].as_str().unwrap() {
            "queued" => queued += 1,
            _ => {
                let at = *tripped.get_or_insert(scene.now());
                // The alert's worker is called by the commit that tripped: here its turn comes with the next request.
                if scene.now().since(at) < Duration::from_secs(5) {
                    scene.app.tick("brakes-alert").await;
                }
            }
        }
        scene.app.clock.advance(Duration::from_millis(100));
        if user % 7 == 0 {
            scene.work().await;
        }
    }
    scene.run(70).await;
    let most = (members * 5 / 100).clamp(10, 300) as usize;
    let moved = (1..=members).filter(|user| scene.roles(*user).contains(&CORPORAL)).count();
    assert!(queued <= most && moved <= most && moved > 0, "{queued} queued, {moved} moved, at most {most}");
    let mut events = Vec::new();
    while let Ok(event) =
        serde_json::from_str::<Value>(&scene.app.get("/job/next?queue=events").gateway().send().await.text)
    {
        events.push(event.to_string());
    }
    let alerts = events.iter().filter(|event| event.contains("breaker.tripped")).count();
    assert!(alerts >= 1 && events.len() > moved, "{alerts} alerts among {} events", events.len());

    let since = scene.now() - Duration::from_secs(86_400);
    let mut cursor = Value::Null;
    for _ in 0..20 {
        let body = json!({"since": since.to_string(), "dryRun": false, "cursor": cursor}).to_string();
        let page = scene.app.post("/automation/revert", body).operator().expect(200).await.json();
        scene.run(130).await;
        cursor = page["nextCursor"].clone();
        if cursor.is_null() && page["waiting"] == 0 {
            break;
        }
    }
    for user in 1..=members {
        assert_eq!(scene.roles(user), [EVENT_HOST, SPECIALIST], "user {user}");
        assert_eq!(scene.player(user).await.rank.as_deref(), Some("Volt Specialist II"));
    }
    assert_eq!(scene.fake.limits().throttled(), 0);
    println!("{members} malicious applies: {moved} members moved (at most {most}), {moved} of {moved} reverted");
}

#[tokio::test]
async fn who_applies_hears_the_outcome_when_it_comes_in_time() {
    let scene = Scene::with(Setup::new().set("APPLY_INLINE_MS", "30000")).await;
    scene.fake.member(7, &[SPECIALIST]);
    let snapshot = json!({"userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": 760});
    let (decision, ()) = tokio::join!(scene.app.apply(snapshot), async {
        for _ in 0..2_000 {
            scene.work().await;
            if scene.roles(7) == [CORPORAL] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!((decision["status"].as_str(), scene.roles(7)), (Some("applied"), vec![CORPORAL]), "{decision}");
    let snapshot = json!({"userId": 8, "username": "B", "rank": "Volt Specialist II", "rankPoints": 760});
    let (decision, ()) = tokio::join!(scene.app.apply(snapshot), async {
        for _ in 0..200 {
            scene.work().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(decision["status"], "failed", "{decision}");
    assert!(decision["blockedReason"].as_str().unwrap().contains("not a member"), "{decision}");
    let id = decision["requestId"].as_str().unwrap();
    let shown = scene.app.get(&format!("/automation/decisions/{id}")).operator().expect(200).await.json();
    assert_eq!(
        (shown["status"].as_str(), shown["effect"]["steps"].as_array().map(|steps| steps.is_empty())),
        (Some("failed"), Some(false)),
        "{shown}"
    );
}
