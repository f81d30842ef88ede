//! The program is killed while it carries decisions out: at every step of them, before and after Roblox acted on it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Promotions under way at the same time.
const TOGETHER: u64 = 10;

/// Requests that one promotion makes of the member: read, assign, read, unassign, read.
const STEPS: usize = 5;

/// Kills of a promotion at each of its steps; `GRPS_KILLS` makes it more.
fn wanted() -> usize {
    std::env::vars().find(|(name, _)| name == "GRPS_KILLS").and_then(|(_, value)| value.parse().ok()).unwrap_or(50)
}

/// Runs the applier until so many requests have reached Roblox and a little longer, then drops it as a kill does.
async fn kill_after(scene: &Scene, requests: usize, then: Duration) {
    let mut workers = scene.app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "applier").unwrap();
    scene.fake.forget();
    let reached = async {
        while scene.fake.asked().len() < requests {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        tokio::time::sleep(then).await;
    };
    tokio::select! {
        _ = worker.tick() => {}
        () = reached => {}
    }
}

/// How many requests were made of a member.
fn asked_of(scene: &Scene, user: u64) -> usize {
    let (read, write) = (format!("users/{user}'"), format!("/memberships/{user}:"));
    let of = |text: &str| text.contains(&read) || text.contains(&write);
    let query = |query: &str| of(&query.replace("%27", "'").replace("%2F", "/"));
    scene.fake.asked().iter().filter(|asked| of(&asked.path) || query(&format!("{:?}", asked.query))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotions_killed_at_every_step_end_with_exactly_one_ladder_role() {
    let (mut scene, mut user, wanted) = (Scene::new().await, 1_000, wanted());
    let mut kills: BTreeMap<usize, usize> = BTreeMap::new();
    let least = |kills: &BTreeMap<usize, usize>| (1..=STEPS).map(|at| kills.get(&at).copied().unwrap_or(0)).min();
    let mut rounds = 0;
    while least(&kills) < Some(wanted) {
        rounds += 1;
        assert!(rounds < 20 * wanted, "some steps are never reached: {kills:?}");
        let users: Vec<u64> = (user + 1..=user + TOGETHER).collect();
        user += TOGETHER;
        let mut ids = Vec::new();
        for user in &users {
            ids.push(scene.promote(*user, &[SPECIALIST, EVENT_HOST]).await);
        }
        let pause = Duration::from_micros(fastrand::u64(0..1_500));
        kill_after(&scene, fastrand::usize(1..=STEPS * TOGETHER as usize), pause).await;
        for (user, id) in users.iter().zip(&ids) {
            if scene.status(*user, *id).await == Status::Queued {
                *kills.entry(asked_of(&scene, *user)).or_default() += 1;
            }
        }
        scene.app.advance(60);
        scene = scene.restart().await;
        scene.work().await;
        for (user, id) in users.iter().zip(&ids) {
            let what = format!("{:?}", scene.effect(*id).await);
            assert_eq!(scene.status(*user, *id).await, Status::Applied, "{what}");
            assert_eq!(scene.roles(*user), [EVENT_HOST, CORPORAL], "{what}");
            assert_eq!(scene.player(*user).await.rank.as_deref(), Some("Storm Corporal I"), "{what}");
        }
        assert_eq!(scene.fake.wrong(), Vec::<String>::new());
        scene.app.advance(60);
    }
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for entry in state::audits(&scene.app).await.into_iter().filter(|entry| entry.action == "decision.applied") {
        *told.entry(entry.subject).or_default() += 1;
    }
    assert_eq!((told.len() as u64, told.values().all(|count| *count == 1)), (user - 1_000, true));
    assert_eq!(scene.fake.limits().throttled(), 0);
    println!(
        "{} promotions in {rounds} kills; killed at request (0 before the first): {kills:?}; one role and one audit row each",
        user - 1_000
    );
}
