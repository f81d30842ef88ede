//! Leaderboards as callers see them: the players' board, boards of scores, their pages and their order.

use grps::domains::leaderboards::ENTRIES;
use grps::domains::standings::{BoardId, Score};
use serde_json::{Value, json};

use crate::harness::TestApp;

const BOARD: &str = "/leaderboards/s1/ranked";

async fn player(app: &TestApp, id: u64, points: i64, kos: i64) {
    let snapshot = json!({ "userId": id, "username": format!("P{id}"), "rankPoints": points, "kos": kos });
    app.ingest(snapshot.to_string()).expect(200).await;
}

async fn submit(app: &TestApp, user: Value, score: Value) -> Value {
    let body = json!({ "user_id": user, "score": score, "season": "s1", "mode": "ranked" });
    app.post("/leaderboards/submit", body.to_string()).key().expect(200).await.json()
}

/// A submission to a board with its own rule.
async fn submit_to(app: &TestApp, policy: &str, user: u64, score: f64) -> Value {
    let body = json!({ "user_id": user, "score": score, "season": "rules", "mode": policy, "policy": policy });
    app.post("/leaderboards/submit", body.to_string()).key().expect(200).await.json()
}

async fn get(app: &TestApp, target: &str) -> Value {
    app.get(target).expect(200).await.json()
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|row| row["user_id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn players_stand_by_points_then_kos_then_id() {
    let app = TestApp::new().await;
    for (id, points, kos) in [(5, 100, 0), (4, 100, 0), (3, 100, 7), (2, 200, 0), (1, 50, 99)] {
        player(&app, id, points, kos).await;
    }
    let board = get(&app, "/leaderboard").await;
    assert_eq!(ids(&board), [2, 3, 4, 5, 1]);
    let expected = json!({ "user_id": 2, "username": "P2", "rank": null, "points": 200, "kos": 0, "wos": 0, "updated_at": "2025-03-01T18:15:44Z" });
    assert_eq!(board[0], expected);
    let names: Vec<&String> = board[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["user_id", "username", "rank", "points", "kos", "wos", "updated_at"]);
    player(&app, 5, 300, 0).await;
    player(&app, 2, 10, 0).await;
    assert_eq!(ids(&get(&app, "/leaderboard").await), [5, 3, 4, 1, 2]);
    assert_eq!(
        ids(&get(&app, "/leaderboards/all-time/grps").await["entries"]),
        [5, 3, 4, 1, 2],
        "the same board in its other shape"
    );
}

#[tokio::test]
async fn the_limit_is_clamped_above_and_refused_below() {
    let app = TestApp::new().await;
    app.post("/admin/api/demo", r#"{"players": 105}"#).operator().expect(200).await;
    for (query, length) in
        [("", 30), ("?limit=1", 1), ("?limit=100", 100), ("?limit=101", 100), ("?limit=1000000", 100)]
    {
        assert_eq!(get(&app, &format!("/leaderboard{query}")).await.as_array().unwrap().len(), length, "{query}");
    }
    for wrong in ["0", "-1", "x", "1.5", "", "99999999999999999999"] {
        let answer = app.get(&format!("/leaderboard?limit={wrong}")).refused(422, "request.invalid").await;
        assert_eq!(answer.complaints(), ["query.limit"], "{wrong}");
    }
    for wrong in ["limit=0", "limit=1001", "offset=-1", "limit=x", "offset=x", "cursor=%20"] {
        let answer = app.get(&format!("{BOARD}?{wrong}")).refused(422, "request.invalid").await;
        assert_eq!(answer.complaints(), [format!("query.{}", wrong.split('=').next().unwrap())], "{wrong}");
    }
    app.get(&format!("{BOARD}?offset=5&cursor=AAAA")).refused(422, "request.invalid").await;
}

#[tokio::test]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let app = TestApp::new().await;
    player(&app, 1, 100, 0).await;
    let first = app.get("/leaderboard").expect(200).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 10, "{tag}");
    let held = app.get("/leaderboard").header("if-none-match", &tag).expect(304).await;
    assert_eq!((held.text.as_str(), held.header("etag")), ("", tag.as_str()));
    app.get("/leaderboard?limit=5").header("if-none-match", format!("\"other\", {tag}")).expect(304).await;
    player(&app, 1, 101, 0).await;
    let moved = app.get("/leaderboard").header("if-none-match", &tag).expect(200).await;
    assert_ne!(moved.header("etag"), tag);
    assert_eq!(moved.json()[0]["points"], 101);
    let board = app.get("/leaderboards/all-time/grps").expect(200).await.header("etag").to_owned();
    app.get("/leaderboards/all-time/grps").header("if-none-match", &board).expect(304).await;
    let renamed = json!({ "userId": 1, "username": "Renamed" });
    app.ingest(renamed.to_string()).expect(200).await;
    app.get("/leaderboard").header("if-none-match", moved.header("etag")).expect(200).await;
}

#[tokio::test]
async fn pages_by_offset_and_by_cursor_agree() {
    let app = TestApp::new().await;
    for user in 1..=25u64 {
        submit(&app, user.into(), json!((user * 7) % 25)).await;
    }
    let (mut by_offset, mut by_cursor, mut cursor) = (Vec::new(), Vec::new(), String::new());
    for offset in [0, 10, 20] {
        let page = get(&app, &format!("{BOARD}?limit=10&offset={offset}")).await;
        assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(25), &json!(10), &json!(offset)));
        by_offset.extend(page["entries"].as_array().unwrap().clone());
        let page = get(&app, &format!("{BOARD}?limit=10{cursor}")).await;
        by_cursor.extend(page["entries"].as_array().unwrap().clone());
        cursor = page["next_cursor"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
    }
    assert_eq!((by_offset.clone(), cursor.as_str()), (by_cursor, ""));
    let ranks: Vec<u64> = by_offset.iter().map(|entry| entry["rank"].as_u64().unwrap()).collect();
    assert_eq!(ranks, (1..=25).collect::<Vec<_>>());
    let past = get(&app, &format!("{BOARD}?offset=25")).await;
    assert_eq!((&past["entries"], &past["total"]), (&json!([]), &json!(25)));
}

#[tokio::test]
async fn a_cursor_neither_skips_nor_repeats_when_others_move() {
    let app = TestApp::new().await;
    for user in 1..=10u64 {
        submit(&app, user.into(), json!(100 - user)).await;
    }
    let page = get(&app, &format!("{BOARD}?limit=4")).await;
    assert_eq!(ids(&page["entries"]), [1, 2, 3, 4]);
    submit(&app, json!(10), json!(1000)).await;
    let next = get(&app, &format!("{BOARD}?limit=4&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!(ids(&next["entries"]), [5, 6, 7, 8]);
    let other = json!({ "user_id": 1, "score": 1, "season": "s2", "mode": "ranked" });
    app.post("/leaderboards/submit", other.to_string()).key().expect(200).await;
    let foreign = format!("/leaderboards/s2/ranked?cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(app.get(&foreign).refused(422, "request.invalid").await.complaints(), ["query.cursor"]);
}

#[tokio::test]
async fn one_user_finds_their_rank_and_who_is_around() {
    let app = TestApp::new().await;
    player(&app, 3, 0, 0).await;
    for user in 1..=9u64 {
        submit(&app, user.into(), json!(100 - user)).await;
    }
    let expected = json!({
        "season": "s1", "mode": "ranked", "total": 9, "rank": 3, "user_id": 3, "display_name": "P3", "score": 97,
        "updated_at": "2025-03-01T18:15:44Z",
    });
    assert_eq!(get(&app, &format!("{BOARD}/3")).await, expected);
    let around = |user: u64, limit: u64| {
        let target = format!("{BOARD}/{user}/around?limit={limit}");
        let app = &app;
        async move { ids(&get(app, &target).await["entries"]) }
    };
    assert_eq!(around(5, 3).await, [4, 5, 6]);
    assert_eq!(around(1, 3).await, [1, 2, 3], "nearer to the top when nobody stands above");
    assert_eq!(around(9, 3).await, [8, 9]);
    assert_eq!(around(5, 1).await, [5]);
    for target in [format!("{BOARD}/77"), format!("{BOARD}/77/around"), "/leaderboards/s9/ranked/1".to_owned()] {
        app.get(&target).refused(404, "leaderboard.user_missing").await;
    }
    player(&app, 77, 5, 0).await;
    assert_eq!(get(&app, "/leaderboards/all-time/grps/77").await["rank"], 1);
}

#[tokio::test]
async fn each_rule_keeps_what_it_says() {
    let app = TestApp::new().await;
    for (policy, scores, standing, improved) in [
        ("best", [5.0, 9.0, 7.0], 9.0, false),
        ("set", [5.0, 9.0, 7.0], 7.0, false),
        ("sum", [5.0, 9.0, 7.5], 21.5, true),
        ("min", [5.0, 9.0, 4.0], 4.0, true),
    ] {
        let mut last = Value::Null;
        for score in scores {
            last = submit_to(&app, policy, 1, score).await;
        }
        assert_eq!((last["score"].as_f64(), last["improved"].as_bool()), (Some(standing), Some(improved)), "{policy}");
        assert!(last["previous_score"].is_number() && last["rank"] == 1, "{policy}: {last}");
    }
    submit_to(&app, "min", 2, 3.0).await;
    assert_eq!(ids(&get(&app, "/leaderboards/rules/min").await["entries"]), [2, 1], "the lowest ranks first");
    let first = submit(&app, json!(1), json!(1250)).await;
    assert_eq!(first, json!({ "rank": 1, "score": 1250, "previous_score": null, "improved": true }));
    assert_eq!(
        submit(&app, json!(1), json!(3)).await["score"],
        1250,
        "best is the rule of a board nobody chose one for"
    );
}

#[tokio::test]
async fn of_two_equal_scores_the_earlier_wins() {
    let app = TestApp::new().await;
    for user in [9u64, 5, 7] {
        submit(&app, user.into(), json!(100)).await;
        app.advance(1);
    }
    submit(&app, json!(9), json!(100)).await;
    assert_eq!(ids(&get(&app, BOARD).await["entries"]), [9, 5, 7], "sending it again does not lose the place");
}

#[tokio::test]
async fn a_board_keeps_its_rule_and_the_players_board_takes_no_scores() {
    let app = TestApp::new().await;
    submit_to(&app, "sum", 1, 5.0).await;
    let other = json!({ "user_id": 1, "score": 5, "season": "rules", "mode": "sum", "policy": "best" });
    let answer =
        app.post("/leaderboards/submit", other.to_string()).key().refused(409, "leaderboard.rule_differs").await;
    assert!(answer.detail().contains("sum") && answer.detail().contains("best"), "{}", answer.text);
    let players = json!({ "user_id": 1, "score": 5, "season": "all-time", "mode": "grps" });
    let answer =
        app.post("/leaderboards/submit", players.to_string()).key().refused(403, "leaderboard.players_only").await;
    assert!(answer.hint().contains("snapshots"), "{}", answer.text);
    let full = json!({ "user_id": 1, "score": f64::MAX, "season": "rules", "mode": "sum" });
    app.post("/leaderboards/submit", full.to_string()).key().expect(200).await;
    app.post("/leaderboards/submit", full.to_string()).key().refused(422, "score.overflow").await;
}

#[tokio::test]
async fn an_unknown_board_is_empty_and_a_bad_name_is_told() {
    let app = TestApp::new().await;
    let expected = json!({ "season": "s9", "mode": "duel", "total": 0, "limit": 100, "offset": 0, "entries": [] });
    assert_eq!(get(&app, "/leaderboards/s9/duel").await, expected);
    for target in
        ["/leaderboards/a%20b/ranked", "/leaderboards/s1/%C3%A9", &format!("/leaderboards/{}/x", "s".repeat(65))]
    {
        app.get(target).refused(422, "leaderboard.name_invalid").await;
    }
}

#[tokio::test]
async fn names_a_game_chose_stand_beside_roblox_users() {
    let app = TestApp::new().await;
    submit(&app, json!("guest-7"), json!(5)).await;
    submit(&app, json!("42"), json!(4)).await;
    let page = get(&app, BOARD).await;
    let users: Vec<&Value> = page["entries"].as_array().unwrap().iter().map(|entry| &entry["user_id"]).collect();
    assert_eq!(users, [&json!("guest-7"), &json!(42)], "digits are a Roblox user");
    assert_eq!(page["entries"][0]["display_name"], json!(null));
    assert_eq!(get(&app, &format!("{BOARD}/guest-7")).await["rank"], 1);
}

#[tokio::test]
async fn submissions_at_once_all_count() {
    let app = TestApp::new().await;
    submit_to(&app, "sum", 1, 0.0).await;
    let posts = (0..30).map(|_| submit_to(&app, "sum", 1, 1.0));
    futures_util::future::join_all(posts).await;
    let page = get(&app, "/leaderboards/rules/sum").await;
    assert_eq!((&page["total"], &page["entries"][0]["score"]), (&json!(1), &json!(30)));
}

#[tokio::test]
async fn nobody_is_shown_in_the_place_of_somebody_else() {
    let app = TestApp::new().await;
    for (user, score) in [(1, 30), (2, 20), (3, 10)] {
        submit(&app, json!(user), json!(score)).await;
    }
    // As seen by a reader who read the entry of 3 just before the commit that moved them: it says another place than the board.
    let key = (BoardId(1), "3".parse().unwrap());
    let mut entry = app.app.store.get(&ENTRIES, &key).await.unwrap().unwrap();
    entry.score = Score::new(25.0).unwrap();
    let (key, entry) = (&key, &entry);
    let stale = |tx: grps::store::Tx| async move {
        tx.put(&ENTRIES, key, entry);
        Ok(())
    };
    app.app.store.transact(stale).await.unwrap();
    for target in [format!("{BOARD}/3"), format!("{BOARD}/3/around")] {
        app.get(&target).refused(503, "leaderboard.user_moving").await;
    }
    assert_eq!(get(&app, &format!("{BOARD}/2")).await["user_id"], 2);
}
