//! Keys made by the operator: shown once, used by scope, rotated in two steps, revoked at once.

use grps::base::Secret;
use grps::domains::audit::AUDITS;
use grps::domains::auth::{Caller, KEYS, MAX_KEYS, Scope, Scopes, Strength, Wanted};
use grps::store::{Health, Record, Table, Tx};
use serde_json::{Value, json};

use crate::harness::{INGEST, SEED_001, TestApp};
use crate::state::{audits, dump, rows};

const KEYS_PATH: &str = "/admin/api/keys";

/// A key as it was issued.
struct Made {
    kid: String,
    secret: Secret,
}

impl Made {
    fn of(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { kid: text(&answer["key"]["kid"]), secret: Secret::new(text(&answer["secret"])) }
    }
}

async fn create(app: &TestApp, name: &str, scopes: &[&str], compat: bool) -> Made {
    let wanted = json!({ "name": name, "scopes": scopes, "compat": compat });
    Made::of(&app.post(KEYS_PATH, wanted.to_string()).operator().expect(200).await.json())
}

async fn rotate(app: &TestApp, kid: &str) -> Made {
    Made::of(&app.request("POST", &format!("{KEYS_PATH}/{kid}/rotate")).operator().expect(200).await.json())
}

async fn listed(app: &TestApp) -> Vec<Value> {
    app.get(KEYS_PATH).operator().expect(200).await.json()["keys"].as_array().unwrap().clone()
}

/// When each live value of the first key was last used.
async fn last_uses(app: &TestApp) -> Vec<Value> {
    listed(app).await[0]["values"].as_array().unwrap().iter().map(|value| value["lastUsedAt"].clone()).collect()
}

/// Posts a snapshot with the key itself (A2).
async fn sent(app: &TestApp, key: &Made) -> u16 {
    app.post(INGEST, SEED_001).header("x-grps-api-key", key.secret.expose()).send().await.status.as_u16()
}

/// Posts a snapshot signed with the key (A6).
async fn signed(app: &TestApp, key: &Made) -> u16 {
    app.post(INGEST, SEED_001).signed(&key.kid, &key.secret).send().await.status.as_u16()
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_sealed() {
    let app = TestApp::new().await;
    let made = create(&app, "training server", &["ingest"], true).await;
    let again = rotate(&app, &made.kid).await;
    assert_eq!(sent(&app, &made).await, 200);
    let shown = app.get(KEYS_PATH).operator().expect(200).await.text;
    for secret in [made.secret.expose(), again.secret.expose()] {
        assert!(secret.starts_with("grps_c") && secret.len() > 64, "{secret}");
        assert!(!shown.contains(secret));
        let tail = secret.rsplit('_').next().unwrap().as_bytes();
        let stored = rmp_serde::to_vec(&rows(&app, &KEYS).await[0].1).unwrap();
        assert!(stored.windows(tail.len()).all(|bytes| bytes != tail), "the store holds the secret in clear");
        assert!(dump(&app).await.iter().all(|row| !row.contains(secret)));
    }
}

#[tokio::test]
async fn a_list_tells_everything_but_the_secret() {
    let app = TestApp::new().await;
    assert_eq!(listed(&app).await, [] as [Value; 0]);
    let made = create(&app, "nexus", &["ingest", "evaluate"], false).await;
    let expected = json!({
        "kid": made.kid, "name": "nexus", "scopes": ["ingest", "decisions:evaluate"], "compat": false,
        "createdAt": "2025-03-01T18:15:44Z", "rotatedAt": null, "revokedAt": null,
        "values": [{ "lastUsedAt": null }],
    });
    assert_eq!(listed(&app).await, [expected]);
}

#[tokio::test]
async fn a_strict_key_signs_and_a_compat_key_may_also_travel() {
    let app = TestApp::new().await;
    let strict = create(&app, "strict", &["ingest"], false).await;
    let compat = create(&app, "compat", &["ingest"], true).await;
    assert_eq!((signed(&app, &strict).await, signed(&app, &compat).await, sent(&app, &compat).await), (200, 200, 200));
    let answer = app
        .post(INGEST, SEED_001)
        .header("x-grps-api-key", strict.secret.expose())
        .refused(401, "auth.key_strict")
        .await;
    assert!(answer.hint().contains("x-grps-signature-v2"));
}

#[tokio::test]
async fn strict_mode_lets_no_key_travel() {
    let app = TestApp::with(&[("AUTH_MODE", "strict")]).await;
    let compat = create(&app, "old client", &["ingest"], true).await;
    app.post(INGEST, SEED_001).header("x-grps-api-key", compat.secret.expose()).refused(401, "auth.strict").await;
    assert_eq!(signed(&app, &compat).await, 200);
}

#[tokio::test]
async fn nobody_gives_away_what_they_do_not_have() {
    let app = TestApp::new().await;
    let manager = create(&app, "manager", &["keys:manage", "ingest"], false).await;
    let strong = create(&app, "strong", &["ingest", "operate"], false).await;
    let weak = create(&app, "weak", &["ingest"], false).await;
    for scopes in [vec!["*"], vec!["operate"], vec!["ingest", "decisions:apply"]] {
        let wanted = json!({ "name": "escalated", "scopes": scopes }).to_string();
        let refused =
            app.post(KEYS_PATH, wanted).signed(&manager.kid, &manager.secret).refused(403, "auth.scope_missing").await;
        assert!(refused.detail().contains(&manager.kid) && refused.detail().contains(scopes[scopes.len() - 1]));
    }
    let wanted = json!({ "name": "the same", "scopes": ["ingest", "keys:manage"] }).to_string();
    app.post(KEYS_PATH, wanted).signed(&manager.kid, &manager.secret).expect(200).await;
    let rotate =
        |kid: &str| app.request("POST", &format!("{KEYS_PATH}/{kid}/rotate")).signed(&manager.kid, &manager.secret);
    rotate(&strong.kid).refused(403, "auth.scope_missing").await;
    assert_eq!(signed(&app, &strong).await, 200, "and nothing changed");
    rotate(&weak.kid).expect(200).await;
    let end = app.request("DELETE", &format!("{KEYS_PATH}/{}", strong.kid));
    end.signed(&manager.kid, &manager.secret).expect(200).await;
}

#[tokio::test]
async fn revoked_keys_make_room_for_new_ones() {
    let app = TestApp::new().await;
    let keys = app.app.auth.keys();
    let operator = Caller { id: "operator".into(), scopes: Scopes::EVERYTHING, strength: Strength::Signed };
    let make = async |n: usize| {
        let wanted = Wanted { name: format!("key {n}"), scopes: Scopes::of(&[Scope::Ingest]), compat: false };
        keys.create(wanted, &operator, "test").await
    };
    let mut kids = Vec::new();
    for n in 0..MAX_KEYS {
        kids.push(make(n).await.unwrap().kid);
    }
    assert_eq!(make(MAX_KEYS).await.err().unwrap().code(), "keys.full");
    for kid in [&kids[700], &kids[3]] {
        keys.revoke(kid, &operator, "test").await.unwrap();
        app.advance(1);
    }
    let ids = async || -> Vec<String> { keys.list().await.unwrap().into_iter().map(|(kid, _)| kid).collect() };
    make(MAX_KEYS + 1).await.unwrap();
    let now = ids().await;
    assert!(now.len() == MAX_KEYS && !now.contains(&kids[700]) && now.contains(&kids[3]), "the one revoked first goes");
    make(MAX_KEYS + 2).await.unwrap();
    assert!(!ids().await.contains(&kids[3]));
    assert_eq!(make(MAX_KEYS + 3).await.err().unwrap().code(), "keys.full", "live keys stay");
    let told = rows(&app, &AUDITS).await.into_iter().filter(|(_, entry)| entry.subject == format!("key:{}", kids[3]));
    assert_eq!(told.count(), 2, "its audit rows stay");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let app = TestApp::new().await;
    let key = create(&app, "reader", &["players:read"], true).await;
    let with = |target: &str| app.get(target).header("x-grps-api-key", key.secret.expose());
    with("/players/12345678").refused(404, "players.missing").await;
    let refused = app
        .post(INGEST, SEED_001)
        .header("x-grps-api-key", key.secret.expose())
        .refused(403, "auth.scope_missing")
        .await;
    assert!(refused.detail().contains("ingest") && refused.detail().contains(&key.kid), "{}", refused.text);
    let everything = create(&app, "everything", &["*"], false).await;
    app.get(KEYS_PATH).signed(&everything.kid, &everything.secret).expect(200).await;
}

#[tokio::test]
async fn after_a_rotation_both_values_live_and_after_a_second_the_oldest_is_dead() {
    let app = TestApp::new().await;
    let first = create(&app, "rotating", &["ingest"], true).await;
    let second = rotate(&app, &first.kid).await;
    assert_eq!((sent(&app, &first).await, sent(&app, &second).await), (200, 200));
    assert_eq!((signed(&app, &first).await, signed(&app, &second).await), (200, 200));
    let third = rotate(&app, &first.kid).await;
    assert_eq!((sent(&app, &first).await, signed(&app, &first).await), (401, 401));
    assert_eq!((sent(&app, &second).await, sent(&app, &third).await), (200, 200));
    assert_eq!(first.kid, third.kid);
}

#[tokio::test]
async fn a_revoked_key_is_dead_with_the_answer() {
    let app = TestApp::new().await;
    let key = create(&app, "leaked", &["ingest"], true).await;
    rotate(&app, &key.kid).await;
    assert_eq!(sent(&app, &key).await, 200);
    let path = format!("{KEYS_PATH}/{}", key.kid);
    let view = app.request("DELETE", &path).operator().expect(200).await.json();
    assert_eq!((&view["revokedAt"], &view["values"]), (&json!("2025-03-01T18:15:44Z"), &json!([])));
    assert_eq!((sent(&app, &key).await, signed(&app, &key).await), (401, 401));
    app.advance(60);
    let again = app.request("DELETE", &path).operator().expect(200).await.json();
    assert_eq!(again["revokedAt"], "2025-03-01T18:15:44Z", "revoking twice is fine and changes nothing");
    app.request("POST", &format!("{path}/rotate")).operator().refused(409, "keys.revoked").await;
}

#[tokio::test]
async fn unknown_keys_are_told_so() {
    let app = TestApp::new().await;
    for kid in ["c00000000", "nobody", "operator"] {
        app.request("DELETE", &format!("{KEYS_PATH}/{kid}")).operator().refused(404, "keys.missing").await;
        app.request("POST", &format!("{KEYS_PATH}/{kid}/rotate")).operator().refused(404, "keys.missing").await;
    }
}

#[tokio::test]
async fn the_last_use_of_each_value_is_saved() {
    let app = TestApp::new().await;
    let first = create(&app, "used", &["ingest"], true).await;
    app.advance(10);
    assert_eq!(sent(&app, &first).await, 200);
    assert_eq!(last_uses(&app).await, [Value::Null], "it is written about once a minute");
    app.tick("key-uses").await;
    assert_eq!(last_uses(&app).await, ["2025-03-01T18:15:54Z"]);
    let second = rotate(&app, &first.kid).await;
    app.advance(10);
    assert_eq!(signed(&app, &second).await, 200);
    app.tick("key-uses").await;
    assert_eq!(last_uses(&app).await, ["2025-03-01T18:16:04Z", "2025-03-01T18:15:54Z"]);
}

#[tokio::test]
async fn every_change_of_a_key_leaves_its_row_in_the_audit_trail() {
    let app = TestApp::new().await;
    let wanted = json!({ "name": "audited", "scopes": ["ingest"] }).to_string();
    let made = app.post(KEYS_PATH, wanted).header("x-request-id", "made-here").operator().expect(200).await.json();
    let kid = Made::of(&made).kid;
    rotate(&app, &kid).await;
    app.request("DELETE", &format!("{KEYS_PATH}/{kid}")).operator().expect(200).await;
    let trail = audits(&app).await;
    let actions: Vec<&str> = trail.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["key.created", "key.rotated", "key.revoked"]);
    assert!(trail.iter().all(|entry| entry.subject == format!("key:{kid}") && entry.actor.id == "operator"));
    assert_eq!(trail[0].request_id, "made-here");
}

/// A row no version of the program wrote.
#[derive(serde::Serialize, serde::Deserialize)]
struct Foreign;

impl Record for Foreign {
    const VERSION: u8 = 99;
}

static FOREIGN: Table<String, Foreign> = Table::new("foreign", *b"ke");

#[tokio::test]
async fn the_store_is_closed_even_when_uses_cannot_be_saved() {
    let app = TestApp::new().await;
    let write = |tx: Tx| async move {
        tx.put(&FOREIGN, &"c00000001".to_owned(), &Foreign);
        Ok(())
    };
    app.app.store.transact(write).await.unwrap();
    app.app.auth.keys().note_use("c00000001", 0);
    assert!(app.app.close().await.is_err());
    assert!(matches!(app.app.store.health(), Health::Closed));
}
