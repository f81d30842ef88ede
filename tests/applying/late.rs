//! What Roblox shows late, and what people do there while a decision is carried out.

use grps::fakes::roblox::{Change, Class, Day};

use super::*;

const LAG: Duration = Duration::from_secs(3);

impl Scene {
    /// Changes that really happened to somebody.
    fn changes(&self, user: u64) -> Vec<Change> {
        self.fake.effects().into_iter().filter(|effect| effect.user == user).map(|effect| effect.what).collect()
    }
}

#[tokio::test]
async fn what_roblox_shows_late_is_waited_for_and_not_sent_again() {
    let scene = Scene::new().await;
    scene.fake.lag(LAG);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.fake.limits().served(Class::Assign), 1);
    assert!(scene.effect(id).await.waiting.unwrap().contains("does not show yet"));
    scene.run(20).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![CORPORAL]));
    let calls = (scene.fake.limits().served(Class::Assign), scene.fake.limits().served(Class::Unassign));
    assert_eq!(calls, (1, 1), "nothing was sent twice");
    scene.check();
}

#[tokio::test]
async fn what_is_taken_back_is_taken_back_though_it_shows_late() {
    let scene = Scene::new().await;
    scene.fake.lag(LAG);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SPECIALIST, CORPORAL]);
    assert!(scene.say(id, Say::Reject { reason: String::new(), only_proposed: false }).await);
    scene.run(20).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Blocked, vec![SPECIALIST]));
    assert!(scene.effect(id).await.ended_at.is_some());
    scene.check();
}

#[tokio::test]
async fn a_change_that_somebody_undid_is_made_again_once_it_cannot_be_late() {
    let scene = Scene::new().await;
    scene.fake.days_for(Class::Unassign, &[Day::Unavailable]);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.run(20).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Queued, vec![SPECIALIST]));
    scene.run(40).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![CORPORAL]));
}

#[tokio::test]
async fn a_change_that_never_shows_is_given_up() {
    let scene = Scene::new().await;
    scene.fake.lag(Duration::from_secs(86_400));
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.run(900).await;
    let why = scene.decision(7, id).await.failure.unwrap_or_default();
    assert!(why.contains("do not stay as they are set") && why.contains("look at the member's roles"), "{why}");
    assert_eq!((scene.status(7, id).await, scene.fake.limits().served(Class::Assign)), (Status::Failed, 10));
}

#[tokio::test]
async fn a_privileged_role_that_is_given_midway_stays() {
    let scene = Scene::new().await;
    scene.fake.days_for(Class::Unassign, &[Day::Unavailable]);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    scene.fake.member(7, &[SPECIALIST, CORPORAL, MARSHAL]);
    scene.run(60).await;
    assert_eq!((scene.status(7, id).await, scene.roles(7)), (Status::Applied, vec![CORPORAL, MARSHAL]));
}

#[tokio::test]
async fn a_privileged_role_that_is_there_before_stands_against_it_though_nothing_is_to_do() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[CORPORAL, MARSHAL]).await;
    scene.work().await;
    assert_eq!((scene.status(7, id).await, scene.changes(7)), (Status::Failed, vec![]));
}

#[tokio::test]
async fn a_privileged_role_that_is_given_during_a_suspension_stays() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST, EVENT_HOST]);
    scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    scene.work().await;
    assert_eq!(scene.roles(7), [SUSPENDED, EVENT_HOST]);
    scene.fake.member(7, &[SUSPENDED, EVENT_HOST, MARSHAL]);
    scene.app.advance(86_401);
    scene.release().await;
    assert_eq!(scene.roles(7), [EVENT_HOST, SPECIALIST, MARSHAL]);
}

#[tokio::test]
async fn a_suspension_that_cannot_be_finished_keeps_out_for_its_time_and_no_longer() {
    let scene = Scene::new().await;
    scene.fake.member(7, &[SPECIALIST]);
    scene.fake.days_for(Class::Assign, &vec![Day::Forbidden; 1_000]);
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3})).await;
    for _ in 0..60 {
        scene.app.clock.advance(Duration::from_secs(3_600));
        scene.run(2).await;
    }
    assert_eq!((scene.status(7, id).await, scene.changes(7)), (Status::Queued, vec![Change::Restricted]));
    assert!(!scene.fake.restriction_of(7).unwrap().active, "a day is over");
}
