//! Policy files are edited while the server runs: the next decision follows the new set, or the old one stays.

use serde_json::{Value, json};

use crate::harness::{TestApp, edit_json};

const RANKS: &str = "policy.ranks.json";

async fn look(app: &TestApp) {
    app.tick("policy-watch").await;
}

/// The decision on the seed's 520 points.
async fn decision(app: &TestApp) -> Value {
    let snapshot = json!({ "userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": 520 });
    app.evaluate(snapshot).await["decision"].take()
}

fn promote_at_500(ranks: &mut Value) {
    ranks["ranks"][2]["promoteAt"] = 500.into();
}

#[tokio::test]
async fn an_edit_is_in_force_on_the_second_look() {
    let app = TestApp::new().await;
    let before = decision(&app).await;
    edit_json(&app.policy_dir().join(RANKS), promote_at_500);
    look(&app).await;
    assert_eq!(decision(&app).await["policyVersion"], before["policyVersion"], "it may still be being written");
    look(&app).await;
    let after = decision(&app).await;
    assert_eq!((&before["action"], &after["action"]), (&json!("NONE"), &json!("PROMOTE")));
    assert_ne!(before["policyVersion"], after["policyVersion"]);
    assert_eq!(after["policyVersion"], app.app.policy.status().version.as_ref());
}

#[tokio::test]
async fn the_version_names_the_content_not_the_spelling() {
    let app = TestApp::new().await;
    let before = app.app.policy.status().version;
    let path = app.policy_dir().join(RANKS);
    let pretty: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    std::fs::write(&path, serde_json::to_string_pretty(&pretty).unwrap() + "\n\n").unwrap();
    look(&app).await;
    look(&app).await;
    assert_eq!(app.app.policy.status().version, before);
    edit_json(&path, promote_at_500);
    look(&app).await;
    look(&app).await;
    edit_json(&path, |ranks| {
        ranks["ranks"][2].as_object_mut().unwrap().remove("promoteAt");
    });
    look(&app).await;
    look(&app).await;
    assert_eq!(app.app.policy.status().version, before, "taken back, it is what it was");
}

#[tokio::test]
async fn an_edit_with_an_error_changes_nothing_and_is_explained() {
    let app = TestApp::new().await;
    let before = decision(&app).await["policyVersion"].clone();
    edit_json(&app.policy_dir().join("policy.points.json"), |points| points["onExceed"] = "clamp".into());
    edit_json(&app.policy_dir().join(RANKS), |ranks| {
        promote_at_500(ranks);
        ranks["ranks"][2]["promotAt"] = 1.into();
    });
    look(&app).await;
    look(&app).await;
    let after = decision(&app).await;
    assert_eq!((&after["policyVersion"], &after["action"]), (&before, &json!("NONE")), "no file of the set is taken");
    let refusal = app.app.policy.status().last_error.unwrap().message;
    assert!(refusal.contains("promotAt") && refusal.contains("promoteAt"), "it names the nearest key: {refusal}");
    edit_json(&app.policy_dir().join(RANKS), |ranks| {
        ranks["ranks"][2].as_object_mut().unwrap().remove("promotAt");
    });
    look(&app).await;
    look(&app).await;
    assert_eq!(decision(&app).await["action"], "PROMOTE");
    assert_eq!(app.app.policy.status().last_error, None);
}

#[tokio::test]
async fn a_file_that_is_gone_keeps_the_set_in_force() {
    let app = TestApp::new().await;
    let before = app.app.policy.status().version;
    std::fs::remove_file(app.policy_dir().join(RANKS)).unwrap();
    look(&app).await;
    look(&app).await;
    assert_eq!(app.app.policy.status().version, before);
    assert!(app.app.policy.status().last_error.is_some());
    assert_eq!(decision(&app).await["action"], "NONE");
}

#[tokio::test]
async fn an_open_decision_follows_the_policy() {
    let app = TestApp::new().await;
    let snapshot = json!({ "userId": 7, "username": "A", "rank": "Shock Trooper II", "rankPoints": 900 });
    let one_step = app.apply(snapshot.clone()).await;
    assert_eq!(one_step["targetRank"], "Volt Specialist II");
    edit_json(&app.policy_dir().join(RANKS), |ranks| ranks["settings"]["maxStepsPerDecision"] = 2.into());
    look(&app).await;
    look(&app).await;
    let two_steps = app.apply(snapshot).await;
    assert_eq!(two_steps["targetRank"], "Storm Corporal I");
    assert_ne!(one_step["requestId"], two_steps["requestId"]);
}
