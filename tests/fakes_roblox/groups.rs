//! Groups: pages, several roles, and who may change whom.

use grps::fakes::roblox::{BOT, BOT_ROLE, Change, Class, GROUP, Key, OWNER};
use serde_json::{Value, json};

use super::{Scene, group, last_id, role};

/// Two roles below the key's owner, one as high as it, and somebody without any.
fn furnish(scene: &Scene) {
    scene.fake.role(20, "Private", 20, &[]);
    scene.fake.role(30, "Corporal", 30, &[]);
    scene.fake.role(40, "General", 250, &[]);
    scene.fake.member(5, &[]);
}

fn base() -> u64 {
    GROUP * 1000 + 1
}

#[tokio::test]
async fn a_group_says_who_owns_it_unless_nobody_does() {
    let scene = Scene::new();
    let got = scene.get(&group("")).await.json();
    assert_eq!((&got["owner"], &got["memberCount"]), (&json!(format!("users/{OWNER}")), &json!(2)));
    scene.fake.group(77, "Left behind", None);
    assert!(scene.get("/cloud/v2/groups/77").await.json().get("owner").is_none());
    let missing = scene.get("/cloud/v2/groups/78").await;
    assert_eq!((missing.status, &missing.json()["code"]), (404, &json!("NOT_FOUND")));
    scene.end();
}

#[tokio::test]
async fn more_than_twenty_roles_take_pages_whatever_is_asked_for() {
    let scene = Scene::new();
    for rank in 2..=41 {
        scene.fake.role(u64::from(rank) * 7, &format!("Rank {rank}"), rank, &[]);
    }
    let pages = scene.pages(&group("/roles?maxPageSize=100"), "groupRoles").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 4]);
    let ranks: Vec<u64> = pages.concat().iter().map(|role| role["rank"].as_u64().unwrap()).collect();
    assert!(ranks.is_sorted() && ranks[0] == 0 && ranks[43] == 255, "{ranks:?}");
    assert_eq!(scene.get(&group("/roles")).await.json()["groupRoles"].as_array().unwrap().len(), 10);
    assert_eq!(scene.get(&group("/roles/14")).await.json()["rank"], 2);
    scene.end();
}

#[tokio::test]
async fn permissions_of_roles_are_for_keys_that_may_read_the_group() {
    let scene = Scene::new();
    scene.fake.put_key("blind", Key::of(BOT).without("group:read"));
    let seen = |roles: &Value, rank: u64| {
        let role = roles["groupRoles"].as_array().unwrap().iter().find(|role| role["rank"] == rank).unwrap();
        role.get("permissions").cloned()
    };
    let sighted = scene.get(&group("/roles")).await.json();
    assert_eq!(seen(&sighted, 250).unwrap()["changeRank"], true);
    let blind = scene.get_with("blind", &group("/roles")).await.json();
    assert!(seen(&blind, 250).is_none() && seen(&blind, 0).is_some());
    scene.end();
}

#[tokio::test]
async fn members_come_by_the_hundred_with_a_token_or_an_end_in_two_ways() {
    let scene = Scene::new();
    for user in 1..=248 {
        scene.fake.member(user, &[]);
    }
    let pages = scene.pages(&group("/memberships?maxPageSize=500"), "groupMemberships").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
    let ends: Vec<Option<Value>> = [
        scene.get(&group("/memberships?filter=user+%3D%3D+'users/7'")).await,
        scene.get(&group("/memberships?filter=user+%3D%3D+'users/7'")).await,
    ]
    .iter()
    .map(|got| got.json().get("nextPageToken").cloned())
    .collect();
    assert!(ends.contains(&None) && ends.contains(&Some(json!(""))), "{ends:?}");
    scene.end();
}

#[tokio::test]
async fn filters_find_users_and_holders_of_a_role() {
    let scene = Scene::new();
    furnish(&scene);
    scene.fake.member(6, &[20]);
    scene.fake.member(8, &[20, 30]);
    let other = scene.fake.group(99, "Another", None);
    other.member(6, &[]);
    let ids = async |path: String| scene.get(&path).await.ids("groupMemberships", "user");
    assert_eq!(ids(group("/memberships?filter=user+%3D%3D+'users/8'")).await, [8]);
    assert_eq!(ids(group("/memberships?filter=user+%3D%3D+'users/4711'")).await, Vec::<u64>::new());
    assert_eq!(ids(group("/memberships?filter=user+in+%5B'users/8','users/5'%5D")).await, [5, 8]);
    let holders = format!("/memberships?filter=role+%3D%3D+'groups/{GROUP}/roles/20'");
    assert_eq!(ids(group(&holders)).await, [6, 8]);
    assert_eq!(ids("/cloud/v2/groups/-/memberships?filter=user+in+%5B'users/6'%5D".into()).await, [6, 6]);
    scene.end();
}

#[tokio::test]
async fn another_filter_on_the_next_page_is_refused() {
    let scene = Scene::new();
    for user in 1..=20 {
        scene.fake.member(user, &[]);
    }
    let token = scene.get(&group("/memberships")).await.json()["nextPageToken"].as_str().unwrap().to_owned();
    let next = format!("/memberships?pageToken={token}");
    assert_eq!(scene.get(&group(&next)).await.status, 200);
    assert_eq!(scene.get(&group(&format!("{next}&filter=user+%3D%3D+'users/7'"))).await.status, 400);
    assert_eq!(scene.get(&group("/memberships?pageToken=nonsense")).await.status, 400);
    assert_eq!(scene.fake.wrong().len(), 2);
}

#[tokio::test]
async fn members_hold_several_roles_or_as_of_old_one() {
    let scene = Scene::new();
    furnish(&scene);
    scene.fake.member(6, &[20, 30]);
    let one = async |user: u64| {
        let got = scene.get(&group(&format!("/memberships?filter=user+%3D%3D+'users/{user}'"))).await.json();
        got["groupMemberships"][0].clone()
    };
    let of = |member: &Value| -> Vec<u64> {
        member["roles"].as_array().unwrap().iter().map(|role| last_id(role.as_str().unwrap())).collect()
    };
    assert_eq!(of(&one(5).await), [base()]);
    let both = one(6).await;
    assert_eq!((of(&both), last_id(both["role"].as_str().unwrap())), (vec![20, 30, base()], 30));
    assert_ne!(both["path"], format!("groups/{GROUP}/memberships/6"), "an id of its own");
    scene.fake.single_role(true);
    let old = one(6).await;
    assert!(old.get("roles").is_none() && last_id(old["role"].as_str().unwrap()) == 30);
    scene.end();
}

#[tokio::test]
async fn roles_are_given_and_taken_once_however_often_it_is_asked() {
    let scene = Scene::new();
    furnish(&scene);
    let (give, take) = (group("/memberships/5:assignRole"), group("/memberships/5:unassignRole"));
    for _ in 0..2 {
        let got = scene.ask("POST", &give, role(20)).await;
        assert_eq!((got.status, got.json()["roles"].as_array().unwrap().len()), (200, 2));
    }
    // A membership's own id is as good as the user's.
    assert_eq!(scene.ask("POST", &group("/memberships/NQ:assignRole"), role(30)).await.status, 200);
    assert_eq!(scene.fake.roles_of(5), [base(), 20, 30]);
    for _ in 0..2 {
        assert_eq!(scene.ask("POST", &take, role(20)).await.status, 200);
    }
    let effects: Vec<Change> = scene.fake.effects().into_iter().map(|effect| effect.what).collect();
    assert_eq!(effects, [Change::Assigned(20), Change::Assigned(30), Change::Unassigned(20)]);
    let log: Vec<String> = scene.fake.audit().into_iter().map(|logged| logged.action).collect();
    assert_eq!(log, ["AssignRole", "AssignRole", "UnassignRole"]);
    assert_eq!(scene.ask("PATCH", &group("/memberships/5"), role(20)).await.status, 200);
    assert_eq!(scene.fake.roles_of(5), [base(), 20], "the old way puts one in place of all");
    scene.end();
}

#[tokio::test]
async fn nobody_changes_themselves_or_who_stands_as_high() {
    let scene = Scene::new();
    furnish(&scene);
    scene.fake.member(9, &[40]);
    let guest = GROUP * 1000;
    for (user, wanted, status) in [
        (BOT, 20, 400),               // oneself
        (OWNER, 20, 403),             // the owner
        (9, 20, 403),                 // somebody as high
        (5, 40, 403),                 // a role as high
        (5, guest, 400),              // guests are no members
        (5, GROUP * 1000 + 255, 400), // nor is anybody made an owner
        (5, 4711, 400),               // a role that there is not
        (4711, 20, 404),              // no member
    ] {
        let got = scene.ask("POST", &group(&format!("/memberships/{user}:assignRole")), role(wanted)).await;
        assert_eq!(got.status, status, "{user} {wanted}: {got:?}");
    }
    let got = scene.ask("POST", &group("/memberships/5:unassignRole"), role(base())).await;
    assert_eq!((got.status, scene.fake.roles_of(5)), (400, vec![base()]), "the base role stays");
    scene.fake.role(BOT_ROLE, "Automation", 250, &[]);
    assert_eq!(scene.ask("POST", &group("/memberships/5:assignRole"), role(20)).await.status, 403, "no permission");
    assert_eq!(scene.fake.effects(), []);
    scene.end();
}

#[tokio::test]
async fn who_asks_to_join_is_let_in_or_not_with_an_object_for_a_body() {
    let scene = Scene::new();
    (101..=125).for_each(|user| scene.fake.join_request(user));
    let pages = scene.pages(&group("/join-requests?maxPageSize=100"), "groupJoinRequests").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [20, 5]);
    let one = scene.get(&group("/join-requests?filter=user+%3D%3D+'users/103'")).await;
    assert_eq!(one.ids("groupJoinRequests", "user"), [103]);
    let accepted = scene.ask("POST", &group("/join-requests/101:accept"), Some(json!({}))).await;
    assert_eq!((accepted.status, accepted.text.as_str(), scene.fake.roles_of(101)), (200, "", vec![base()]));
    assert_eq!(scene.ask("POST", &group("/join-requests/102:decline"), Some(json!({}))).await.status, 200);
    assert_eq!((scene.fake.roles_of(102), scene.fake.joins().len()), (vec![], 23));
    assert_eq!(scene.ask("POST", &group("/join-requests/102:decline"), Some(json!({}))).await.status, 404);
    assert_eq!(scene.fake.wrong(), Vec::<String>::new());
    assert_eq!(scene.ask("POST", &group("/join-requests/103:accept"), None).await.status, 400);
    assert_eq!(scene.fake.wrong().len(), 1);
}

#[tokio::test]
async fn the_log_says_who_did_what_in_either_order() {
    let scene = Scene::new();
    furnish(&scene);
    for user in 50..62 {
        scene.fake.member(user, &[20]);
        scene.fake.rank_by_hand(user, 30);
    }
    scene.ask("POST", &group("/memberships/5:assignRole"), role(20)).await;
    scene.fake.leave(61);
    assert_eq!(scene.fake.roles_of(61), Vec::<u64>::new());
    let log = format!("/legacy-groups/v1/groups/{GROUP}/audit-log");
    let newest = scene.get(&format!("{log}?sortOrder=Desc&limit=10")).await.json();
    let actions: Vec<&str> =
        newest["data"].as_array().unwrap().iter().map(|line| line["actionType"].as_str().unwrap()).collect();
    assert_eq!(actions[..3], ["LeaveGroup", "AssignRole", "ChangeRank"]);
    assert_eq!(
        (&newest["data"][1]["actor"]["user"]["userId"], &newest["data"][1]["description"]["RoleSetId"]),
        (&json!(BOT), &json!(20))
    );
    let cursor = newest["nextPageCursor"].as_str().unwrap();
    let rest = scene.get(&format!("{log}?sortOrder=Desc&limit=10&cursor={cursor}")).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["nextPageCursor"]), (4, &Value::Null));
    let oldest = scene.get(&format!("{log}?limit=100&actionType=ChangeRank&userId={OWNER}")).await.json();
    assert_eq!(oldest["data"].as_array().unwrap().len(), 12);
    assert_eq!(oldest["data"][0]["description"]["TargetId"], 50);
    scene.fake.put_key("blind", Key::of(BOT).without("legacy-group:manage"));
    let denied = scene.get_with("blind", &log).await;
    assert_eq!((denied.status, &denied.json()["errors"][0]["code"]), (403, &json!(23)));
    assert_eq!(scene.fake.limits().served(Class::AuditLog), 4);
    scene.end();
}
