//! What is not carried out says why: a decision behind a hold, the check of Roblox in `/health/ready`, and one that failed for good.

use grps::fakes::roblox::Day;

use super::*;

#[tokio::test]
async fn a_role_deleted_since_it_was_read_is_told_once_with_what_to_do() {
    let scene = Scene::new().await;
    scene.promote(6, &[SPECIALIST]).await;
    scene.work().await; // The group's roles are known now.
    scene.fake.delete_role(CORPORAL);
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    let failure = scene.decision(7, id).await.failure.unwrap();
    assert!(failure.contains("Storm Corporal I") && !failure.contains("INVALID_ARGUMENT"), "{failure}");
    assert!(failure.contains("grps doctor roblox") && failure.contains("policy.ranks.json"), "{failure}");
    assert_eq!(failure.matches("refused").count(), 0, "the roles were read anew: {failure}");
    assert_eq!(scene.roles(7), [SPECIALIST]);
}

#[tokio::test]
async fn a_change_that_roblox_refuses_for_good_is_told_once_with_its_words_at_the_end() {
    let scene = Scene::new().await;
    let id = scene.promote(7, &[SPECIALIST]).await;
    scene.fake.days_for(grps::fakes::roblox::Class::Assign, &[Day::Invalid, Day::Invalid]);
    scene.work().await;
    assert_eq!(scene.status(7, id).await, Status::Failed);
    let failure = scene.decision(7, id).await.failure.unwrap();
    assert_eq!(failure.matches("refused").count(), 1, "{failure}");
    assert!(failure.contains("grps doctor roblox"), "{failure}");
    assert!(
        failure.ends_with("\"") || failure.ends_with("\")"),
        "the vendor's words stand quoted at the end: {failure}"
    );
}
