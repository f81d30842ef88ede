//! Answers that Open Cloud should never give: what the client makes of them, and that the key goes nowhere else. The fake answers as Roblox
//! does; here every answer is written by hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use grps::base::{Clock, Secret};
use grps::domains::audit::Actor;
use grps::domains::auth::Sender;
use grps::remote::roblox::{Settings, StoreId, Trouble};
use grps::remote::{BaseUrl, MAX_ANSWER, Roblox};
use poem::http::StatusCode;
use poem::{Body, Request, Response};
use serde_json::{Value, json};

use crate::fakes::{Fake, PATIENCE, Served, serve};
use crate::harness::{START, Setup, TestApp};
use crate::state::rows;

const KEY: &str = "RBX-hunter2";
const GROUP: u64 = 7;

/// A server that answers with `answer`, whatever is asked.
async fn odd(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Served {
    let answer = Arc::new(answer);
    let answer = move |_: Arc<Mutex<()>>, request: Request| {
        let answer = answer.clone();
        async move { answer(&request) }
    };
    serve(Fake { state: Arc::new(Mutex::new(())), answer }).await
}

fn client(url: &str, patience: Duration) -> Roblox {
    let settings = Settings {
        key: Secret::new(KEY),
        api: BaseUrl::parse("ROBLOX_API_URL", url).unwrap(),
        budget_percent: 100,
        group: Some(GROUP),
        universe: Some(5),
        store: None,
        prefix: None,
        patience,
    };
    Roblox::new(&settings, Clock::fake(START)).unwrap()
}

fn good(body: &Value) -> Response {
    Response::builder().content_type("application/json").body(body.to_string())
}

/// A program with that group.
async fn live(served: &Served) -> TestApp {
    Setup::new()
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_GROUP_ID", GROUP.to_string())
        .set("ROBLOX_API_URL", &served.url)
        .start()
        .await
}

#[tokio::test]
async fn the_key_follows_no_redirect() {
    let met = Arc::new(AtomicUsize::new(0));
    let seen = met.clone();
    let other = odd(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        good(&json!({"id": "7"}))
    })
    .await;
    for status in [301, 302, 303, 307, 308] {
        let target = other.url.clone();
        let served = odd(move |_| {
            Response::builder().status(StatusCode::from_u16(status).unwrap()).header("location", &target).finish()
        })
        .await;
        let trouble = client(&served.url, PATIENCE).group(GROUP).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Refused { status: 300..=399, .. }), "{trouble:?}");
    }
    assert_eq!(met.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    let drip = odd(|_| {
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(bytes::Bytes::from_static(b" ")), ()))
        });
        Response::builder().body(Body::from_bytes_stream(drops))
    })
    .await;
    #[allow(clippy::disallowed_methods)] // how long it takes is what is tested
    let began = Instant::now();
    let trouble = client(&drip.url, Duration::from_millis(400)).group(GROUP).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unanswered(_)) && began.elapsed() < PATIENCE, "{trouble:?}");
    let flood = odd(|_| Response::builder().body(vec![b' '; MAX_ANSWER + 1])).await;
    let trouble = client(&flood.url, PATIENCE).group(GROUP).await.unwrap_err();
    assert!(trouble.what().contains("8 MiB"), "{trouble:?}");
}

#[tokio::test]
async fn a_key_that_comes_back_in_an_answer_is_not_passed_on() {
    let echo = odd(|_| {
        let body = json!({"errors": {"apiKey": [format!("The value '{KEY}' is not valid.")]}, "code": KEY});
        Response::builder().status(StatusCode::BAD_REQUEST).body(body.to_string())
    })
    .await;
    let trouble = client(&echo.url, PATIENCE).introspect().await.unwrap_err();
    assert!(!trouble.what().contains("hunter2") && !format!("{trouble:?}").contains("hunter2"), "{trouble:?}");
    assert!(trouble.what().contains("The value '…' is not valid."), "{}", trouble.what());
}

#[tokio::test]
async fn a_member_whose_roles_cannot_be_read_is_not_taken_for_a_stranger() {
    for roles in [json!([]), json!([9, 10]), json!(["groups/7/roles/corporal"]), json!("groups/7/roles/9")] {
        let row = json!({"path": "groups/7/memberships/5", "user": "users/5", "roles": roles});
        let served = odd(move |_| good(&json!({"groupMemberships": [row], "nextPageToken": ""}))).await;
        let roblox = client(&served.url, PATIENCE);
        let found = roblox.membership(GROUP, 5).await;
        assert!(matches!(found, Err(Trouble::Unreadable(_))), "{roles}: {found:?}");
        assert_eq!(roblox.memberships(GROUP, None).await.unwrap().items, [], "{roles}");
    }
}

#[tokio::test]
async fn a_role_on_two_pages_is_one_role() {
    let role = |id: u64, name: &str, rank: u8| json!({"id": id.to_string(), "displayName": name, "rank": rank});
    let (guest, member) = (role(1, "Guest", 0), role(2, "Member", 1));
    let (low, high) = (role(20, "Shock Trooper II", 20), role(30, "Volt Specialist II", 30));
    // A role was made while the list was read, and moved the others.
    let served = odd(move |request| match (request.uri().path(), request.uri().query().unwrap_or_default()) {
        (path, query) if path.ends_with("/roles") && query.contains("pageToken=") => {
            good(&json!({"groupRoles": [low, high]}))
        }
        (path, _) if path.ends_with("/roles") => {
            good(&json!({"groupRoles": [guest, member, low], "nextPageToken": "2"}))
        }
        (path, _) if path.ends_with("/introspect") => good(&json!({"name": "k", "scopes": []})),
        _ => good(&json!({"id": "7", "displayName": "G", "memberCount": 3})),
    })
    .await;
    let app = live(&served).await;
    let roles = app.app.group.roles(Duration::ZERO).await.unwrap();
    assert_eq!(roles.list.iter().map(|role| role.id).collect::<Vec<_>>(), [1, 2, 20, 30]);
}

#[tokio::test]
async fn a_data_store_whose_name_leads_elsewhere_is_not_asked_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let served = odd(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        good(&json!({"dataStoreEntries": []}))
    })
    .await;
    let roblox = client(&served.url, PATIENCE);
    for (name, scope) in
        [("..", "global"), ("Points", "."), ("Points", "glo\tbal"), ("Po\nints", "global"), ("Points", "")]
    {
        let store = StoreId { universe: 5, name: name.into(), scope: scope.into() };
        let refused = |answer: Result<(), Trouble>| {
            assert!(matches!(answer, Err(Trouble::Refused { status: 400, .. })), "{name:?} {scope:?}: {answer:?}");
        };
        refused(roblox.list_entries(&store, None, None, 10).await.map(drop));
        refused(roblox.entry(&store, "k").await.map(drop));
        refused(roblox.put_ordered(&store, "k", 1).await);
        refused(roblox.delete_ordered(&store, "k").await);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// A data store whose pages come round again.
async fn circle(pages: &'static [&'static str], keys: usize) -> Served {
    odd(move |request| {
        let query = request.uri().query().unwrap_or_default();
        let at = pages.iter().position(|page| query.contains(&format!("pageToken={page}")));
        if request.uri().path().contains("/entries/") {
            return good(&json!({"value": {"points": 1}, "revisionId": "r"}));
        }
        let next = pages[at.map_or(0, |at| (at + 1) % pages.len())];
        let keys: Vec<Value> = (1..=keys).map(|user| json!({"id": format!("player:{user}")})).collect();
        good(&json!({"dataStoreEntries": keys, "nextPageToken": next}))
    })
    .await
}

#[tokio::test]
async fn a_walk_in_a_circle_ends() {
    let served = circle(&["one", "two", "three"], 2).await;
    let app = Setup::new()
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_UNIVERSE_ID", "5")
        .set("ROBLOX_DATASTORE_NAME", "Points")
        .set("ROBLOX_API_URL", &served.url)
        .start()
        .await;
    let sender = Sender { actor: Actor::of("schedule"), request_id: "r".into() };
    app.app.sync.nightly(&sender).await.unwrap();
    for _ in 0..300 {
        if let grps::workers::Next::After(pause) = app.tick("sync").await {
            app.clock.advance(pause);
        }
    }
    let runs = app.get("/sync/jobs").operator().expect(200).await.json();
    let run = &runs["runs"][0];
    assert_eq!(run["status"], "failed", "{run:#}");
    assert!(run["reason"].as_str().unwrap().contains("circle"), "{run:#}");
    assert!(run["pages"].as_u64().unwrap() < 20, "{run:#}");
}

#[tokio::test]
async fn ranks_are_not_taken_away_by_an_answer_nobody_can_read() {
    let role = |id: u64, name: &str, rank: u8| json!({"id": id.to_string(), "displayName": name, "rank": rank});
    let roles = json!({"groupRoles": [role(1, "Guest", 0), role(2, "Member", 1), role(20, "Trooper", 20), role(30, "Volt", 30)]});
    let served = odd(move |request| match request.uri().path() {
        path if path.ends_with("/roles") => good(&roles),
        path if path.ends_with("/introspect") => good(&json!({"name": "k", "scopes": []})),
        path if path.ends_with("/memberships") => {
            good(&json!({"groupMemberships": [{"user": "users/55", "roles": [{"id": "30"}]}]}))
        }
        _ => good(&json!({"id": "7", "displayName": "G", "memberCount": 3})),
    })
    .await;
    let app = live(&served).await;
    let body = json!({"userId": 55, "username": "P", "rank": "Volt Specialist II", "rankPoints": 800});
    app.ingest(body.to_string()).expect(200).await;
    app.post("/automation/drift/runs", "").operator().expect(202).await;
    for _ in 0..60 {
        if let grps::workers::Next::After(pause) = app.tick("drift").await {
            app.clock.advance(pause);
        }
    }
    let run = app.get("/automation/drift/runs").operator().expect(200).await.json()["runs"][0].take();
    assert_eq!((&run["state"], &run["adopted"], &run["left"]), (&json!("done"), &json!(0), &json!(0)), "{run:#}");
    let players = rows(&app, &grps::domains::players::PLAYERS).await;
    assert!(players.iter().any(|(_, player)| player.rank.as_deref() == Some("Volt Specialist II")), "{players:?}");
}

#[tokio::test]
async fn a_list_of_members_that_does_not_end_ends_the_search() {
    for (token, why) in [("same".to_owned(), "same page"), ("x".repeat(100_000), "page token")] {
        let role = |id: u64, name: &str, rank: u8| json!({"id": id.to_string(), "displayName": name, "rank": rank});
        let roles = json!({"groupRoles": [role(1, "Guest", 0), role(2, "Member", 1), role(20, "Trooper", 20)]});
        let members =
            json!({"groupMemberships": [{"user": "users/55", "roles": ["groups/7/roles/20"]}], "nextPageToken": token});
        let served = odd(move |request| match request.uri().path() {
            path if path.ends_with("/roles") => good(&roles),
            path if path.ends_with("/introspect") => good(&json!({"name": "k", "scopes": []})),
            path if path.ends_with("/memberships") => good(&members),
            _ => good(&json!({"id": "7", "displayName": "G", "memberCount": 3})),
        })
        .await;
        let app = live(&served).await;
        app.post("/automation/drift/runs", "").operator().expect(202).await;
        // One worker throughout: it counts what failed.
        let mut workers = app.app.workers();
        let worker = workers.iter_mut().find(|worker| worker.name() == "drift").unwrap();
        for _ in 0..30 {
            if let grps::workers::Next::After(pause) = worker.tick().await.unwrap() {
                app.clock.advance(pause);
            }
        }
        let run = app.get("/automation/drift/runs").operator().expect(200).await.json()["runs"][0].take();
        assert_eq!(run["state"], "failed", "{run:#}");
        assert!(run["reason"].as_str().unwrap().contains(why), "{run:#}");
    }
}
