//! The operations through the front layer: shapes, paging, entity tags, and what is refused.

use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, EndpointExt, IntoEndpoint, Request, Response};
use poem_openapi::OpenApiService;
use poem_openapi::types::{Example, ToJSON};
use serde_json::{Value, json};

use super::*;
use crate::domains::leaderboards::wire::ScoreSubmission;
use crate::http::{Config, Contract, Front, Spec};

struct Site {
    store: Store,
    clock: Clock,
    boards: Leaderboards,
    routes: BoxEndpoint<'static>,
}

async fn site() -> Site {
    let (store, clock) = (Store::in_memory(), Clock::fake(Time(1_740_852_944_000)));
    let boards = open(&store, &clock).await;
    let service = OpenApiService::new(LeaderboardsApi::new(boards.clone()), "test", "0");
    let spec = Spec::polish(&service.spec(), |_, _| Default::default()).unwrap();
    let contract = Arc::new(Contract::new(spec.value()).unwrap());
    let front = Front::new(service.into_endpoint(), contract, &Config::default(), clock.clone(), &Metrics::default());
    Site { store, clock, boards, routes: front.boxed() }
}

impl Site {
    async fn send(&self, path: &str, etag: Option<&str>) -> Response {
        let request = Request::builder().uri(path.parse().unwrap());
        let request = etag.into_iter().fold(request, |request, etag| request.header("If-None-Match", etag));
        self.routes.get_response(request.finish()).await
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.send(path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.into_body().into_json().await.unwrap()
    }

    /// The status a request is refused with.
    async fn refused(&self, path: &str) -> u16 {
        self.send(path, None).await.status().as_u16()
    }

    async fn submit(&self, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(Method::POST).uri_str("/leaderboards/submit");
        let response = self.routes.get_response(request.body(body.to_string())).await;
        (response.status().as_u16(), response.into_body().into_json().await.unwrap())
    }

    /// Submits `scores` to `s1/ranked` as users 1, 2, 3, …, a second apart.
    async fn fill(&self, scores: &[f64]) {
        for (at, score) in scores.iter().enumerate() {
            submit(&self.boards, "ranked", &(at + 1).to_string(), *score).await;
            self.clock.advance(Duration::from_secs(1));
        }
    }
}

fn ids(page: &Value) -> Vec<u64> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["user_id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_board_prints_in_the_seeds_shape() {
    let site = site().await;
    site.fill(&[1250.0]).await;
    let entry = json!({
        "rank": 1, "user_id": 1, "display_name": null, "score": 1250, "updated_at": "2025-03-01T18:15:44Z",
    });
    let page = json!({ "season": "s1", "mode": "ranked", "total": 1, "limit": 100, "offset": 0, "entries": [entry] });
    assert_eq!(site.get("/leaderboards/s1/ranked").await, page);
    let mut standing = entry;
    standing["season"] = "s1".into();
    standing["mode"] = "ranked".into();
    standing["total"] = 1.into();
    assert_eq!(site.get("/leaderboards/s1/ranked/1").await, standing);
}

#[tokio::test]
async fn an_unknown_board_is_empty_and_an_unknown_user_missing() {
    let site = site().await;
    let page = site.get("/leaderboards/s9/none?limit=5&offset=7").await;
    let expected = json!({ "season": "s9", "mode": "none", "total": 0, "limit": 5, "offset": 7, "entries": [] });
    assert_eq!(page, expected);
    site.fill(&[1.0]).await;
    for path in ["/leaderboards/s9/none/1", "/leaderboards/s1/ranked/2", "/leaderboards/all-time/grps/guest"] {
        assert_eq!(site.refused(path).await, 404, "{path}");
        assert_eq!(site.refused(&format!("{path}/around")).await, 404, "{path}");
    }
}

#[tokio::test]
async fn offset_and_cursor_walk_the_same_board() {
    let site = site().await;
    site.fill(&[10.0, 30.0, 20.0, 30.0, 5.0]).await;
    assert_eq!(ids(&site.get("/leaderboards/s1/ranked").await), [2, 4, 3, 1, 5]);
    assert_eq!(ids(&site.get("/leaderboards/s1/ranked?offset=2&limit=2").await), [3, 1]);
    assert_eq!(ids(&site.get("/leaderboards/s1/ranked?offset=9").await), [0u64; 0]);

    let first = site.get("/leaderboards/s1/ranked?limit=2").await;
    // Whoever overtakes between two pages does not push anyone onto both.
    submit(&site.boards, "ranked", "5", 99.0).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = site.get(&format!("/leaderboards/s1/ranked?limit=2&cursor={cursor}")).await;
    assert_eq!((ids(&second), &second["offset"]), (vec![3, 1], &json!(3)));
    assert_eq!(second.get("next_cursor"), None, "the last page has none");

    for query in ["offset=0&cursor=".to_owned() + cursor, "cursor=AAAA".to_owned(), "cursor=!".to_owned()] {
        assert_eq!(site.refused(&format!("/leaderboards/s1/ranked?{query}")).await, 422, "{query}");
    }
    assert_eq!(site.refused(&format!("/leaderboards/all-time/grps?cursor={cursor}")).await, 422);
}

#[tokio::test]
async fn around_keeps_the_user_in_the_middle_where_it_can() {
    let site = site().await;
    site.fill(&[60.0, 50.0, 40.0, 30.0, 20.0, 10.0]).await;
    for (user, limit, expected) in [(3, 3, vec![2, 3, 4]), (1, 3, vec![1, 2, 3]), (6, 3, vec![5, 6]), (4, 1, vec![4])] {
        let page = site.get(&format!("/leaderboards/s1/ranked/{user}/around?limit={limit}")).await;
        assert_eq!(ids(&page), expected, "around {user}");
    }
}

#[tokio::test]
async fn a_page_holds_until_the_board_moves() {
    let site = site().await;
    site.fill(&[10.0, 20.0]).await;
    let paths = ["/leaderboards/s1/ranked", "/leaderboards/s1/ranked/1/around"];
    for (round, path) in paths.into_iter().enumerate() {
        let first = site.send(path, None).await;
        let etag = first.header("etag").unwrap().to_owned();
        assert_eq!(first.header("cache-control"), Some("public, no-cache"));
        let again = site.send(path, Some(&etag)).await;
        assert_eq!((again.status(), again.header("etag")), (StatusCode::NOT_MODIFIED, Some(&*etag)));
        submit(&site.boards, "ranked", "1", 30.0 + round as f64).await;
        let moved = site.send(path, Some(&etag)).await;
        assert_eq!(moved.status(), StatusCode::OK, "{path}");
        assert_ne!(moved.header("etag"), Some(&*etag));
    }
}

#[tokio::test]
async fn the_players_list_is_an_array_and_follows_every_change() {
    let site = site().await;
    assert_eq!(site.get("/leaderboard").await, json!([]));
    let (amy, bob) = (player(1, 50, Some("Amy"), 1_740_852_944_000), player(2, 80, None, 1_740_852_944_000));
    put_player(&site.store, None, Some(&amy)).await;
    put_player(&site.store, None, Some(&bob)).await;
    let line = |id: u64, points: i64, rank: Option<&str>| {
        json!({
            "user_id": id, "username": format!("user{id}"), "rank": rank, "points": points, "kos": 0, "wos": 0,
            "updated_at": "2025-03-01T18:15:44Z",
        })
    };
    assert_eq!(site.get("/leaderboard").await, json!([line(2, 80, None), line(1, 50, None)]));
    assert_eq!(site.get("/leaderboard?limit=1").await, json!([line(2, 80, None)]));
    let ranked = Player { rank: Some("Stormmarshal".into()), ..bob.clone() };
    put_player(&site.store, Some(&bob), Some(&ranked)).await;
    assert_eq!(
        site.get("/leaderboard?limit=1").await,
        json!([line(2, 80, Some("Stormmarshal"))]),
        "same place, new rank"
    );

    let board = site.get("/leaderboards/all-time/grps").await;
    assert_eq!((ids(&board), &board["entries"][0]["score"]), (vec![2, 1], &json!(80)));
    assert_eq!(site.get("/leaderboards/all-time/grps/1").await["rank"], 2);
}

#[tokio::test]
async fn limits_are_held() {
    let site = site().await;
    for id in 1..=101 {
        put_player(&site.store, None, Some(&player(id, 0, None, 1))).await;
    }
    let count = |page: Value| page.as_array().unwrap().len();
    assert_eq!(count(site.get("/leaderboard").await), 30);
    assert_eq!(count(site.get("/leaderboard?limit=500").await), 100, "more than 100 means 100");
    assert_eq!(site.get("/leaderboards/all-time/grps?limit=1000").await["entries"].as_array().unwrap().len(), 101);
    let bad = ["/leaderboard?limit=0", "/leaderboard?limit=-1", "/leaderboard?limit=x", "/leaderboards/a/b?limit=0"];
    for path in bad.into_iter().chain(["/leaderboards/a/b?limit=1001", "/leaderboards/a/b?offset=-1"]) {
        assert_eq!(site.refused(path).await, 422, "{path}");
    }
    assert_eq!(site.refused("/leaderboards/a%20b/c").await, 422);
}

#[tokio::test]
async fn a_submission_is_answered_in_the_seeds_shape() {
    let site = site().await;
    let sent = ScoreSubmission::example().to_json().unwrap();
    let first = json!({ "rank": 1, "score": 1250, "previous_score": null, "improved": true });
    assert_eq!(site.submit(&sent).await, (200, first));
    let worse =
        json!({ "user_id": "12345678", "score": 0.5, "season": "season-1", "mode": "ranked", "policy": "best" });
    let kept = json!({ "rank": 1, "score": 1250, "previous_score": 1250, "improved": false });
    assert_eq!(site.submit(&worse).await, (200, kept));
    assert_eq!(site.get("/leaderboards/season-1/ranked").await["total"], 1);
}

#[tokio::test]
async fn a_bad_submission_is_refused_and_changes_nothing() {
    let site = site().await;
    let good = json!({ "user_id": "guest-7", "score": 5, "season": "s1", "mode": "ranked" });
    assert_eq!(site.submit(&good).await.0, 200);
    let before = everyone(&site.boards, "ranked").await;
    let cases = [
        ("user_id", json!(0), 422),
        ("user_id", json!("two words"), 422),
        ("user_id", json!(9_007_199_254_740_992u64), 422),
        ("score", json!("5"), 422),
        ("score", json!(null), 422),
        ("season", json!("a b"), 422),
        ("season", json!(""), 422),
        ("mode", json!("m".repeat(65)), 422),
        ("mode", json!(7), 422),
        ("policy", json!("worst"), 422),
        ("policy", json!("sum"), 409),
    ];
    for (field, value, expected) in cases {
        let mut body = good.clone();
        body[field] = value;
        let (status, problem) = site.submit(&body).await;
        assert_eq!(status, expected, "{body}: {problem}");
    }
    let mut players = good.clone();
    players["season"] = "all-time".into();
    players["mode"] = "grps".into();
    let (status, problem) = site.submit(&players).await;
    assert_eq!((status, &problem["code"]), (403, &json!("leaderboard.players_only")));
    assert_eq!(everyone(&site.boards, "ranked").await, before);
}
