//! What ends without having touched Roblox is given back to the breaker; what touched it stays counted, whatever comes in between.
//! `GRPS_GIVEN` says how many ways are tried.

use grps::domains::brakes::{BREAKER, Breaker};
use grps::domains::ranks::Say;
use grps::fakes::roblox::Day;

use super::*;

const HOUR: i64 = 3_600;

fn limited(minute: u64, hour: u64) -> Setup {
    Setup::new().policy("policy.ranks.json", move |ranks| {
        ranks["settings"]["breaker"] =
            json!({"appliesPerMinute": minute, "appliesPerHour": hour, "percentOfGroupPerHour": 100});
    })
}

async fn scene(minute: u64, hour: u64) -> Scene {
    let scene = Scene::strict(limited(minute, hour)).await;
    scene.app.app.group_size.set(LARGE);
    scene
}

fn due(user: u64) -> Value {
    json!({"userId": user, "username": format!("P{user}"), "rank": "Volt Specialist II", "rankPoints": 760})
}

impl Scene {
    async fn breaker(&self) -> Breaker {
        self.app.app.store.get(&BREAKER, &()).await.unwrap().unwrap_or_default()
    }

    async fn counted(&self) -> u64 {
        self.breaker().await.window.within(HOUR, self.now())
    }

    async fn close(&self) {
        self.app.post("/automation/breaker", r#"{"open":false}"#).operator().expect(200).await;
    }
}

fn reject() -> Say {
    Say::Reject { reason: String::new(), only_proposed: false }
}

#[tokio::test]
async fn who_is_not_a_member_takes_nobodys_place() {
    let scene = scene(30, 40).await;
    for user in 100..400 {
        assert_eq!(scene.app.apply(due(user)).await["status"], "queued", "user {user}");
        // Fewer than ten at a time: the group is small, and no share of it is less than that.
        if user % 9 == 0 {
            scene.work().await;
            assert_eq!(scene.counted().await, 0, "user {user}");
            scene.app.advance(10);
        }
    }
    scene.run(5).await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.run(5).await;
    assert_eq!((scene.status(7, id).await, scene.counted().await), (Status::Applied, 1));
    assert_eq!(scene.breaker().await.untold, []);
}

#[tokio::test]
async fn what_failed_counts_again_when_it_is_tried_again() {
    let scene = scene(30, 2).await;
    let id = scene.decide(7, json!({"rank": "Volt Specialist II", "rankPoints": 760})).await;
    assert_eq!(scene.counted().await, 1);
    scene.work().await;
    assert_eq!((scene.status(7, id).await, scene.counted().await), (Status::Failed, 0));
    assert!(scene.say(id, reject()).await);
    assert_eq!(scene.counted().await, 0, "nothing is given back twice");
    let other = scene.decide(8, json!({"rank": "Volt Specialist II", "rankPoints": 760})).await;
    scene.work().await;
    scene.fake.member(8, &[SPECIALIST]);
    assert!(scene.say(other, Say::Retry).await);
    assert_eq!(scene.counted().await, 1, "a person's retry of what the policy decided");
    scene.work().await;
    assert_eq!((scene.status(8, other).await, scene.counted().await), (Status::Applied, 1));
    let third = scene.decide(9, json!({"rank": "Volt Specialist II", "rankPoints": 760})).await;
    scene.work().await;
    scene.fake.member(9, &[SPECIALIST]);
    scene.app.advance(3_601 + 10);
    assert_eq!(scene.app.apply(due(9)).await["status"], "queued");
    assert_eq!((scene.status(9, third).await, scene.counted().await), (Status::Queued, 1), "asked for again");
    assert!(scene.say(third, reject()).await);
    assert_eq!(scene.counted().await, 0);
    assert!(scene.say(third, Say::Approve).await);
    assert_eq!(scene.counted().await, 0, "an approval is not counted");
    assert!(scene.say(third, reject()).await);
    assert_eq!(scene.counted().await, 0, "nor given back");
}

#[tokio::test]
async fn what_was_begun_and_what_an_operator_forgot_is_not_given_back() {
    let scene = scene(30, 9).await;
    let begun = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(grps::fakes::roblox::Class::Assign, &[Day::Unavailable]);
    scene.work().await;
    assert!(scene.effect(begun).await.touched);
    assert!(scene.say(begun, reject()).await);
    assert_eq!(scene.counted().await, 1, "something was sent");
    let before = scene.decide(100, json!({"rank": "Volt Specialist II", "rankPoints": 760})).await;
    let body = r#"{"open":true}"#;
    scene.app.post("/automation/breaker", body).operator().expect(200).await;
    scene.close().await;
    scene.app.apply(due(101)).await;
    assert_eq!(scene.counted().await, 1);
    assert!(scene.say(before, reject()).await);
    assert_eq!(scene.counted().await, 1, "it is that of another");
}

/// Members and others, people who change their minds, answers that are lost, kills and restarts: no stretch of an hour ever has more
/// effects that touched Roblox than the breaker lets through, and the breaker never counts fewer than there are.
#[tokio::test]
async fn whatever_comes_in_between_what_touched_roblox_is_counted() {
    let (mut given, mut touched) = (0, 0);
    for seed in 0..sized("GRPS_GIVEN", 25) as u64 {
        let (given_here, touched_here) = one_way(seed).await;
        given += given_here;
        touched += touched_here;
    }
    println!("{touched} effects touched Roblox, {given} decisions were given back");
    assert!(given > 0 && touched > 0);
}

async fn one_way(seed: u64) -> (usize, usize) {
    const MOST: u64 = 4;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut scene = scene(3, MOST).await;
    (1..=4).for_each(|user| scene.fake.member(user, &[SPECIALIST]));
    let mut given = 0;
    for step in 0..80 {
        let user = rng.u64(1..=8);
        let found = state::rows(&scene.app, &DECISIONS).await;
        let id = rng.choice(&found).map(|((_, id), _)| *id);
        let before = scene.counted().await;
        // So that times tell one try from the next.
        scene.app.clock.advance(Duration::from_millis(1));
        match rng.u32(0..16) {
            0..=3 => drop(scene.app.apply(due(user)).await),
            4 => {
                let less = json!({"userId": user, "username": "P", "rank": "Volt Specialist II", "rankPoints": 500});
                scene.app.apply(less).await;
            }
            5..=8 => {
                // The applier goes on while people say something, or is killed by then.
                let verb = if rng.bool() { reject() } else { Say::Retry };
                let (kills, again, late) = (rng.bool(), rng.bool(), rng.u64(0..3_000));
                let mut workers = scene.app.app.workers();
                let worker = workers.iter_mut().find(|worker| worker.name() == "applier").unwrap();
                let meanwhile = async {
                    tokio::time::sleep(Duration::from_micros(late)).await;
                    if let Some(id) = id {
                        scene.say(id, verb).await;
                    }
                    if again {
                        scene.app.apply(due(user)).await;
                    }
                };
                if kills {
                    tokio::select! { _ = worker.tick() => {}, () = meanwhile => {} }
                } else {
                    drop(tokio::join!(worker.tick(), meanwhile));
                }
            }
            9 => drop(scene.app.tick("applier").await),
            10 => scene.fake.days(&[Day::Unavailable]),
            11 => match rng.bool() {
                true => scene.fake.member(user, &[SPECIALIST]),
                false => scene.fake.leave(user),
            },
            12 => scene.app.advance(rng.u64(1..120)),
            13 => scene.app.advance(rng.u64(600..4_200)),
            14 => scene.close().await,
            _ => scene = scene.restart().await,
        }
        given += usize::from(scene.counted().await < before);
        check(&scene, MOST, (seed, step)).await;
    }
    scene.fake.days(&[]);
    let effects = state::rows(&scene.app, &EFFECTS).await;
    (given, effects.iter().filter(|(_, effect)| effect.touched).count())
}

/// Reads all of it as of one moment: what was dropped may still be on its way to the disk.
async fn check(scene: &Scene, most: u64, place: (u64, i32)) {
    let keys: Vec<_> = state::rows(&scene.app, &DECISIONS).await.into_iter().map(|(key, _)| key).collect();
    let ids: Vec<Id> = keys.iter().map(|(_, id)| *id).collect();
    let (keys, ids) = (&keys, &ids);
    let read = scene.app.app.store.transact(|tx| async move {
        let breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
        Ok((breaker, tx.get_many(&DECISIONS, keys).await?, tx.get_many(&EFFECTS, ids).await?))
    });
    let (breaker, decisions, effects) = read.await.unwrap();
    let mut kept: Vec<(Decision, Option<Effect>)> = Vec::new();
    for (decision, effect) in decisions.into_iter().flatten().zip(effects) {
        let Some(count) = decision.counted.filter(|count| count.era == breaker.era) else { continue };
        // That of an earlier try may still be there.
        let touched = effect.as_ref().is_some_and(|effect| effect.touched && effect.began_at >= count.at);
        let stays = touched || matches!(decision.status, Status::Queued | Status::Applied);
        if stays && scene.now().since(count.at).as_secs() < HOUR as u64 {
            kept.push((decision, effect));
        }
    }
    let (counted, all) = (breaker.window.within(HOUR, scene.now()), kept.len() as u64);
    let unasked = kept.iter().filter(|(decision, _)| decision.approved_by.is_none()).count() as u64;
    assert!(all <= counted, "{counted} are counted: {place:?}, {kept:#?}");
    assert!(unasked <= most, "{unasked} got past the breaker: {place:?}");
}
