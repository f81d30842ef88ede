//! Keys that do not open, limits that are reached, days that are bad, and requests that nobody would understand.

use grps::fakes::roblox::{BOT, Class, Day, FakeRoblox, GROUP, KEY, Key, UNIVERSE};
use serde_json::json;

use super::{MINUTE, Scene, group, role, universe};
use crate::harness::START;

#[tokio::test]
async fn keys_that_do_not_open_are_told_in_the_gateways_shape() {
    let scene = Scene::new();
    let expired = Key { expires: Some(START), ..Key::of(BOT) };
    let disabled = Key { enabled: false, ..Key::of(BOT) };
    scene.fake.put_key("expired", expired);
    scene.fake.put_key("disabled", disabled);
    for key in ["expired", "disabled", "unknown"] {
        let got = scene.get_with(key, &group("")).await;
        assert_eq!((got.status, got.text.as_str()), (401, r#"{"errors":[{"code":0,"message":"Invalid API Key"}]}"#));
    }
    assert_eq!(scene.fake.wrong(), Vec::<String>::new());
    assert_eq!(scene.send(scene.request("GET", &group(""))).await.unwrap().status, 401);
    assert_eq!(scene.fake.wrong().len(), 1, "no key at all is a mistake");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_and_targets_say() {
    let scene = Scene::new();
    scene.fake.put_key("elsewhere", Key::of(BOT).only("group", &[GROUP + 1]));
    scene.fake.put_key("poor", Key::of(BOT).without("universe-datastores.objects:read"));
    let requests = group("/join-requests");
    assert_eq!(scene.get(&requests).await.status, 200);
    let denied = scene.get_with("elsewhere", &requests).await;
    assert_eq!((denied.status, &denied.json()["code"]), (403, &json!("PERMISSION_DENIED")));
    let entries = format!("/datastores/v1/universes/{UNIVERSE}/standard-datastores/datastore/entries/entry");
    let denied = scene.get_with("poor", &format!("{entries}?datastoreName=S&entryKey=k")).await.json();
    assert_eq!(
        (&denied["error"], &denied["errorDetails"][0]["datastoreErrorCode"]),
        (&json!("INSUFFICIENT_SCOPE"), &json!("InsufficientScope"))
    );
    scene.end();
}

#[tokio::test]
async fn limits_slide_and_are_told_in_headers() {
    let scene = Scene::new();
    let first = scene.get(&group("")).await;
    assert_eq!(first.header("x-ratelimit-limit"), Some("150, 150;w=60"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("149"));
    scene.clock.advance(MINUTE / 2);
    scene.fake.limits().others(Class::Group, 148);
    assert_eq!(scene.get(&group("")).await.header("x-ratelimit-remaining"), Some("0"));
    let over = [scene.get(&group("")).await, scene.get(&group("")).await];
    for got in &over {
        assert_eq!((got.status, got.header("x-ratelimit-reset")), (429, Some("30")));
    }
    let told: Vec<Option<&str>> = over.iter().map(|got| got.header("retry-after")).collect();
    assert!(told.contains(&None) && told.contains(&Some("30")), "{told:?}");
    scene.clock.advance(MINUTE / 2);
    assert_eq!(scene.get(&group("")).await.status, 200, "the first one has left the window");
    assert_eq!(scene.get(&group("")).await.status, 429, "and only that");
    let limits = scene.fake.limits();
    assert_eq!((limits.served(Class::Group), limits.throttled(), limits.used_percent(Class::Group)), (3, 3, 100));
    assert_eq!(scene.get(&group("/roles")).await.status, 200, "every class has its own");
    scene.end();
}

#[tokio::test]
async fn all_keys_of_an_owner_share_their_limits() {
    let scene = Scene::new();
    scene.fake.put_key("second", Key::of(BOT));
    scene.fake.put_key("stranger", Key::of(4711));
    scene.fake.limits().set(Class::Group, 1);
    assert_eq!(scene.get(&group("")).await.status, 200);
    assert_eq!(scene.get_with("second", &group("")).await.status, 429);
    assert_eq!(scene.get_with("stranger", &group("")).await.status, 200);
    scene.end();
}

#[tokio::test]
async fn every_bad_day_has_its_shape() {
    let scene = Scene::new();
    for (day, status, start) in [
        (Day::Limited(Some(7), None), 429, r#"{"code":"RESOURCE_EXHAUSTED""#),
        (Day::Unauthorized, 401, r#"{"errors":[{"code":0"#),
        (Day::Forbidden, 403, r#"{"code":"PERMISSION_DENIED""#),
        (Day::StoreForbidden, 403, r#"{"error":"INSUFFICIENT_SCOPE""#),
        (Day::Missing, 404, r#"{"code":"NOT_FOUND""#),
        (Day::Invalid, 400, r#"{"code":"INVALID_ARGUMENT""#),
        (Day::StoreInvalid, 400, r#"{"error":"INVALID_ARGUMENT""#),
        (Day::Validation, 400, r#"{"errors":{"role":["#),
        (Day::Aborted, 409, r#"{"code":"ABORTED""#),
        (Day::Cancelled, 499, r#"{"code":"CANCELLED""#),
        (Day::Down, 502, "<html>"),
        (Day::Unavailable, 503, "<html>"),
        (Day::Garbage, 200, r#"{"path": ""#),
        (Day::Empty, 200, ""),
    ] {
        scene.fake.days(std::slice::from_ref(&day));
        let got = scene.get(&group("")).await;
        assert!(got.status == status && got.text.starts_with(start), "{day:?}: {got:?}");
        assert!(!matches!(day, Day::Empty) || got.text.is_empty());
    }
    scene.fake.days(&[Day::Limited(None, Some(9))]);
    let limited = scene.get(&group("")).await;
    assert_eq!((limited.header("retry-after"), limited.header("x-ratelimit-reset")), (None, Some("9")));
    assert_eq!(scene.fake.limits().throttled(), 0, "bad days are not our doing");
    scene.end();
}

#[tokio::test]
async fn lost_answers_leave_done_what_was_asked_or_not() {
    let scene = Scene::new();
    scene.fake.role(20, "Private", 20, &[]);
    for (user, day, done) in
        [(5, Day::Hang, false), (6, Day::HangAfterApplying, true), (7, Day::CutAfterApplying, true)]
    {
        scene.fake.member(user, &[]);
        scene.fake.days_for(Class::Assign, std::slice::from_ref(&day));
        assert_eq!(scene.get(&group("")).await.status, 200, "other classes have no bad day");
        let path = group(&format!("/memberships/{user}:assignRole"));
        assert!(scene.try_ask("POST", &path, role(20)).await.is_err(), "{day:?}");
        assert_eq!(scene.fake.roles_of(user).contains(&20), done, "{day:?}");
    }
    assert_eq!(scene.fake.effects().len(), 2);
    scene.end();
}

#[tokio::test]
async fn pages_come_short_or_empty_and_nothing_is_lost() {
    let scene = Scene::new();
    (1..=20).for_each(|user| scene.fake.member(user, &[]));
    scene.fake.days_for(Class::Memberships, &[Day::Short(3), Day::EmptyPage]);
    let pages = scene.pages(&group("/memberships?maxPageSize=10"), "groupMemberships").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 0, 10, 9]);
    scene.fake.climate(Some(Day::Down));
    assert_eq!(scene.get(&group("/memberships")).await.status, 502);
    scene.fake.climate(None);
    assert_eq!(scene.get(&group("/memberships")).await.status, 200);
    scene.end();
}

#[tokio::test]
async fn what_roblox_would_not_understand_is_refused_and_remembered() {
    let scene = Scene::new();
    let assign = group("/memberships/5:assignRole");
    for (method, path, body) in [
        ("GET", "/cloud/v2/nowhere".to_owned(), None),
        ("GET", "/cloud/v1/groups/1".to_owned(), None),
        ("DELETE", group("/memberships/5"), None),
        ("POST", group("/memberships/5:promote"), role(1)),
        ("GET", group("/roles?pageSize=5"), None),
        ("GET", group("/roles?maxPageSize=5&maxPageSize=6"), None),
        ("GET", group("/roles?maxPageSize=many"), None),
        ("GET", group("/memberships?filter=rank+%3D%3D+5"), None),
        ("GET", "/cloud/v2/groups/-/memberships".to_owned(), None),
        ("GET", "/cloud/v2/groups/seven".to_owned(), None),
        ("POST", assign.clone(), None),
        ("POST", assign.clone(), Some(json!({"role": 5}))),
        ("POST", assign.clone(), Some(json!({"role": "groups/1/roles/5"}))),
        ("POST", assign.clone(), Some(json!({"role": format!("groups/{GROUP}/roles/5"), "reason": "x"}))),
        ("GET", universe("/data-stores/Stats/entries?filter=id%3D%3D5"), None),
        ("GET", universe("/data-stores/Stats/scopes/-/entries/k"), None),
        ("GET", universe(&format!("/data-stores/{}/entries", "x".repeat(51))), None),
        ("POST", universe("/data-stores/Stats/entries?id=k"), Some(json!({"users": []}))),
        ("GET", universe("/data-stores/Stats/entries/50%"), None),
    ] {
        scene.fake.forget();
        let got = scene.ask(method, &path, body).await;
        assert_eq!((got.status, scene.fake.wrong().len()), (400, 1), "{method} {path}: {got:?}");
    }
    scene.fake.forget();
    let typeless = scene.request("POST", &assign).header("x-api-key", KEY).body("{}");
    assert_eq!(scene.send(typeless).await.unwrap().status, 400);
    assert!(scene.fake.wrong()[0].contains("content-type"), "{:?}", scene.fake.wrong());
}

#[tokio::test]
async fn requests_are_remembered_and_the_server_goes_with_its_last_owner() {
    let scene = Scene::new();
    scene.get(&group("/roles?maxPageSize=5")).await;
    let asked = scene.fake.asked();
    assert_eq!(
        (asked[0].path.as_str(), asked[0].query.as_str(), asked[0].status),
        (&*group("/roles"), "maxPageSize=5", 200)
    );
    let Scene { fake, clock, http } = scene;
    let url = fake.url().to_owned();
    let copy: FakeRoblox = fake.clone();
    drop(fake);
    assert!(http.get(&url).send().await.is_ok());
    drop((copy, clock));
    tokio::time::timeout(MINUTE / 6, async { while http.get(&url).send().await.is_ok() {} }).await.unwrap();
}
