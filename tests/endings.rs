//! How queued decisions end: once, with one audit row, and with index rows that are always in step; and who waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use grps::base::{Id, RobloxId};
use grps::domains::audit::Actor;
use grps::domains::players::{Origin, PLAYERS, Player, Status};
use grps::domains::policy::Action;
use grps::domains::ranks::{
    APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, Decision, End, Ended, OPEN_EFFECTS, Order, OrderIds, Ordered,
    Sender,
};
use serde_json::{Value, json};

use crate::effects;
use crate::harness::TestApp;
use crate::state::{audits, rows};

const USER: u64 = 7;

fn user() -> RobloxId {
    RobloxId::new(USER).unwrap()
}

fn snapshot(points: i64, warnings: u32) -> Value {
    json!({ "userId": USER, "username": "A", "rank": "Volt Specialist II", "rankPoints": points, "warnings": warnings })
}

async fn stored(app: &TestApp) -> Player {
    app.app.store.get(&PLAYERS, &user()).await.unwrap().unwrap()
}

async fn decision(app: &TestApp, id: Id) -> Decision {
    app.app.store.get(&DECISIONS, &(user(), id)).await.unwrap().unwrap()
}

fn id_of(decision: &Value) -> Id {
    decision["requestId"].as_str().unwrap().parse().unwrap()
}

/// The index rows say exactly what the decisions say.
pub async fn check_index(app: &TestApp) {
    let decisions = rows(app, &DECISIONS).await;
    let set = |of: &dyn Fn(&Decision) -> bool| -> BTreeSet<(Id, RobloxId)> {
        decisions.iter().filter(|(_, decision)| of(decision)).map(|((user, id), _)| (*id, *user)).collect()
    };
    let found = |rows: Vec<(Id, RobloxId)>| -> BTreeSet<(Id, RobloxId)> { rows.into_iter().collect() };
    assert_eq!(found(rows(app, &DECIDED).await), set(&|_| true));
    assert_eq!(found(rows(app, &OPEN_EFFECTS).await), set(&|decision| decision.status == Status::Queued));
    let applied = rows(app, &APPLIED).await.into_iter().map(|((_, id), user)| (id, user)).collect();
    assert_eq!(found(applied), set(&|decision| decision.status == Status::Applied));
}

async fn order(app: &TestApp, order: &Order) -> Ordered {
    let sender = Sender { actor: Actor::of("operator"), request_id: "r".into() };
    let (ids, now) = (OrderIds::new(&app.app.ids), app.clock.now());
    let (ranks, sender) = (&app.app.ranks, &sender);
    let work = |tx| async move { ranks.order(&tx, user(), order, ids, (sender, now)).await };
    app.app.store.transact(work).await.unwrap()
}

#[tokio::test]
async fn a_decision_ends_once_and_is_told_once() {
    let app = TestApp::new().await;
    let id = id_of(&app.apply(snapshot(800, 0)).await);
    check_index(&app).await;
    app.advance(5);
    let applied = End::Applied { what: Some("the group role is set".into()) };
    let Ended::Done(ended) = effects::end(&app, (user(), id), &applied).await else { panic!("it was queued") };
    assert_eq!((ended.status, ended.ended_at), (Status::Applied, Some(app.clock.now())));
    let player = stored(&app).await;
    assert_eq!((player.rank.as_deref(), player.decided), (Some("Storm Corporal I"), None));
    let second = effects::end(&app, (user(), id), &End::Failed { why: "late".into() }).await;
    assert_eq!(second, Ended::NotQueued(Some(Status::Applied)));
    assert_eq!(effects::end(&app, (user(), Id(5)), &applied).await, Ended::NotQueued(None));
    let told: Vec<_> = audits(&app).await.into_iter().filter(|entry| entry.action == "decision.applied").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].after.as_deref().unwrap().contains("the group role is set"), "{:?}", told[0]);
    check_index(&app).await;
}

#[tokio::test]
async fn a_failed_decision_stays_open_and_is_tried_again_after_an_hour() {
    let app = TestApp::new().await;
    let first = app.apply(snapshot(800, 0)).await;
    effects::fail(&app, "The key may not change roles").await;
    assert_eq!(decision(&app, id_of(&first)).await.status, Status::Failed);
    check_index(&app).await;
    app.advance(3_599);
    for _ in 0..2 {
        let again = app.apply(snapshot(800, 0)).await;
        assert_eq!(
            (&again["status"], &again["requestId"], &again["apply"]),
            (&json!("failed"), &first["requestId"], &json!(false))
        );
        assert_eq!(again["blockedReason"], "The key may not change roles");
    }
    app.advance(1);
    let asked = app.evaluate(snapshot(800, 0)).await["decision"].take();
    assert_eq!(asked["status"], "failed", "only who applies tries again");
    let again = app.apply(snapshot(800, 0)).await;
    assert_eq!((&again["status"], &again["requestId"]), (&json!("queued"), &first["requestId"]));
    check_index(&app).await;
    effects::fail(&app, "again").await;
    let other = app.apply(snapshot(800, 3)).await;
    assert_eq!(
        (&other["action"], &other["status"]),
        (&json!("SUSPEND"), &json!("queued")),
        "it stands in nobody's way"
    );
    assert_eq!(decision(&app, id_of(&first)).await.status, Status::Blocked);
    check_index(&app).await;
}

#[tokio::test]
async fn a_failure_that_a_clock_set_back_moved_ahead_stands_in_nobodys_way() {
    let app = TestApp::new().await;
    let first = app.apply(snapshot(800, 0)).await;
    effects::fail(&app, "The key may not change roles").await;
    app.clock.set_back(Duration::from_secs(86_400));
    let again = app.apply(snapshot(800, 0)).await;
    assert_eq!((&again["status"], &again["requestId"]), (&json!("queued"), &first["requestId"]));
}

#[tokio::test]
async fn an_order_goes_before_the_policy_until_it_has_ended() {
    let app = TestApp::new().await;
    app.apply(snapshot(800, 0)).await;
    effects::carry_out(&app).await;
    let back = Order::new(Origin::Drift, Action::Demote, Some("Volt Specialist II".into()), "Back to what it was");
    let Ordered::Queued(id) = order(&app, &back).await else { panic!("nothing stands against it") };
    assert_eq!(order(&app, &back).await, Ordered::Already(id));
    for warnings in [0, 3] {
        let waits = app.apply(snapshot(800, warnings)).await;
        assert!(waits["status"].is_null() || waits["status"] == "proposed", "{waits}");
    }
    assert_eq!(decision(&app, id).await.status, Status::Queued);
    effects::fail(&app, "hanging").await;
    app.apply(snapshot(800, 3)).await;
    assert_eq!(decision(&app, id).await.status, Status::Failed, "what failed is not forgotten");
    assert_eq!(order(&app, &back).await, Ordered::Queued(id));
    effects::carry_out(&app).await;
    assert_eq!(stored(&app).await.rank.as_deref(), Some("Volt Specialist II"));
    assert_eq!(app.apply(snapshot(800, 3)).await["action"], "SUSPEND");
    check_index(&app).await;
}

#[tokio::test]
async fn a_lifted_suspension_is_over_and_not_made_again() {
    for (warnings, status) in [(0, json!("suspended")), (3, Value::Null)] {
        let app = TestApp::new().await;
        let mut suspended = snapshot(520, warnings);
        suspended["punishmentStatus"] = status;
        let id = id_of(&app.apply(suspended.clone()).await);
        assert_eq!(decision(&app, id).await.standing.as_deref(), Some("suspended"));
        effects::carry_out(&app).await;
        assert_eq!(stored(&app).await.punished().unwrap().id, id);
        order(&app, &Order::lift(Origin::SuspensionEnd(id), Action::Suspend, Some("suspended".into()), "Over")).await;
        effects::carry_out(&app).await;
        assert_eq!(stored(&app).await.punished(), None);
        assert_eq!(app.apply(suspended).await["action"], "NONE");
    }
}

#[tokio::test]
async fn the_protected_are_left_alone_by_orders_but_for_a_lift() {
    let protect = |file: &mut Value| file["protectedUserIds"] = json!([USER]);
    let app = crate::harness::Setup::new().policy("permissions.json", protect).start().await;
    app.ingest(snapshot(520, 0).to_string()).expect(200).await;
    let moved = Order::new(Origin::Drift, Action::Demote, None, "Back");
    assert!(matches!(order(&app, &moved).await, Ordered::Left(why) if why.starts_with("Protected")));
    let lift = Order::lift(Origin::Revert(Id(1)), Action::Ban, None, "Free");
    assert!(matches!(order(&app, &lift).await, Ordered::Queued(_)));
    let onto = Order::new(Origin::Drift, Action::Promote, Some("Stormmarshal".into()), "Up");
    let app = TestApp::new().await;
    app.ingest(snapshot(520, 0).to_string()).expect(200).await;
    assert!(matches!(order(&app, &onto).await, Ordered::Left(why) if why.contains("privileged")));
}

#[tokio::test]
async fn who_waits_hears_of_the_end_and_not_longer_than_they_said() {
    let app = TestApp::new().await;
    let id = id_of(&app.apply(snapshot(800, 0)).await);
    let ranks = app.app.ranks.clone();
    assert_eq!(ranks.settled(id, Duration::from_millis(10)).await.unwrap(), None);
    assert_eq!(ranks.settled(Id(1), Duration::from_secs(60)).await.unwrap(), None, "nobody has decided that");
    let why = "Roblox says no".to_owned();
    let (heard, _) = tokio::join!(ranks.settled(id, Duration::from_secs(60)), async {
        tokio::task::yield_now().await;
        effects::fail(&app, &why).await
    });
    let failed = Some((Status::Failed, Some(why)));
    assert_eq!(heard.unwrap(), failed);
    assert_eq!(ranks.settled(id, Duration::ZERO).await.unwrap(), failed, "what has ended needs no waiting");
}

#[tokio::test]
async fn decisions_of_an_older_program_are_indexed_at_the_start() {
    let app = TestApp::new().await;
    app.apply(snapshot(800, 0)).await;
    app.apply(snapshot(800, 3)).await;
    let ids: Vec<Id> = rows(&app, &DECIDED).await.into_iter().map(|(id, _)| id).collect();
    let ids = &ids;
    let strip = |tx: grps::store::Tx| async move {
        ids.iter().for_each(|id| {
            tx.delete(&DECIDED, id);
            tx.delete(&OPEN_EFFECTS, id);
        });
        tx.delete(&DECISIONS_INDEXED, &());
        Ok(())
    };
    app.app.store.transact(strip).await.unwrap();
    assert_eq!(rows(&app, &DECIDED).await.len(), 0);
    let app = app.restart().await;
    check_index(&app).await;
    assert_eq!((rows(&app, &DECIDED).await.len(), rows(&app, &OPEN_EFFECTS).await.len()), (2, 1));
}

#[tokio::test]
async fn index_rows_go_with_their_decisions() {
    let app = TestApp::new().await;
    app.apply(snapshot(800, 0)).await;
    effects::carry_out(&app).await;
    app.advance(366 * 86_400);
    app.tick("history-retention").await;
    assert_eq!(rows(&app, &DECISIONS).await.len(), 0);
    check_index(&app).await;
}

/// A program that waits for outcomes, and nobody who carries decisions out.
async fn waiting(millis: &str) -> TestApp {
    let on = [("ROBLOX_OPEN_CLOUD_API_KEY", "k"), ("ROBLOX_GROUP_ID", "5"), ("APPLY_INLINE_MS", millis)];
    TestApp::with(&on).await
}

/// Ends whatever is queued, as soon as anything is.
async fn end_soon(app: &TestApp, how: &End, count: usize) {
    let mut ended = 0;
    while ended < count {
        ended += effects::end_all(app, how).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_applies_is_answered_the_outcome_or_queued_when_it_takes_too_long() {
    let app = waiting("30").await;
    let late = app.apply(snapshot(800, 0)).await;
    assert_eq!((&late["status"], &late["apply"]), (&json!("queued"), &json!(true)));
    let asked = app.evaluate(snapshot(800, 0)).await["decision"].take();
    assert_eq!(asked["status"], "queued");
    let app = waiting("60000").await;
    let (applied, ()) = tokio::join!(app.apply(snapshot(800, 0)), end_soon(&app, &End::Applied { what: None }, 1));
    assert_eq!((&applied["status"], &applied["apply"]), (&json!("applied"), &json!(true)));
    let failed = End::Failed { why: "The role is gone".into() };
    let (answer, ()) = tokio::join!(app.apply(snapshot(1_000, 3)), end_soon(&app, &failed, 1));
    assert_eq!((&answer["status"], &answer["apply"]), (&json!("failed"), &json!(false)));
    assert_eq!(answer["blockedReason"], "The role is gone");
}

#[tokio::test]
async fn a_page_of_decisions_waits_for_all_of_them_at_once() {
    let app = waiting("60000").await;
    for user in 1..=5 {
        let seen = json!({ "userId": user, "username": "A", "rank": "Volt Specialist II", "rankPoints": 800 });
        app.ingest(seen.to_string()).expect(200).await;
    }
    let call = app.post("/automation/decisions", r#"{"all":true,"apply":true}"#).key().expect(200);
    let (page, ()) = tokio::join!(call, end_soon(&app, &End::Applied { what: None }, 5));
    let page = page.json();
    let statuses: Vec<&Value> = page["decisions"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [&json!("applied"); 5]);
    let call = app.post("/automation/breaker", r#"{"open":true}"#).operator();
    call.expect(200).await;
    let raised = json!({ "userId": 9, "username": "A", "rank": "Volt Specialist II", "rankPoints": 800 });
    assert_eq!(app.apply(raised).await["status"], "proposed", "nobody waits for what nothing comes of");
}

#[tokio::test]
async fn a_queued_ban_whose_status_was_lifted_is_closed_while_a_suspension_is_in_force() {
    let alone = |file: &mut Value| file["approval"]["BAN"] = false.into();
    let app = crate::harness::Setup::new().policy("policy.punishments.json", alone).start().await;
    app.apply(snapshot(500, 3)).await;
    effects::carry_out(&app).await;
    let with = |status: Value| {
        let mut seen = snapshot(500, 3);
        seen["punishmentStatus"] = status;
        seen
    };
    let ban = id_of(&app.apply(with(json!("banned"))).await);
    assert_eq!(decision(&app, ban).await.status, Status::Queued);
    app.apply(with(json!(" Banned"))).await;
    assert_eq!(decision(&app, ban).await.status, Status::Queued);
    assert_eq!(app.apply(with(Value::Null)).await["action"], "NONE");
    let closed = decision(&app, ban).await;
    assert_eq!(closed.status, Status::Blocked);
    assert!(closed.why().unwrap().contains("banned was lifted"), "{closed:?}");
    assert_eq!(stored(&app).await.decided, None);
    check_index(&app).await;
}

#[tokio::test]
async fn the_end_of_a_suspension_leaves_a_ban_that_waits_for_a_person() {
    let app = TestApp::new().await;
    let suspension = id_of(&app.apply(snapshot(500, 3)).await);
    effects::carry_out(&app).await;
    let mut seen = snapshot(500, 3);
    seen["punishmentStatus"] = json!("banned");
    let ban = app.apply(seen).await;
    assert_eq!((&ban["action"], &ban["status"]), (&json!("BAN"), &json!("proposed")));
    let lift = |origin| Order::lift(origin, Action::Suspend, Some("suspended".into()), "Over");
    let end = lift(Origin::SuspensionEnd(suspension));
    assert!(matches!(order(&app, &end).await, Ordered::Left(why) if why.contains("waits for a person")));
    assert_eq!(decision(&app, id_of(&ban)).await.status, Status::Proposed);
    assert!(matches!(order(&app, &lift(Origin::Revert(suspension))).await, Ordered::Queued(_)), "a person did that");
    check_index(&app).await;
}
