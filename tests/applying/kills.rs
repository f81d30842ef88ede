//! The program is killed while it carries decisions out: at every step of them, before and after Roblox acted on it. `GRPS_KILLS` says how
//! often at each step.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Decisions under way at the same time.
const TOGETHER: u64 = 10;

/// Rounds with one scene.
const A_SCENE: usize = 20;

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
    let (read, write, restriction) =
        (format!("users/{user}'"), format!("/memberships/{user}:"), format!("/user-restrictions/{user}"));
    let of = |text: &str| {
        let text = text.replace("%27", "'").replace("%2F", "/");
        text.contains(&read) || text.contains(&write) || text.ends_with(&restriction)
    };
    scene.fake.asked().iter().filter(|asked| of(&asked.path) || of(&asked.query)).count()
}

/// What is killed: how many requests one takes, what a snapshot says, and which roles are held in the end.
struct Kind {
    name: &'static str,
    steps: usize,
    facts: Value,
    roles: &'static [u64],
}

/// Kills until every step was killed `wanted` times; each decision ends with exactly the roles it stands for, and one audit row.
async fn campaign(kind: &Kind, wanted: usize) {
    let (mut scene, mut user) = (Scene::new().await, 1_000);
    let mut kills: BTreeMap<usize, usize> = BTreeMap::new();
    let least = |kills: &BTreeMap<usize, usize>| (1..=kind.steps).map(|at| kills.get(&at).copied().unwrap_or(0)).min();
    let mut rounds = 0;
    while least(&kills) < Some(wanted) {
        rounds += 1;
        assert!(rounds < 20 * wanted, "some steps are never reached: {kills:?}");
        let users: Vec<u64> = (user + 1..=user + TOGETHER).collect();
        user += TOGETHER;
        scene = round(scene, kind, &users, &mut kills).await;
        // Programs that were killed still follow the store in memory: after a while a new one is quicker.
        if rounds % A_SCENE == 0 {
            told_once(&scene).await;
            scene = Scene::new().await;
        }
    }
    told_once(&scene).await;
    let (name, count) = (kind.name, user - 1_000);
    println!(
        "{count} {name} in {rounds} kills; killed after requests (0: before the first): {kills:?}; one role and one audit row each"
    );
}

/// Decides about `users`, kills on the way, starts again and sees to the end.
async fn round(scene: Scene, kind: &Kind, users: &[u64], kills: &mut BTreeMap<usize, usize>) -> Scene {
    let mut ids = Vec::new();
    for user in users {
        scene.fake.member(*user, &[SPECIALIST, EVENT_HOST]);
        ids.push(scene.decide(*user, kind.facts.clone()).await);
    }
    let pause = Duration::from_micros(fastrand::u64(0..1_500));
    kill_after(&scene, fastrand::usize(1..=kind.steps * TOGETHER as usize), pause).await;
    for (user, id) in users.iter().zip(&ids) {
        if scene.status(*user, *id).await == Status::Queued {
            *kills.entry(asked_of(&scene, *user)).or_default() += 1;
        }
    }
    let scene = scene.restart().await;
    scene.work().await;
    scene.app.advance(61);
    scene.work().await;
    for (user, id) in users.iter().zip(&ids) {
        let what = format!("{:?}", scene.effect(*id).await);
        assert_eq!(scene.status(*user, *id).await, Status::Applied, "{what}");
        assert_eq!(scene.roles(*user), kind.roles, "{what}");
    }
    assert_eq!(scene.fake.wrong(), Vec::<String>::new());
    scene
}

/// Every decision of the scene has one audit row that says it took effect, and no call was too many.
async fn told_once(scene: &Scene) {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for entry in state::audits(&scene.app).await.into_iter().filter(|entry| entry.action == "decision.applied") {
        *told.entry(entry.subject).or_default() += 1;
    }
    assert_eq!(told.len(), state::rows(&scene.app, &PLAYERS).await.len());
    assert!(told.values().all(|count| *count == 1), "{told:?}");
    assert_eq!(scene.fake.limits().throttled(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotions_killed_at_every_step_end_with_exactly_one_ladder_role() {
    let facts = json!({"rank": "Volt Specialist II", "rankPoints": 760});
    // Read, assign, read, unassign, read.
    let kind = Kind { name: "promotions", steps: 5, facts, roles: &[EVENT_HOST, CORPORAL] };
    campaign(&kind, sized("GRPS_KILLS", 50)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspensions_killed_at_every_step_end_with_exactly_their_role() {
    let facts = json!({"rank": "Volt Specialist II", "rankPoints": 500, "warnings": 3});
    // The member is read, and the restriction read, set and read, before.
    let kind = Kind { name: "suspensions", steps: 9, facts, roles: &[SUSPENDED, EVENT_HOST] };
    campaign(&kind, sized("GRPS_KILLS", 50)).await;
}
