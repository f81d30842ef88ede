//! A hundred promotions at the same time, at Roblox's pace, with and without restarts.

use std::time::Duration;

use grps::fakes::roblox::Class;

use super::*;

/// The share of the limits we are given: with all of them a hundred promotions fit into the first minute.
const PERCENT: u64 = 10;

#[tokio::test]
async fn a_hundred_promotions_take_what_the_budget_asks_and_little_more() {
    let scene = Scene::with(Setup::new().set("ROBLOX_BUDGET_PERCENT", PERCENT.to_string())).await;
    for user in 1..=100 {
        scene.promote(user, &[SPECIALIST]).await;
    }
    let began = scene.now();
    let applied = |scene: &Scene| scene.fake.effects().len() == 200;
    while !applied(&scene) {
        assert!(scene.now().since(began) < Duration::from_secs(3_600), "{} of 200", scene.fake.effects().len());
        scene.app.clock.advance(Duration::from_millis(500));
        scene.work().await;
    }
    // Reads of memberships are what is scarce: three for each promotion. A window's worth goes at once, the rest as windows open.
    let reads = scene.fake.limits().served(Class::Memberships);
    assert!((300..=303).contains(&reads), "{reads} reads for 100 promotions");
    let floor = Duration::from_secs(reads.div_ceil(300 * PERCENT / 100).saturating_sub(1) * 60);
    let took = scene.now().since(began);
    println!(
        "100 promotions: {took:?}, the budget's floor is {floor:?}: {:.2}",
        took.as_secs_f64() / floor.as_secs_f64()
    );
    assert!(
        took.as_secs_f64() >= 0.9 * floor.as_secs_f64() && took.as_secs_f64() <= 1.2 * floor.as_secs_f64(),
        "{took:?}"
    );
    scene.check();
}

#[tokio::test]
async fn restarts_ask_no_more_of_roblox_than_one_program_would() {
    let mut scene = Scene::with(Setup::new().set("ROBLOX_BUDGET_PERCENT", PERCENT.to_string())).await;
    for class in [Class::Memberships, Class::Assign, Class::Unassign] {
        scene.fake.limits().set(class, 300 * PERCENT as u32 / 100);
    }
    for user in 1..=40 {
        scene.promote(user, &[SPECIALIST]).await;
    }
    let began = scene.now();
    while scene.fake.effects().len() < 80 {
        assert!(scene.now().since(began) < Duration::from_secs(600), "{} of 80", scene.fake.effects().len());
        scene.work().await;
        scene = scene.restart().await;
        scene.app.clock.advance(Duration::from_secs(7));
    }
    // Forty times three reads at thirty a minute; a restart may read again what was under way.
    assert!(scene.now().since(began) < Duration::from_secs(360), "{:?}", scene.now().since(began));
    scene.check();
}
