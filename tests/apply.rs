//! What becomes of a decision: queued, repeated, superseded, proposed or blocked; and whom automation leaves alone.

use std::time::Duration;

use grps::base::RobloxId;
use grps::domains::players::{PLAYERS, Player, Status};
use grps::domains::ranks::{DECISIONS, Decision};
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};
use crate::state::{audits, rows};

fn snapshot(rank: &str, points: i64) -> Value {
    json!({ "userId": 7, "username": "A", "rank": rank, "rankPoints": points })
}

async fn stored(app: &TestApp) -> Player {
    app.app.store.get(&PLAYERS, &RobloxId::new(7).unwrap()).await.unwrap().unwrap()
}

async fn decisions(app: &TestApp) -> Vec<Decision> {
    rows(app, &DECISIONS).await.into_iter().map(|(_, decision)| decision).collect()
}

fn said<'a>(decision: &'a Value, name: &str) -> &'a str {
    decision[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_applied_decision_is_queued_and_the_player_is_shown_as_evaluated() {
    let app = TestApp::new().await;
    let call = app.ingest(snapshot("Volt Specialist II", 800).to_string()).header("x-grps-evaluate", "true");
    let answer = call.header("x-grps-apply", "true").expect(200).await.json();
    assert_eq!(answer["player"]["rank"], "Volt Specialist II");
    let decision = &answer["decision"];
    assert_eq!((said(decision, "action"), said(decision, "targetRank")), ("PROMOTE", "Storm Corporal I"));
    assert_eq!((said(decision, "status"), &decision["apply"]), ("queued", &json!(true)));
    assert_eq!(decision.get("blockedReason"), None);
    let kept = decisions(&app).await;
    assert_eq!((kept[0].status, kept[0].from_rank.as_deref()), (Status::Queued, Some("Volt Specialist II")));
    assert_eq!(kept[0].policy_version, said(decision, "policyVersion"));
    assert!(!kept[0].explain.is_empty());
}

#[tokio::test]
async fn the_same_snapshot_again_gets_the_same_decision_and_makes_no_second() {
    let app = TestApp::new().await;
    let first = app.apply(snapshot("Volt Specialist II", 800)).await;
    app.advance(5);
    let second = app.apply(snapshot("Volt Specialist II", 800)).await;
    assert_eq!(first["requestId"], second["requestId"]);
    assert_eq!((said(&second, "status"), decisions(&app).await.len()), ("queued", 1));
    let audited = audits(&app).await.iter().filter(|entry| entry.action.starts_with("decision.")).count();
    assert_eq!(audited, 1);
}

#[tokio::test]
async fn an_evaluation_proposes_and_an_application_of_it_moves_it_on() {
    let app = TestApp::new().await;
    let proposed = app.evaluate(snapshot("Volt Specialist II", 800)).await["decision"].take();
    assert_eq!((said(&proposed, "status"), &proposed["apply"]), ("proposed", &json!(false)));
    let queued = app.apply(snapshot("Volt Specialist II", 800)).await;
    assert_eq!((&queued["requestId"], said(&queued, "status")), (&proposed["requestId"], "queued"));
    let again = app.evaluate(snapshot("Volt Specialist II", 800)).await["decision"].take();
    assert_eq!(
        (said(&again, "status"), &again["apply"]),
        ("queued", &json!(false)),
        "an evaluation takes nothing back"
    );
    assert_eq!(decisions(&app).await.len(), 1);
    let trail = audits(&app).await;
    let verbs: Vec<&str> =
        trail.iter().map(|entry| entry.action.as_str()).filter(|verb| verb.starts_with("decision")).collect();
    assert_eq!(verbs, ["decision.proposed", "decision.queued"]);
}

#[tokio::test]
async fn a_decision_that_no_longer_holds_is_superseded() {
    let app = TestApp::new().await;
    let promoted = app.apply(snapshot("Volt Specialist II", 800)).await;
    let mut warned = snapshot("Volt Specialist II", 800);
    warned["warnings"] = 3.into();
    let suspended = app.apply(warned).await;
    assert_eq!((said(&suspended, "action"), said(&suspended, "status")), ("SUSPEND", "queued"));
    assert_ne!(promoted["requestId"], suspended["requestId"]);
    let kept = decisions(&app).await;
    assert_eq!(kept[0].status, Status::Blocked);
    assert_eq!(kept[0].blocked_reason, Some(format!("Superseded by decision {}", said(&suspended, "requestId"))));
    assert_eq!((kept[1].status, kept[1].suspend_seconds), (Status::Queued, Some(24 * 3600)));
}

#[tokio::test]
async fn a_key_without_apply_may_ask_but_nothing_happens() {
    let app = TestApp::with(&[("INBOUND_API_KEYS", "a-key-that-may-only-evaluate:ingest+evaluate+read")]).await;
    let decision = app.apply(snapshot("Volt Specialist II", 800)).await;
    assert_eq!((&decision["apply"], said(&decision, "status")), (&json!(false), "blocked"));
    let why = said(&decision, "blockedReason");
    assert!(why.contains("decisions:apply") && !why.contains("a-key-that"), "{why}");
    assert_eq!(decisions(&app).await[0].status, Status::Blocked);
    assert_eq!(stored(&app).await.rank.as_deref(), Some("Volt Specialist II"));
}

#[tokio::test]
async fn asked_to_apply_where_there_is_nothing_to_do_is_no_decision() {
    let app = TestApp::new().await;
    let decision = app.apply(snapshot("Volt Specialist II", 520)).await;
    assert_eq!((said(&decision, "action"), decision.get("status")), ("NONE", None));
    assert_eq!(decisions(&app).await, []);
}

#[tokio::test]
async fn a_ban_waits_for_a_person() {
    let app = TestApp::new().await;
    let mut banned = snapshot("Volt Specialist II", 500);
    banned["punishmentStatus"] = "banned".into();
    let decision = app.apply(banned).await;
    assert_eq!((said(&decision, "action"), said(&decision, "status")), ("BAN", "proposed"));
    assert_eq!(
        (&decision["apply"], said(&decision, "blockedReason")),
        (&json!(false), "Waits for a person's approval")
    );
}

#[tokio::test]
async fn the_more_severe_goes_first() {
    let app = TestApp::new().await;
    let mut all_at_once = snapshot("Volt Specialist II", 800);
    all_at_once["warnings"] = 7.into();
    all_at_once["punishmentStatus"] = "suspended".into();
    assert_eq!(said(&app.apply(all_at_once).await, "action"), "BAN");
}

#[tokio::test]
async fn mode_propose_decides_and_applies_nothing() {
    let app =
        Setup::new().policy("policy.ranks.json", |ranks| ranks["settings"]["mode"] = "propose".into()).start().await;
    let decision = app.apply(snapshot("Volt Specialist II", 800)).await;
    assert_eq!((said(&decision, "status"), &decision["apply"]), ("proposed", &json!(false)));
    assert!(said(&decision, "blockedReason").contains("propose"));
}

#[tokio::test]
async fn whom_the_policy_protects_automation_leaves_alone() {
    let protect = |file: &mut Value| file["protectedUserIds"] = json!([7]);
    let app = Setup::new().policy("permissions.json", protect).start().await;
    for (id, rank, status, why) in [
        (7, "Volt Specialist II", Value::Null, "Protected"),
        (8, "Stormmarshal", "banned".into(), "Stormmarshal is privileged"),
        (9, "Volt Specialist II", "shadowbanned".into(), "\"shadowbanned\" is not in the policy"),
        (10, "Jedi", Value::Null, "Jedi is not on the ladder"),
    ] {
        let snapshot = json!({ "userId": id, "username": "A", "rank": rank, "rankPoints": 9000, "warnings": 9, "punishmentStatus": status });
        let answer = app.evaluate(snapshot.clone()).await;
        assert_eq!(
            (said(&answer["decision"], "action"), &answer["player"]["decisionsBlocked"]),
            ("NONE", &json!(true)),
            "{rank}"
        );
        assert!(said(&answer["decision"], "reason").contains(why), "{answer}");
        assert_eq!(said(&app.apply(snapshot).await, "action"), "NONE");
    }
    assert_eq!(decisions(&app).await, []);
}

#[tokio::test]
async fn automation_never_grants_a_privileged_rank() {
    let app = TestApp::new().await;
    let decision = app.apply(snapshot("Storm Corporal I", 9000)).await;
    assert_eq!(said(&decision, "action"), "NONE");
    assert!(said(&decision, "reason").contains("privileged"), "{decision}");
}

#[tokio::test]
async fn climbs_are_as_long_as_the_policy_allows() {
    let app = TestApp::new().await;
    assert_eq!(said(&app.apply(snapshot("Shock Trooper II", 900)).await, "targetRank"), "Volt Specialist II");
    let two = |ranks: &mut Value| ranks["settings"]["maxStepsPerDecision"] = 2.into();
    let app = Setup::new().policy("policy.ranks.json", two).start().await;
    assert_eq!(said(&app.apply(snapshot("Shock Trooper II", 900)).await, "targetRank"), "Storm Corporal I");
}

#[tokio::test]
async fn after_a_decision_the_next_one_cools_down() {
    let hour = |ranks: &mut Value| ranks["settings"]["cooldownSeconds"] = 3600.into();
    let app = Setup::new().policy("policy.ranks.json", hour).start().await;
    assert_eq!(said(&app.apply(snapshot("Shock Trooper II", 500)).await, "status"), "queued");
    app.advance(1800);
    let waiting = app.apply(snapshot("Shock Trooper II", 500)).await;
    assert_eq!((said(&waiting, "action"), waiting.get("status")), ("NONE", None));
    assert!(said(&waiting, "reason").starts_with("Cooling down"), "{waiting}");
    app.advance(1800);
    assert_eq!(said(&app.apply(snapshot("Shock Trooper II", 500)).await, "action"), "PROMOTE");
}

#[tokio::test]
async fn who_falls_below_their_rank_has_a_grace_time() {
    let app = TestApp::new().await;
    let waiting = app.apply(snapshot("Storm Corporal I", 600)).await;
    assert_eq!(said(&waiting, "action"), "NONE");
    assert!(said(&waiting, "reason").contains("demotion in 24 hours"), "{waiting}");
    app.advance(86_400);
    let demoted = app.apply(snapshot("Storm Corporal I", 600)).await;
    assert_eq!((said(&demoted, "action"), said(&demoted, "targetRank")), ("DEMOTE", "Volt Specialist II"));
    // Back above in time: the clock starts anew.
    let app = TestApp::new().await;
    app.apply(snapshot("Storm Corporal I", 600)).await;
    app.advance(86_399);
    app.apply(snapshot("Storm Corporal I", 750)).await;
    app.advance(86_400);
    assert_eq!(said(&app.apply(snapshot("Storm Corporal I", 600)).await, "action"), "NONE");
}

#[tokio::test]
async fn a_promotion_on_unbelievable_points_waits_for_a_person() {
    let app = TestApp::new().await;
    app.apply(snapshot("Volt Specialist II", 410)).await;
    let decision = app.apply(snapshot("Volt Specialist II", 950)).await;
    assert_eq!((said(&decision, "action"), said(&decision, "status")), ("PROMOTE", "proposed"));
    assert!(said(&decision, "blockedReason").contains("approval"));
    let believed =
        decision["explain"].as_array().unwrap().iter().find(|rule| rule["rule"] == "pointsBelieved").unwrap();
    assert_eq!(believed["passed"], json!(false));
    assert!(stored(&app).await.flagged);
    let told = audits(&app)
        .await
        .iter()
        .any(|entry| entry.after.as_deref().is_some_and(|after| after.contains("540 points gained")));
    assert!(told, "the audit trail names what was not believed");
    let later = app.apply(snapshot("Volt Specialist II", 951)).await;
    assert_eq!(said(&later, "status"), "proposed", "waiting does not make it believable");
}

#[tokio::test]
async fn a_rank_given_by_hand_is_adopted_and_told() {
    let app = TestApp::new().await;
    app.ingest(snapshot("Shock Trooper II", 200).to_string()).expect(200).await;
    app.advance(60);
    app.ingest(snapshot("Volt Specialist II", 200).to_string()).expect(200).await;
    let player = stored(&app).await;
    assert_eq!(player.rank.as_deref(), Some("Volt Specialist II"));
    assert_eq!(player.rank_since, Some(crate::harness::START + Duration::from_secs(60)));
    let entry = audits(&app).await.pop().unwrap();
    assert_eq!(entry.action, "player.rank_reported");
    assert_eq!(entry.before.as_deref(), Some(r#"{"rank":"Shock Trooper II"}"#));
    assert_eq!(entry.after.as_deref(), Some(r#"{"rank":"Volt Specialist II"}"#));
}

#[tokio::test]
async fn the_seeds_view_of_a_decision_has_five_fields_in_their_order() {
    let app = TestApp::new().await;
    let call = app.ingest(snapshot("Volt Specialist II", 800).to_string()).header("x-grps-evaluate", "true");
    let answer = call.header("x-grps-explain", "false").expect(200).await.json();
    let names: Vec<&String> = answer["decision"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["action", "targetRank", "reason", "apply", "requestId"]);
    let full = app.evaluate(snapshot("Volt Specialist II", 800)).await;
    let names: Vec<&String> = full["decision"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["action", "targetRank", "reason", "apply", "requestId", "status", "policyVersion", "explain"]);
}
