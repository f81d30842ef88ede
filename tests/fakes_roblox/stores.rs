//! Data stores of both generations, and ordered ones.

use grps::fakes::roblox::{BOT, Class, KEY, Key, UNIVERSE};
use serde_json::{Value, json};

use super::{Got, MINUTE, Scene, universe};

fn v2(rest: &str) -> String {
    universe(&format!("/data-stores/Stats/scopes/global/entries{rest}"))
}

fn v1(query: &str) -> String {
    format!(
        "/datastores/v1/universes/{UNIVERSE}/standard-datastores/datastore/entries/entry?datastoreName=Stats&{query}"
    )
}

fn keys(pages: &[Vec<Value>]) -> Vec<String> {
    pages.concat().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn keys_are_listed_by_prefix_scope_and_page() {
    let scene = Scene::new();
    for key in 0..600 {
        scene.fake.entry("Stats", "global", &format!("player_{key:03}"), &json!({"xp": key}));
    }
    scene.fake.entry("Stats", "global", "season", &json!(1));
    scene.fake.entry("Stats", "beta", "player_1", &json!(1));
    scene.fake.entry("Other", "global", "player_1", &json!(1));
    let all = scene.pages(&v2("?maxPageSize=1000"), "dataStoreEntries").await;
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 89]);
    assert_eq!(all[0][0].as_object().unwrap().len(), 2, "path and id alone");
    let some = scene.pages(&v2("?maxPageSize=7&filter=id.startsWith(%22player_01%22)"), "dataStoreEntries").await;
    assert_eq!(keys(&some), (10..20).map(|key| format!("player_0{key}")).collect::<Vec<_>>());
    let unnamed = universe("/data-stores/Stats/entries?maxPageSize=256");
    assert_eq!(keys(&scene.pages(&unnamed, "dataStoreEntries").await).len(), 601);
    let everywhere = universe("/data-stores/Stats/scopes/-/entries?maxPageSize=256");
    assert_eq!(keys(&scene.pages(&everywhere, "dataStoreEntries").await).len(), 602);
    scene.end();
}

#[tokio::test]
async fn deleted_entries_are_listed_only_when_asked_for() {
    let scene = Scene::new();
    scene.fake.entry("Stats", "global", "a", &json!(1));
    scene.fake.entry("Stats", "global", "b", &json!(1));
    assert_eq!(scene.ask("DELETE", &v2("/a"), None).await.text, "");
    assert_eq!(scene.ask("DELETE", &v2("/a"), None).await.status, 404);
    assert_eq!(scene.get(&v2("/a")).await.status, 404);
    assert_eq!(keys(&scene.pages(&v2(""), "dataStoreEntries").await), ["b"]);
    assert_eq!(keys(&scene.pages(&v2("?showDeleted=true"), "dataStoreEntries").await), ["a", "b"]);
    let answers = [scene.get(&v1("entryKey=a")).await.status, scene.get(&v1("entryKey=a")).await.status];
    assert!(answers.contains(&204) && answers.contains(&404), "v1 does both: {answers:?}");
    scene.end();
}

#[tokio::test]
async fn an_entry_is_created_once_and_replaced_whole() {
    let scene = Scene::new();
    let made = Some(json!({"value": {"xp": 5}, "users": ["users/7"], "attributes": {"season": 3}}));
    let first = scene.ask("POST", &v2("?id=k"), made.clone()).await.json();
    assert_eq!((&first["users"], &first["state"]), (&json!(["users/7"]), &json!("ACTIVE")));
    let again = scene.ask("POST", &v2("?id=k"), made).await;
    assert_eq!((again.status, &again.json()["code"]), (400, &json!("INVALID_ARGUMENT")));
    let stale = json!({"value": 1, "etag": "old"});
    assert_eq!(scene.ask("PATCH", &v2("/k"), Some(stale)).await.status, 409);
    scene.clock.advance(MINUTE);
    let second = scene.ask("PATCH", &v2("/k"), Some(json!({"value": {"xp": 6}, "etag": first["etag"]}))).await.json();
    assert_eq!((&second["users"], &second["attributes"]), (&json!([]), &json!({})), "what is left out is cleared");
    assert_ne!(first["revisionId"], second["revisionId"]);
    assert_eq!(first["createTime"], second["createTime"]);
    let old = scene.get(&v2(&format!("/k@{}", first["revisionId"].as_str().unwrap()))).await.json();
    assert_eq!((&old["value"]["xp"], &scene.get(&v2("/k@latest")).await.json()["value"]["xp"]), (&json!(5), &json!(6)));
    assert_eq!(scene.ask("PATCH", &v2("/new"), Some(json!({"value": 1}))).await.status, 404);
    assert_eq!(scene.ask("PATCH", &v2("/new?allowMissing=true"), Some(json!({"value": 1}))).await.status, 200);
    scene.end();
}

#[tokio::test]
async fn odd_keys_are_reached_when_they_are_encoded() {
    let scene = Scene::new();
    for key in ["a/b", "50%", "two words", "x:accept", "Bär"] {
        scene.fake.entry("Stats", "global", key, &json!(key));
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(scene.get(&v2(&format!("/{encoded}"))).await.json()["value"], key);
    }
    scene.fake.entry("Stats", "global", "me@home", &json!(1));
    assert_eq!(scene.get(&v2("/me@home")).await.status, 400, "home would be a revision");
    assert_eq!(scene.get(&v2("/me@home@latest")).await.json()["id"], "me@home");
    scene.end();
}

#[tokio::test]
async fn v1_writes_only_over_the_version_it_was_told() {
    let scene = Scene::new();
    scene.fake.entry_with("Stats", ("global", "k"), &json!({"xp": 5}), (Some(json!({"season": 3})), &[7, 8]));
    let read = scene.get(&v1("entryKey=k")).await;
    let version = read.header("roblox-entry-version").unwrap().to_owned();
    let meta = |got: &Got| {
        (
            got.header("roblox-entry-attributes").map(str::to_owned),
            got.header("roblox-entry-userids").map(str::to_owned),
        )
    };
    assert_eq!(
        (read.text.as_str(), meta(&read)),
        (r#"{"xp":5}"#, (Some(r#"{"season":3}"#.into()), Some("[7,8]".into())))
    );
    let write = |text: &str, query: &str| {
        let request = scene.request("POST", &v1(query)).header("x-api-key", KEY);
        let request = request.header("content-type", "application/json").header("roblox-entry-userids", "[7]");
        scene.send(request.body(text.to_owned()))
    };
    for lacking in ["create", "update"] {
        let key = Key::of(BOT).without(&format!("universe-datastores.objects:{lacking}"));
        scene.fake.put_key(KEY, key);
        for (under, needed) in [("k", "update"), ("new", "create")] {
            // Without the right to it, it is not even looked whether it would be done.
            let status = write("1", &format!("entryKey={under}&matchVersion=1")).await.unwrap().status;
            assert_eq!(status, if lacking == needed { 403 } else { 412 }, "{under} without {lacking}");
        }
    }
    scene.fake.put_key(KEY, Key::of(BOT));
    let done = write(r#"{"xp": 6}"#, &format!("entryKey=k&matchVersion={version}")).await.unwrap();
    assert_eq!((done.status, &done.json()["contentLength"]), (200, &json!(9)));
    let moved = write(r#"{"xp": 7}"#, &format!("entryKey=k&matchVersion={version}")).await.unwrap();
    assert_eq!((moved.status, moved.header("roblox-entry-version")), (412, done.json()["version"].as_str()));
    let entry = scene.fake.entry_of("Stats", "global", "k").unwrap();
    assert_eq!(
        (entry.current.text.as_str(), &entry.current.attributes, entry.earlier.len()),
        (r#"{"xp": 6}"#, &None, 1)
    );
    assert_eq!(write("1", "entryKey=k&exclusiveCreate=true").await.unwrap().status, 412);
    assert_eq!(write("1", "entryKey=new&exclusiveCreate=true").await.unwrap().status, 200);
    assert_eq!(write("1", "entryKey=gone&matchVersion=1").await.unwrap().status, 412);
    assert_eq!(scene.ask("DELETE", &v1("entryKey=new"), None).await.status, 204);
    assert_eq!(scene.fake.wrong(), Vec::<String>::new());
    let both = write("1", "entryKey=k&exclusiveCreate=true&matchVersion=1").await.unwrap();
    assert_eq!((both.status, &both.json()["error"]), (400, &json!("INVALID_ARGUMENT")));
    assert_eq!(write("{", "entryKey=k").await.unwrap().status, 400);
}

#[tokio::test]
async fn v1_lists_keys_as_objects_and_as_text() {
    let scene = Scene::new();
    scene.fake.entry("Stats", "global", "a", &json!(1));
    let list = format!("/datastores/v1/universes/{UNIVERSE}/standard-datastores/datastore/entries?datastoreName=Stats");
    let mut shapes = vec![];
    for limit in 1..=4 {
        // Another request in between, so that nothing goes in step.
        scene.get(&v2(&format!("?maxPageSize={limit}"))).await;
        shapes.push(scene.get(&list).await.json()["keys"][0].clone());
    }
    assert!(shapes.contains(&json!("a")) && shapes.contains(&json!({"key": "a", "scope": "global"})), "{shapes:?}");
    scene.end();
}

#[tokio::test]
async fn ordered_values_are_listed_by_size() {
    let scene = Scene::new();
    let board = |rest: &str| universe(&format!("/ordered-data-stores/Top/scopes/global/entries{rest}"));
    for user in 1..=150 {
        scene.fake.ordered("Top", "global", &user.to_string(), user * 10);
    }
    let top = scene.pages(&board("?maxPageSize=200&orderBy=value%20desc"), "orderedDataStoreEntries").await;
    assert_eq!(top.iter().map(Vec::len).collect::<Vec<_>>(), [100, 50]);
    assert_eq!((&top[0][0]["id"], &top[1][49]["value"]), (&json!("150"), &json!(10)));
    let some = board("?filter=entry%20%3E%3D%2020%20%26%26%20entry%20%3C%3D%2040");
    assert_eq!(keys(&scene.pages(&some, "orderedDataStoreEntries").await), ["2", "3", "4"]);
    assert_eq!(scene.ask("POST", &board("?id=1"), Some(json!({"value": 1}))).await.status, 400);
    assert_eq!(scene.ask("PATCH", &board("/none"), Some(json!({"value": 1}))).await.status, 404);
    let put = scene.ask("PATCH", &board("/none?allowMissing=true"), Some(json!({"value": 2000.4}))).await.json();
    assert_eq!(
        (&put["value"], scene.fake.ordered_of("Top", "global")[0].clone()),
        (&json!(2000), ("none".into(), 2000))
    );
    assert_eq!(scene.get(&board("/none")).await.json()["value"], 2000);
    assert_eq!(scene.ask("DELETE", &board("/none"), None).await.status, 200);
    assert_eq!(scene.ask("DELETE", &board("/none"), None).await.status, 404);
    scene.end();
}

#[tokio::test]
async fn both_generations_share_what_the_experience_may_read() {
    let scene = Scene::new();
    scene.fake.entry("Stats", "global", "k", &json!(1));
    scene.fake.limits().set(Class::StoreRead, 3);
    for path in [v2("/k"), v1("entryKey=k"), v2("/k")] {
        assert_eq!(scene.get(&path).await.status, 200);
    }
    let new = scene.get(&v2("/k")).await;
    assert_eq!((new.status, &new.json()["code"]), (429, &json!("RESOURCE_EXHAUSTED")));
    let old = scene.get(&v1("entryKey=k")).await.json();
    assert_eq!(old["errorDetails"][0]["datastoreErrorCode"], "TooManyRequests");
    scene.clock.advance(MINUTE);
    assert_eq!(scene.get(&v2("/k")).await.status, 200);
    scene.end();
}
