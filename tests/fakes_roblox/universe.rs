//! Restrictions, messages, people, and what a key says of itself.

use grps::base::{Clock, Time};
use grps::fakes::roblox::{BOT, Change, Class, GROUP, KEY, Key};
use serde_json::{Value, json};

use super::{MINUTE, Scene, universe};

fn ban(duration: Option<&str>) -> Option<Value> {
    let mut body = json!({"active": true, "privateReason": "grps", "displayReason": "Come back later."});
    if let Some(duration) = duration {
        body["duration"] = duration.into();
    }
    Some(json!({ "gameJoinRestriction": body }))
}

fn of(user: u64) -> String {
    universe(&format!("/user-restrictions/{user}"))
}

#[tokio::test]
async fn a_restriction_for_good_has_no_duration() {
    let scene = Scene::new();
    let never = scene.get(&of(7)).await.json();
    assert_eq!(never["gameJoinRestriction"]["active"], false);
    let path = of(7) + "?updateMask=game_join_restriction";
    let banned = scene.ask("PATCH", &path, ban(None)).await.json()["gameJoinRestriction"].clone();
    assert!(banned["active"] == true && banned.get("duration").is_none() && banned["inherited"] == false, "{banned}");
    let timed = scene.ask("PATCH", &path, ban(Some("3600s"))).await.json();
    assert_eq!(timed["gameJoinRestriction"]["duration"], "3600s");
    scene.clock.advance(MINUTE);
    scene.ask("PATCH", &path, Some(json!({"gameJoinRestriction": {"active": false}}))).await;
    assert!(!scene.fake.restriction_of(7).unwrap().active);
    let listed = scene.get(&universe("/user-restrictions?maxPageSize=100")).await.json();
    assert_eq!(listed["userRestrictions"][0]["user"], "users/7", "who ever was restricted is listed");
    let logs = scene.get(&universe("/user-restrictions:listLogs?filter=user+%3D%3D+'users/7'")).await.json();
    let logs = logs["logs"].as_array().unwrap();
    assert_eq!((logs.len(), &logs[0]["active"], logs[2].get("duration")), (3, &json!(false), None));
    let changes: Vec<Change> = scene.fake.effects().into_iter().map(|effect| effect.what).collect();
    assert_eq!(changes, [Change::Restricted, Change::Restricted, Change::Unrestricted]);
    scene.end();
}

#[tokio::test]
async fn one_persons_restriction_changes_twice_a_minute() {
    let scene = Scene::new();
    let mut statuses = vec![];
    for duration in ["1s", "2s", "3s"] {
        statuses.push(scene.ask("PATCH", &of(7), ban(Some(duration))).await.status);
    }
    assert_eq!(scene.ask("PATCH", &of(8), ban(None)).await.status, 200, "another person's is another matter");
    scene.clock.advance(MINUTE);
    statuses.push(scene.ask("PATCH", &of(7), ban(None)).await.status);
    assert_eq!(statuses, [200, 200, 429, 200]);
    for user in 100..110 {
        statuses.push(scene.ask("PATCH", &of(user), ban(None)).await.status);
    }
    assert_eq!(statuses[12..], [200, 429], "ten a second in a universe");
    scene.end();
}

#[tokio::test]
async fn what_was_sent_before_is_not_done_again() {
    let scene = Scene::new();
    let path = |sent: &str| of(7) + "?idempotencyKey.key=k1&idempotencyKey.firstSent=" + sent;
    let first = scene.ask("PATCH", &path("2025-03-01T12:00:00Z"), ban(None)).await;
    scene.clock.advance(MINUTE);
    let second = scene.ask("PATCH", &path("2025-03-01T12:00:00Z"), ban(None)).await;
    assert_eq!((first.text == second.text, scene.fake.effects().len()), (true, 1));
    let reset = scene.ask("PATCH", &path("2025-03-01T12:01:00Z"), ban(None)).await;
    assert_eq!(reset.status, 400, "the time of the first attempt stays");
    scene.end();
}

#[tokio::test]
async fn restrictions_that_cannot_be_are_refused() {
    let scene = Scene::new();
    let long = json!({"gameJoinRestriction": {"active": true, "displayReason": "x".repeat(401)}});
    let bodies = [
        ban(Some("1.5s")).unwrap(),
        ban(Some("0s")).unwrap(),
        json!({"gameJoinRestriction": {}}),
        json!({"gameJoinRestriction": {"active": true, "startTime": "2025-03-01T12:00:00Z"}}),
        long,
    ];
    for body in &bodies {
        assert_eq!(scene.ask("PATCH", &of(7), Some(body.clone())).await.status, 400, "{body}");
    }
    for query in ["?updateMask=game_join_restriction.active", "?idempotencyKey.key=k"] {
        assert_eq!(scene.ask("PATCH", &(of(7) + query), ban(None)).await.status, 400, "{query}");
    }
    assert_eq!((scene.fake.wrong().len(), scene.fake.restriction_of(7)), (7, None));
}

#[tokio::test]
async fn messages_are_accepted_and_some_are_lost() {
    let scene = Scene::new();
    scene.fake.lose_messages(25);
    let publish = universe(":publishMessage");
    for number in 0..20 {
        let got =
            scene.ask("POST", &publish, Some(json!({"topic": "t", "message": format!("{{\"n\":{number}}}")}))).await;
        assert_eq!((got.status, got.text.as_str()), (200, ""));
    }
    let messages = scene.fake.messages();
    assert_eq!((messages.len(), messages.iter().filter(|message| !message.delivered).count()), (20, 5));
    assert_eq!(messages[19].message, json!({"n": 19}));
    let long = Some(json!({"topic": "t", "message": "x".repeat(1025)}));
    assert_eq!(scene.ask("POST", &publish, long).await.status, 400);
    assert_eq!(scene.fake.wrong().len(), 1);
}

#[tokio::test]
async fn people_are_known_or_not() {
    let scene = Scene::new();
    scene.fake.user(7, "builder", "The Builder");
    let got = scene.get("/cloud/v2/users/7").await.json();
    assert_eq!((&got["name"], &got["displayName"]), (&json!("builder"), &json!("The Builder")));
    assert_eq!(scene.get("/cloud/v2/users/8").await.status, 404);
    scene.end();
}

#[tokio::test]
async fn a_key_says_what_it_is_good_for_and_is_remembered_nowhere() {
    let scene = Scene::new();
    let mut key = Key::of(BOT).without("group:write").only("group", &[GROUP]);
    key.expires = Some(Time::parse("2020-01-01T00:00:00Z").unwrap());
    scene.fake.put_key("old", key);
    let about = async |key: &str| scene.ask("POST", "/api-keys/v1/introspect", Some(json!({"apiKey": key}))).await;
    let good = about(KEY).await.json();
    assert_eq!(
        (&good["enabled"], &good["expired"], &good["authorizedUserId"]),
        (&json!(true), &json!(false), &json!(BOT))
    );
    let objects =
        good["scopes"].as_array().unwrap().iter().find(|scope| scope["name"] == "universe-datastores.objects");
    assert_eq!(objects.unwrap()["universeDatastores"], json!([{"universeId": "*", "datastoreName": "*"}]));
    let request = scene.request("POST", "/api-keys/v1/introspect").header("content-type", "application/json");
    let old = scene.send(request.body(r#"{"apiKey": "old"}"#)).await.unwrap().json();
    assert_eq!((&old["expired"], &old["expirationTimeUtc"]), (&json!(true), &json!("2020-01-01T00:00:00Z")));
    assert_eq!(
        (&old["scopes"][0]["operations"], &old["scopes"][0]["groupIds"]),
        (&json!(["read"]), &json!([GROUP.to_string()]))
    );
    assert!(!format!("{:?} {:?}", scene.fake.asked(), scene.fake.wrong()).contains(KEY));
    assert_eq!(scene.fake.limits().served(Class::Introspect), 2);
    scene.end();
}

#[tokio::test]
async fn its_date_goes_by_its_clock_and_may_be_ahead() {
    let scene = Scene::new();
    scene.fake.clock(&Clock::fake(Time::parse("2026-11-21T16:20:28Z").unwrap()));
    assert_eq!(scene.get("/cloud/v2/users/8").await.header("date"), Some("Sat, 21 Nov 2026 16:20:28 GMT"));
    scene.fake.skew(MINUTE * 5);
    assert_eq!(scene.get("/cloud/v2/users/8").await.header("date"), Some("Sat, 21 Nov 2026 16:25:28 GMT"));
    scene.end();
}
