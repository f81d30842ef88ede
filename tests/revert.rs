//! Taking decisions back: everybody is as before, whatever happened in between, and a revert can be taken back too.

use grps::base::{Id, RobloxId};
use grps::domains::players::{PLAYERS, Player, Status};
use grps::domains::ranks::{DECISIONS, OPEN_EFFECTS};
use serde_json::{Value, json};

use crate::effects;
use crate::endings::check_index;
use crate::harness::{Setup, TestApp, snapshot};
use crate::state::{audits, dump, rows};

const REVERT: &str = "/automation/revert";
const DECISIONS_PATH: &str = "/automation/decisions";

/// A program whose breaker nothing here reaches.
async fn unbraked() -> TestApp {
    let most = json!({ "appliesPerMinute": 1000, "appliesPerHour": 1000, "percentOfGroupPerHour": 100 });
    Setup::new().policy("policy.ranks.json", |ranks| ranks["settings"]["breaker"] = most).start().await
}

async fn stored(app: &TestApp, user: u64) -> Player {
    app.app.store.get(&PLAYERS, &RobloxId::new(user).unwrap()).await.unwrap().unwrap()
}

async fn rank(app: &TestApp, user: u64) -> Option<String> {
    stored(app, user).await.rank
}

async fn revert(app: &TestApp, body: Value) -> Value {
    app.post(REVERT, body.to_string()).operator().expect(200).await.json()
}

/// Does it, and has it take effect, until nothing is left to do; how much was restored and cancelled.
async fn revert_all(app: &TestApp, mut body: Value) -> (u64, u64) {
    body["dryRun"] = json!(false);
    let mut done = (0, 0);
    for _ in 0..10 {
        let (mut waiting, mut at) = (0, body.clone());
        loop {
            let page = revert(app, at.clone()).await;
            let count = |name: &str| page[name].as_u64().unwrap();
            done = (done.0 + count("restored"), done.1 + count("cancelled"));
            waiting += count("waiting");
            at["cursor"] = page["nextCursor"].clone();
            if at["cursor"].is_null() {
                break;
            }
        }
        effects::carry_out(app).await;
        if waiting == 0 {
            return done;
        }
    }
    panic!("it waits for ever");
}

fn since(app: &TestApp) -> Value {
    json!({ "since": app.clock.now().to_string() })
}

#[tokio::test]
async fn one_decision_is_taken_back_and_back_again() {
    let app = TestApp::new().await;
    let raised = app.apply(snapshot(7, 800, 0)).await;
    effects::carry_out(&app).await;
    let (mut id, low, high) = (raised["requestId"].clone(), "Volt Specialist II", "Storm Corporal I");
    for (from, to) in [(high, low), (low, high), (high, low)] {
        app.advance(1);
        let before = dump(&app).await;
        let preview = revert(&app, json!({ "decisionId": id })).await;
        let item = &preview["items"][0];
        assert_eq!(
            (&preview["dryRun"], &preview["restored"], &item["decisionId"]),
            (&json!(true), &json!(1), &Value::Null)
        );
        assert_eq!((&item["from"], &item["to"], &item["decisionIds"]), (&json!(from), &json!(to), &json!([id])));
        assert_eq!(dump(&app).await, before, "a preview changes nothing");
        let done = revert(&app, json!({ "decisionId": id, "dryRun": false })).await;
        let by = done["items"][0]["decisionId"].clone();
        let again = revert(&app, json!({ "decisionId": id, "dryRun": false })).await;
        assert_eq!((&again["waiting"], rows(&app, &OPEN_EFFECTS).await.len()), (&json!(1), 1));
        effects::carry_out(&app).await;
        assert_eq!(rank(&app, 7).await.as_deref(), Some(to));
        let taken =
            app.get(&format!("/automation/decisions/{}", id.as_str().unwrap())).operator().expect(200).await.json();
        assert_eq!(taken["revertedBy"], by);
        let shown =
            app.get(&format!("/automation/decisions/{}", by.as_str().unwrap())).operator().expect(200).await.json();
        assert_eq!((&shown["origin"], &shown["undoes"], &shown["status"]), (&json!("revert"), &id, &json!("applied")));
        let late = revert(&app, json!({ "decisionId": id, "dryRun": false })).await;
        assert_eq!((&late["skipped"], &late["restored"]), (&json!(1), &json!(0)), "{late}");
        id = by;
    }
    check_index(&app).await;
    app.post(REVERT, r#"{"decisionId":"0000000000000001"}"#).operator().refused(404, "decisions.missing").await;
    app.post(REVERT, r#"{"decisionId":"0000000000000001"}"#).key().refused(403, "auth.scope_missing").await;
}

#[tokio::test]
async fn who_had_no_rank_has_none_again() {
    let app = TestApp::new().await;
    let raised = app.apply(json!({ "userId": 7, "username": "A", "rankPoints": 200 })).await;
    assert_eq!(raised["targetRank"], "Shock Trooper II", "{raised}");
    effects::carry_out(&app).await;
    assert_eq!(revert_all(&app, json!({ "decisionId": raised["requestId"] })).await, (1, 0));
    assert_eq!(rank(&app, 7).await, None);
}

#[tokio::test]
async fn a_suspension_is_lifted_and_made_again_for_what_is_left_of_it() {
    let app = TestApp::new().await;
    let suspended = app.apply(snapshot(7, 520, 3)).await;
    effects::carry_out(&app).await;
    app.advance(3_600);
    assert_eq!(revert_all(&app, json!({ "decisionId": suspended["requestId"] })).await, (1, 0));
    assert_eq!(stored(&app, 7).await.punished(), None);
    assert_eq!(app.apply(snapshot(7, 520, 3)).await["action"], "NONE");
    let lift = rows(&app, &DECISIONS).await.pop().unwrap();
    assert!(lift.1.lifts && lift.1.standing.as_deref() == Some("suspended"), "{lift:?}");
    app.advance(3_600);
    let lift = lift.0.1.to_string();
    assert_eq!(revert_all(&app, json!({ "decisionId": lift })).await, (1, 0));
    assert_eq!(app.apply(snapshot(7, 520, 3)).await["reason"], "Suspended: 22 hours left");
    app.advance(23 * 3_600);
    let over = revert(&app, json!({ "decisionId": suspended["requestId"] })).await;
    assert_eq!(over["skipped"], 1, "{over}");
}

#[tokio::test]
async fn what_is_queued_does_not_take_effect_and_is_not_asked_for_again() {
    let app = TestApp::new().await;
    let from = since(&app);
    app.apply(snapshot(7, 800, 0)).await;
    let preview = revert(&app, from.clone()).await;
    assert_eq!((&preview["cancelled"], &preview["items"][0]["aspect"]), (&json!(1), &json!("queued")));
    assert_eq!(revert_all(&app, from).await, (0, 1));
    let kept = rows(&app, &DECISIONS).await.pop().unwrap().1;
    assert_eq!(kept.blocked_reason.as_deref(), Some("Reverted before it took effect"));
    let again = app.apply(snapshot(7, 800, 0)).await;
    assert_eq!(
        (&again["status"], &again["blockedReason"]),
        (&json!("blocked"), &json!("Reverted before it took effect"))
    );
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Volt Specialist II"));
    check_index(&app).await;
}

#[tokio::test]
async fn a_stretch_of_time_comes_back_whole() {
    let app = unbraked().await;
    let low = |user| json!({ "userId": user, "username": "A", "rank": "Shock Trooper II", "rankPoints": 900 });
    // One was raised before, and is none of this.
    app.apply(low(1)).await;
    effects::carry_out(&app).await;
    app.advance(60);
    let from = since(&app);
    let untouched = rank(&app, 1).await;
    // 2 rises twice and is suspended, 3 rises once, 4 is only suspended, 5 is about to rise.
    for users in [vec![2, 3], vec![2]] {
        for user in users {
            assert_eq!(app.apply(low(user)).await["status"], "queued");
        }
        effects::carry_out(&app).await;
        app.advance(60);
    }
    for user in [2, 4] {
        let mut warned = low(user);
        warned["warnings"] = json!(3);
        assert_eq!(app.apply(warned).await["action"], "SUSPEND");
    }
    effects::carry_out(&app).await;
    app.advance(60);
    app.apply(low(5)).await;
    let preview = revert(&app, from.clone()).await;
    assert_eq!(
        ["restored", "cancelled", "waiting", "skipped"].map(|name| preview[name].as_u64().unwrap()),
        [3, 1, 1, 0],
        "{preview:#}"
    );
    assert_eq!(revert_all(&app, from.clone()).await, (4, 1));
    for user in 2..=5 {
        let player = stored(&app, user).await;
        assert_eq!((player.rank.as_deref(), player.punished()), (Some("Shock Trooper II"), None), "{user}");
    }
    assert_eq!(rank(&app, 1).await, untouched);
    let counts = revert(&app, from.clone()).await;
    assert_eq!(
        (&counts["restored"], &counts["cancelled"]),
        (&json!(0), &json!(0)),
        "done once, it is done: {counts:#}"
    );
    check_index(&app).await;
    let told = audits(&app).await.into_iter().filter(|entry| entry.action == "decision.cancelled").count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn what_others_changed_since_is_left_alone() {
    let app = TestApp::new().await;
    let low = json!({ "userId": 7, "username": "A", "rank": "Shock Trooper II", "rankPoints": 900 });
    let first = app.apply(low.clone()).await;
    effects::carry_out(&app).await;
    app.advance(10);
    let until = app.clock.now().to_string();
    let second = app.apply(low).await;
    effects::carry_out(&app).await;
    let reason = |answer: &Value| answer["items"][0]["reason"].as_str().unwrap().to_owned();
    let window = json!({ "since": "2025-03-01T00:00:00Z", "until": until, "dryRun": false });
    for body in [json!({ "decisionId": first["requestId"], "dryRun": false }), window] {
        let answer = revert(&app, body).await;
        assert_eq!(answer["skipped"], 1);
        assert_eq!(
            reason(&answer),
            format!("Decision {} has taken effect since", second["requestId"].as_str().unwrap())
        );
    }
    let other = revert(&app, json!({ "since": "2025-03-01T00:00:00Z", "actor": "somebody-else" })).await;
    assert_eq!(other["items"], json!([]));
    let mine = app.inbound_key();
    assert!(!other.to_string().contains(&mine));
    let key = rows(&app, &DECISIONS).await[0].1.actor.id.clone();
    assert_eq!(revert_all(&app, json!({ "since": "2025-03-01T00:00:00Z", "actor": key })).await, (1, 0));
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Shock Trooper II"));
}

#[tokio::test]
async fn who_is_protected_by_now_stays_as_they_are_but_is_set_free() {
    let app = TestApp::new().await;
    let raised = app.apply(snapshot(7, 800, 0)).await;
    let suspended = app.apply(snapshot(8, 520, 3)).await;
    effects::carry_out(&app).await;
    crate::harness::edit_json(&app.policy_dir().join("permissions.json"), |file| {
        file["protectedUserIds"] = json!([7, 8])
    });
    for _ in 0..2 {
        app.app.policy.reload_if_changed();
    }
    let answer = revert(&app, json!({ "decisionId": raised["requestId"], "dryRun": false })).await;
    assert!(answer["items"][0]["reason"].as_str().unwrap().starts_with("Protected"), "{answer}");
    assert_eq!(revert_all(&app, json!({ "decisionId": suspended["requestId"] })).await, (1, 0));
}

#[tokio::test]
async fn a_proposal_has_nothing_to_take_back() {
    let app = TestApp::new().await;
    let proposed = app.evaluate(snapshot(7, 800, 0)).await["decision"].take();
    let answer = revert(&app, json!({ "decisionId": proposed["requestId"], "dryRun": false })).await;
    assert_eq!(
        (&answer["skipped"], &answer["items"][0]["reason"]),
        (&json!(1), &json!("It is proposed: it has not taken effect"))
    );
}

#[tokio::test]
async fn pages_of_a_revert_miss_nobody() {
    let app = unbraked().await;
    app.app.group_size.set(1_000);
    let from = since(&app);
    for user in 1..=30 {
        app.apply(snapshot(user, 800, 0)).await;
        if user % 3 == 0 {
            effects::carry_out(&app).await;
            app.advance(1);
        }
        if user > 25 {
            break;
        }
    }
    let queued = rows(&app, &OPEN_EFFECTS).await.len() as u64;
    let mut body = from;
    body["limit"] = json!(4);
    assert_eq!(revert_all(&app, body).await, (26 - queued, queued));
    for user in 1..=26 {
        assert_eq!(rank(&app, user).await.as_deref(), Some("Volt Specialist II"), "{user}");
    }
}

#[tokio::test]
async fn a_revert_that_fails_is_tried_again_by_asking_again() {
    let app = TestApp::new().await;
    let raised = app.apply(snapshot(7, 800, 0)).await;
    effects::carry_out(&app).await;
    let body = json!({ "decisionId": raised["requestId"], "dryRun": false });
    let first = revert(&app, body.clone()).await["items"][0]["decisionId"].take();
    effects::fail(&app, "Roblox hangs").await;
    app.apply(snapshot(7, 2_000, 0)).await;
    let again = revert(&app, body).await["items"][0]["decisionId"].take();
    assert_eq!(first, again);
    effects::carry_out(&app).await;
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Volt Specialist II"));
    let id: Id = first.as_str().unwrap().parse().unwrap();
    assert!(rows(&app, &DECISIONS).await.iter().any(|((_, at), decision)| *at == id && decision.failure.is_none()));
}

#[tokio::test]
async fn the_same_call_again_cancels_nothing_that_it_ordered() {
    let app = TestApp::new().await;
    let from = since(&app);
    app.apply(snapshot(7, 800, 0)).await;
    effects::carry_out(&app).await;
    app.advance(1);
    let mut body = from;
    body["dryRun"] = json!(false);
    assert_eq!(revert(&app, body.clone()).await["restored"], 1);
    let ordered = rows(&app, &OPEN_EFFECTS).await;
    app.advance(1);
    for dry_run in [true, false, false] {
        body["dryRun"] = json!(dry_run);
        let again = revert(&app, body.clone()).await;
        assert_eq!((&again["cancelled"], &again["waiting"]), (&json!(0), &json!(1)), "{again:#}");
        assert_eq!(rows(&app, &OPEN_EFFECTS).await, ordered);
    }
    // A revert of what lies outside is somebody else's, and is cancelled like anything else.
    let mine = json!({ "since": app.clock.now().to_string() });
    assert_eq!(revert(&app, mine).await["cancelled"], 0, "it was queued before");
    body["since"] = json!(grps::base::Time(app.clock.now().0 - 1_000).to_string());
    assert_eq!(revert(&app, body).await["cancelled"], 1);
}

#[tokio::test]
async fn what_was_taken_back_is_not_decided_again_for_a_day() {
    let app = TestApp::new().await;
    let low = json!({ "userId": 7, "username": "A", "rank": "Shock Trooper II", "rankPoints": 900 });
    let from = since(&app);
    let mut targets = Vec::new();
    for _ in 0..2 {
        targets.push(app.apply(low.clone()).await["targetRank"].clone());
        effects::carry_out(&app).await;
        app.advance(1);
    }
    assert_ne!(targets[0], targets[1]);
    assert_eq!(revert_all(&app, from.clone()).await, (1, 0));
    for _ in 0..2 {
        let again = app.apply(low.clone()).await;
        assert_eq!(again["status"], "blocked", "{again:#}");
        assert!(again["blockedReason"].as_str().unwrap().starts_with("Taken back by decision"), "{again:#}");
        app.post("/automation/decisions", r#"{"all":true,"apply":true}"#).operator().expect(200).await;
        assert_eq!(rows(&app, &OPEN_EFFECTS).await, []);
    }
    app.advance(86_400);
    let anew = app.apply(low).await;
    assert_eq!((&anew["status"], &anew["targetRank"]), (&json!("queued"), &targets[0]));
}

#[tokio::test]
async fn who_moves_on_during_a_walk_is_told_of() {
    let app = TestApp::new().await;
    let low = |user| json!({ "userId": user, "username": "A", "rank": "Shock Trooper II", "rankPoints": 900 });
    let mut body = since(&app);
    for user in [1, 2] {
        app.apply(low(user)).await;
        effects::carry_out(&app).await;
        app.advance(1);
    }
    body["limit"] = json!(1);
    let first = revert(&app, body.clone()).await;
    assert_eq!(first["items"][0]["userId"], 2);
    app.advance(1);
    let newer = app.apply(low(1)).await["requestId"].clone();
    effects::carry_out(&app).await;
    body["cursor"] = first["nextCursor"].clone();
    let second = revert(&app, body.clone()).await;
    let why = format!("Decision {} has taken effect since", newer.as_str().unwrap());
    assert_eq!((&second["skipped"], &second["items"][0]["reason"]), (&json!(1), &json!(why)), "{second:#}");
    for wrong in ["x", "cQ", "zAAAAAAAAAAA"] {
        body["cursor"] = json!(wrong);
        app.post(REVERT, body.to_string()).operator().refused(422, "request.invalid").await;
    }
}

#[tokio::test]
async fn many_decisions_that_did_not_take_effect_hide_none_that_did() {
    let app = TestApp::new().await;
    let raised = app.apply(snapshot(7, 800, 0)).await;
    effects::carry_out(&app).await;
    let ((user, id), row) = rows(&app, &DECISIONS).await.pop().unwrap();
    let blocked = &grps::domains::ranks::Decision { status: Status::Blocked, ended_at: None, ..row };
    for part in [1..600, 600..1_200] {
        let part = &part;
        let work = |tx: grps::store::Tx| async move {
            part.clone().for_each(|more| tx.put(&DECISIONS, &(user, Id(id.0 + more)), blocked));
            Ok(())
        };
        app.app.store.transact(work).await.unwrap();
    }
    assert_eq!(revert_all(&app, json!({ "decisionId": raised["requestId"] })).await, (1, 0));
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Volt Specialist II"));
}

#[tokio::test]
async fn who_reverts_is_held_to_the_limits_of_their_role() {
    let app = Setup::new()
        .policy("permissions.json", |file| {
            file["bindings"] = json!([{ "robloxUserIds": [500], "role": "mod" }]);
            file["limits"] = json!({ "mod": { "appliesPerHour": 1, "notSelf": true } });
        })
        .start()
        .await;
    let mut body = since(&app);
    for user in [1, 2, 500] {
        app.apply(snapshot(user, 800, 0)).await;
    }
    effects::carry_out(&app).await;
    app.advance(1);
    body["dryRun"] = json!(false);
    let call = app.post(REVERT, body.to_string()).header("x-grps-actor", "500").operator();
    let answer = call.expect(200).await.json();
    assert_eq!((&answer["restored"], &answer["skipped"]), (&json!(1), &json!(2)), "{answer:#}");
    let told = answer.to_string();
    assert!(
        told.contains("Nobody may decide about themselves") && told.contains("1 applied decisions an hour"),
        "{told}"
    );
    body["since"] = json!("2025-03-01T00:00:00Z");
    assert_eq!(revert_all(&app, body).await, (2, 0), "whoever acts for nobody has no limits here");
}

#[tokio::test]
async fn of_many_steps_taken_back_the_first_stays_refused_and_so_does_what_a_person_rejected() {
    let ranks: Vec<Value> =
        (0..12).map(|step| json!({ "name": format!("Step {step}"), "requiredPoints": 10 * (step + 1) })).collect();
    let app = Setup::new()
        .policy("policy.ranks.json", move |file| {
            file["ranks"] = json!(ranks);
            file["settings"]["breaker"] =
                json!({ "appliesPerMinute": 1000, "appliesPerHour": 1000, "percentOfGroupPerHour": 100 });
        })
        .policy("permissions.json", |file| file["limits"] = json!({}))
        .start()
        .await;
    let player = |points: i64, warnings: u32| json!({ "userId": 7, "username": "A", "rank": "Step 0", "rankPoints": points, "warnings": warnings });
    let suspension = app.evaluate(player(900, 3)).await["decision"].take();
    assert_eq!(suspension["action"], "SUSPEND");
    let reject = format!("{DECISIONS_PATH}/{}/reject", suspension["requestId"].as_str().unwrap());
    app.post(&reject, "{}").operator().expect(200).await;
    app.advance(1);
    let body = since(&app);
    for step in 1..=9 {
        assert_eq!(app.apply(player(900, 0)).await["targetRank"], format!("Step {step}"));
        effects::carry_out(&app).await;
        app.advance(1);
    }
    assert_eq!(revert_all(&app, body).await, (1, 0));
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Step 0"));
    app.advance(1);
    let again = app.apply(player(900, 0)).await;
    assert_eq!((&again["targetRank"], &again["status"]), (&json!("Step 1"), &json!("blocked")), "{again:#}");
    let rejected = app.apply(player(900, 3)).await;
    assert_eq!((&rejected["action"], &rejected["status"]), (&json!("SUSPEND"), &json!("blocked")), "{rejected:#}");
    app.advance(86_401);
    assert_eq!(app.apply(player(900, 0)).await["status"], "queued", "a day later it may be decided again");
}
