//! What is written back to Roblox: one row that cannot be written is in nobody's way, nothing is lost of an entry, and nothing of ours is
//! left behind on a board.

use std::time::Duration;

use grps::base::RobloxId;
use grps::domains::mirrors::{Config, MIRROR_DUE, MIRRORED, Mirrors};
use grps::domains::players::PLAYERS;
use grps::fakes::roblox::{BOT, Class, Day, KEY, Key, UNIVERSE};
use grps::remote::roblox::StoreId;
use grps::store::Table;
use grps::workers::{Next, Worker};
use serde_json::{Value, json};

use crate::applying::Scene;
use crate::fakes::roblox;
use crate::state::rows;

const ENTRIES: &str = "PlayerData";

fn id(user: u64) -> RobloxId {
    RobloxId::new(user).unwrap()
}

fn store(name: &str) -> StoreId {
    StoreId { universe: UNIVERSE, name: name.into(), scope: "global".into() }
}

fn mirrors(scene: &Scene, config: Config) -> Mirrors {
    let app = &scene.app.app;
    Mirrors::new(&app.store, app.standings.clone(), Some(&roblox(&scene.fake, &scene.app.clock)), config)
}

/// Players with a rank and an entry each, all due to be mirrored.
async fn due(scene: &Scene, users: &[u64]) -> impl Worker + use<> {
    for &user in users {
        let seen = json!({"userId": user, "username": "A", "rank": "Storm Corporal I", "rankPoints": 1});
        scene.app.ingest(seen.to_string()).expect(200).await;
        scene.fake.entry(ENTRIES, "global", &user.to_string(), &json!({"rank": "old"}));
    }
    let put = |tx: grps::store::Tx| {
        users.iter().for_each(|user| tx.put(&MIRROR_DUE, &id(*user), &1));
        std::future::ready(Ok(()))
    };
    scene.app.app.store.transact(put).await.unwrap();
    let config = Config { entries: Some((store(ENTRIES), String::new())), board: None };
    mirrors(scene, config).entries().unwrap()
}

fn held(scene: &Scene, user: u64) -> Value {
    let entry = scene.fake.entry_of(ENTRIES, "global", &user.to_string()).unwrap();
    serde_json::from_str::<Value>(&entry.current.text).unwrap()["rank"].clone()
}

async fn still_due(scene: &Scene) -> Vec<u64> {
    rows(&scene.app, &MIRROR_DUE).await.into_iter().map(|(user, _)| user.get()).collect()
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_left_alone_and_in_nobodys_way() {
    let scene = Scene::new().await;
    let mut worker = due(&scene, &[7, 8]).await;
    let odd = (Some(json!({"v": "é"})), &[7u64][..]);
    scene.fake.entry_with(ENTRIES, ("global", "7"), &json!({"rank": "old"}), odd);
    worker.tick().await.unwrap();
    assert_eq!((held(&scene, 7), held(&scene, 8)), (json!("old"), json!("Storm Corporal I")));
    assert_eq!(still_due(&scene).await, [7]);
    for _ in 0..8 {
        scene.app.advance(3_600);
        worker.tick().await.unwrap();
    }
    assert_eq!(still_due(&scene).await, [] as [u64; 0], "somebody has read of it in the log by now");
    let entry = scene.fake.entry_of(ENTRIES, "global", "7").unwrap();
    assert_eq!((entry.current.attributes, held(&scene, 7)), (Some(json!({"v": "é"})), json!("old")));
    scene.check();
}

#[tokio::test]
async fn entries_that_fail_are_tried_again_after_all_others() {
    let scene = Scene::new().await;
    let mut worker = due(&scene, &[1, 2, 3, 4, 5, 6]).await;
    scene.fake.days_for(Class::StoreRead, &[Day::Down, Day::Invalid, Day::Down, Day::Down, Day::Down]);
    assert!(matches!(worker.tick().await.unwrap(), Next::After(wait) if wait < Duration::from_secs(60)));
    assert_eq!(still_due(&scene).await, [1, 3, 4, 5, 6], "what Roblox refuses is not asked for again");
    worker.tick().await.unwrap();
    assert_eq!((still_due(&scene).await, held(&scene, 6)), (vec![1, 3, 4, 5], json!("Storm Corporal I")));
    scene.app.advance(60);
    worker.tick().await.unwrap();
    assert_eq!((still_due(&scene).await, held(&scene, 1)), (vec![], json!("Storm Corporal I")));
    scene.check();
}

#[tokio::test]
async fn a_key_that_may_change_entries_and_make_none_is_enough() {
    let scene = Scene::new().await;
    let mut worker = due(&scene, &[7]).await;
    scene.fake.put_key(KEY, Key::of(BOT).without("universe-datastores.objects:create"));
    worker.tick().await.unwrap();
    assert_eq!((still_due(&scene).await, held(&scene, 7)), (vec![], json!("Storm Corporal I")));
    scene.fake.put_key(KEY, Key::of(BOT).without("universe-datastores.objects:update"));
    let mut worker = due(&scene, &[7]).await;
    assert!(worker.tick().await.is_err());
    assert_eq!((still_due(&scene).await, held(&scene, 7)), (vec![7], json!("old")));
    scene.check();
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_not_made() {
    let scene = Scene::new().await;
    let mut worker = due(&scene, &[7]).await;
    scene.fake.delete_entry(ENTRIES, "global", "7");
    worker.tick().await.unwrap();
    assert_eq!(still_due(&scene).await, [] as [u64; 0]);
    assert!(scene.fake.asked().iter().all(|asked| asked.method != "POST"), "nothing was written");
    scene.check();
}

#[tokio::test]
async fn a_player_who_cannot_be_read_stays_due() {
    static BROKEN: Table<RobloxId, u64> = Table::new("players", *b"pl");
    assert_eq!(BROKEN.prefix(), PLAYERS.prefix());
    let scene = Scene::new().await;
    let mut worker = due(&scene, &[7]).await;
    let spoil = |tx: grps::store::Tx| {
        tx.put(&BROKEN, &id(7), &5);
        std::future::ready(Ok(()))
    };
    scene.app.app.store.transact(spoil).await.unwrap();
    assert!(worker.tick().await.is_err());
    assert_eq!(still_due(&scene).await, [7]);
}

async fn points(scene: &Scene, rows: &[(u64, i64)]) {
    for (user, points) in rows {
        let seen = json!({"userId": user, "username": "A", "rankPoints": points});
        scene.app.ingest(seen.to_string()).expect(200).await;
    }
}

fn board(scene: &Scene, name: &str) -> impl Worker + use<> {
    mirrors(scene, Config { entries: None, board: Some((store(name), 3)) }).board().unwrap()
}

fn shown(scene: &Scene, name: &str) -> Vec<(u64, i64)> {
    let rows = scene.fake.ordered_of(name, "global").into_iter();
    rows.map(|(user, points)| (user.parse().unwrap(), points)).collect()
}

#[tokio::test]
async fn one_row_that_is_refused_is_not_in_the_way_of_the_next() {
    let scene = Scene::new().await;
    points(&scene, &[(1, 10), (2, 20), (3, 30)]).await;
    let mut worker = board(&scene, "Top");
    scene.fake.days_for(Class::OrderedWrite, &[Day::Invalid]);
    assert!(matches!(worker.tick().await.unwrap(), Next::After(_)));
    assert_eq!(shown(&scene, "Top"), [(3, 30), (2, 20)]);
    scene.app.advance(300);
    worker.tick().await.unwrap();
    assert_eq!(shown(&scene, "Top"), [(3, 30), (2, 20), (1, 10)]);
    scene.check();
}

#[tokio::test]
async fn a_row_whose_answer_was_lost_goes_when_its_player_does() {
    let scene = Scene::new().await;
    points(&scene, &[(1, 10)]).await;
    let mut worker = board(&scene, "Top");
    scene.fake.days_for(Class::OrderedWrite, &[Day::CutAfterApplying]);
    worker.tick().await.unwrap();
    assert_eq!(shown(&scene, "Top"), [(1, 10)]);
    points(&scene, &[(2, 20), (3, 30), (4, 40)]).await;
    scene.app.advance(300);
    worker.tick().await.unwrap();
    assert_eq!(shown(&scene, "Top"), [(4, 40), (3, 30), (2, 20)]);
    // A value whose answer was lost is written again even when the old one is right again.
    scene.fake.days_for(Class::OrderedWrite, &[Day::CutAfterApplying]);
    points(&scene, &[(4, 45)]).await;
    worker.tick().await.unwrap();
    points(&scene, &[(4, 40)]).await;
    scene.app.advance(300);
    worker.tick().await.unwrap();
    assert_eq!(shown(&scene, "Top"), [(4, 40), (3, 30), (2, 20)]);
    scene.check();
}

#[tokio::test]
async fn another_store_gets_the_whole_board() {
    let scene = Scene::new().await;
    points(&scene, &[(1, 10), (2, 20)]).await;
    board(&scene, "Old").tick().await.unwrap();
    board(&scene, "New").tick().await.unwrap();
    assert_eq!(shown(&scene, "New"), [(2, 20), (1, 10)]);
    points(&scene, &[(3, 30), (4, 40)]).await;
    board(&scene, "Old").tick().await.unwrap();
    assert_eq!(shown(&scene, "Old"), [(4, 40), (3, 30), (2, 20)], "what stood there is remembered");
    assert_eq!(rows(&scene.app, &MIRRORED).await.len(), 5);
    scene.check();
}
