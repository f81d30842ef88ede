//! The service on the engines: what a submission answers, and that store, index and brute force never disagree.

mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::base::metrics::Metrics;
use crate::base::{Clock, Kind, RobloxId, Time, UserKey};
use crate::domains::players::{Observation, PLAYERS, Player};
use crate::domains::standings::{self, BoardId, Place, Score, Slice, Standings, Start};
use crate::store::{DataDir, Memory, Progress, Settings, Store, Tx};

async fn open(store: &Store, clock: &Clock) -> Leaderboards {
    let standings = Standings::open(store, clock.clone()).await.unwrap();
    Leaderboards::new(store.clone(), standings, clock.clone())
}

fn submission(mode: &str, user: &str, score: f64, rule: Option<Rule>) -> Submission {
    let board = BoardName::new("s1", mode).unwrap();
    Submission { board, user: user.parse().unwrap(), score: Score::new(score).unwrap(), rule }
}

async fn submit(boards: &Leaderboards, mode: &str, user: &str, score: f64) -> (usize, f64, Option<f64>, bool) {
    let done = boards.submit(submission(mode, user, score, None)).await.unwrap();
    (done.rank, done.score.get(), done.previous.map(Score::get), done.improved)
}

async fn view(boards: &Leaderboards, mode: &str) -> View {
    boards.find(&BoardName::new("s1", mode).unwrap()).await.unwrap().unwrap()
}

async fn everyone(boards: &Leaderboards, mode: &str) -> Slice {
    boards.slice(view(boards, mode).await, &Start::Offset(0), usize::MAX)
}

fn names(slice: &Slice) -> Vec<String> {
    slice.places.iter().map(|place| place.user().to_string()).collect()
}

#[tokio::test]
async fn a_submission_answers_rank_and_what_it_changed() {
    let clock = Clock::fake(Time(1000));
    let boards = open(&Store::in_memory(), &clock).await;
    assert_eq!(submit(&boards, "ranked", "amy", 10.0).await, (1, 10.0, None, true));
    clock.advance(Duration::from_millis(1));
    assert_eq!(submit(&boards, "ranked", "7", 20.0).await, (1, 20.0, None, true));
    clock.advance(Duration::from_millis(1));
    assert_eq!(
        submit(&boards, "ranked", "amy", 20.0).await,
        (2, 20.0, Some(10.0), true),
        "who got there first stays first"
    );
    assert_eq!(submit(&boards, "ranked", "amy", 5.0).await, (2, 20.0, Some(20.0), false));
    assert_eq!(names(&everyone(&boards, "ranked").await), ["7", "amy"]);
}

#[tokio::test]
async fn a_repeated_best_keeps_its_time_and_writes_nothing() {
    let clock = Clock::fake(Time(1000));
    let boards = open(&Store::in_memory(), &clock).await;
    submit(&boards, "ranked", "amy", 10.0).await;
    let before = everyone(&boards, "ranked").await;
    clock.advance(Duration::from_secs(1));
    submit(&boards, "ranked", "amy", 10.0).await;
    assert_eq!(everyone(&boards, "ranked").await, before, "not even the version moved");
}

#[tokio::test]
async fn a_board_keeps_the_rule_it_was_made_with() {
    let boards = open(&Store::in_memory(), &Clock::fake(Time(1000))).await;
    boards.submit(submission("laps", "amy", 61.5, Some(Rule::Min))).await.unwrap();
    assert_eq!(submit(&boards, "laps", "bob", 60.0).await.0, 1, "the lowest comes first");
    let refused = boards.submit(submission("laps", "amy", 1.0, Some(Rule::Best))).await.unwrap_err();
    assert_eq!(refused.code(), "leaderboard.rule_differs");
    assert!(boards.submit(submission("laps", "amy", 59.0, Some(Rule::Min))).await.unwrap().improved);
    assert_eq!(names(&everyone(&boards, "laps").await), ["amy", "bob"]);
}

#[tokio::test]
async fn the_players_board_takes_no_submissions() {
    let boards = open(&Store::in_memory(), &Clock::fake(Time(1000))).await;
    let board = BoardName::new("all-time", "grps").unwrap();
    let refused = boards.submit(Submission { board, ..submission("x", "amy", 1.0, None) }).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Denied, "leaderboard.players_only"));
    assert_eq!(boards.standings().len(BoardId::PLAYERS), 0);
}

#[tokio::test]
async fn boards_are_bounded() {
    let store = Store::in_memory();
    let boards = open(&store, &Clock::fake(Time(1000))).await;
    submit(&boards, "first", "amy", 1.0).await;
    let fill = |tx: Tx| async move {
        tx.put(&BOARD_COUNT, &0, &BoardCount(MAX_BOARDS));
        Ok(())
    };
    store.transact(fill).await.unwrap();
    let refused = boards.submit(submission("one-more", "amy", 1.0, None)).await.unwrap_err();
    assert_eq!(refused.code(), "leaderboard.too_many_boards");
    assert_eq!(boards.find(&BoardName::new("s1", "one-more").unwrap()).await.unwrap(), None);
    assert_eq!(submit(&boards, "first", "amy", 2.0).await.1, 2.0, "existing boards go on");
}

fn player(id: u64, points: i64, name: Option<&str>, at: i64) -> Player {
    let user_id = RobloxId::new(id).unwrap();
    let display_name = Some(name.map(str::to_owned));
    let seen = Observation { display_name, points: Some(points), ..Observation::of(user_id, format!("user{id}")) };
    Player::first_seen(&seen, Time(at))
}

/// Writes a player as the players' domain does: the row and the place in one commit.
async fn put_player(store: &Store, old: Option<&Player>, new: Option<&Player>) {
    let place = |player: &Player| Place::for_player(player.points, player.kos, player.user_id);
    let (from, to) = (&old.map(place), &new.map(|player| (place(player), player.updated_at)));
    let work = |tx: Tx| async move {
        match new {
            Some(player) => tx.put(&PLAYERS, &player.user_id, player),
            None => old.iter().for_each(|player| tx.delete(&PLAYERS, &player.user_id)),
        }
        standings::place(&tx, BoardId::PLAYERS, from.as_ref(), to.as_ref().map(|(place, at)| (place, *at)));
        Ok(())
    };
    store.transact(work).await.unwrap();
}

#[tokio::test]
async fn the_players_board_shows_players_and_counts_the_recent_ones() {
    let store = Store::in_memory();
    let clock = Clock::fake(Time(10_000_000));
    let boards = open(&store, &clock).await;
    let (amy, bob) = (player(1, 50, Some("Amy"), 10_000_000), player(2, 80, None, 1));
    put_player(&store, None, Some(&amy)).await;
    put_player(&store, None, Some(&bob)).await;
    let rows = |slice: Slice| {
        let boards = boards.clone();
        async move { boards.rows(View::PLAYERS, &slice).await.unwrap() }
    };
    let top = || boards.slice(View::PLAYERS, &Start::Offset(0), 10);
    let shown: Vec<_> =
        rows(top()).await.into_iter().map(|row| (row.rank, row.display_name, row.score.get())).collect();
    assert_eq!(shown, [(1, Some("user2".to_owned()), 80.0), (2, Some("Amy".to_owned()), 50.0)]);
    assert_eq!(boards.standings().players_updated_recently(), 1);

    let version = boards.standings().version(BoardId::PLAYERS);
    let renamed = player(1, 50, Some("Ames"), 10_000_001);
    put_player(&store, Some(&amy), Some(&renamed)).await;
    assert_ne!(
        boards.standings().version(BoardId::PLAYERS),
        version,
        "a new name moves the version, though nobody moved"
    );
    let moved = player(1, 90, Some("Ames"), 10_000_002);
    put_player(&store, Some(&renamed), Some(&moved)).await;
    assert_eq!(names(&top()), ["1", "2"]);
    assert_eq!(boards.standings().players_updated_recently(), 1);
    assert_eq!(boards.place_of(View::PLAYERS, &"1".parse().unwrap()).await.unwrap().as_ref(), top().places.first());

    put_player(&store, Some(&moved), None).await;
    assert_eq!((names(&top()), boards.standings().players_updated_recently()), (vec!["2".to_owned()], 0));
}

#[tokio::test]
async fn a_board_joins_player_names_and_leaves_strangers_nameless() {
    let store = Store::in_memory();
    let boards = open(&store, &Clock::fake(Time(1000))).await;
    put_player(&store, None, Some(&player(7, 0, Some("Seven"), 1))).await;
    for (user, score) in [("7", 3.0), ("guest", 2.0), ("8", 1.0)] {
        submit(&boards, "ranked", user, score).await;
    }
    let view = view(&boards, "ranked").await;
    let rows = boards.rows(view, &boards.slice(view, &Start::Offset(0), 10)).await.unwrap();
    let names: Vec<_> = rows.into_iter().map(|row| row.display_name).collect();
    assert_eq!(names, [Some("Seven".to_owned()), None, None]);
}

/// What the entries in the store say, sorted: the truth an index is held against.
async fn brute_force(boards: &Leaderboards, store: &Store, mode: &str) -> Vec<Place> {
    let view = view(boards, mode).await;
    let mut places = Vec::new();
    let mut scan = ENTRIES.all();
    loop {
        let page = store.scan(scan, 100).await.unwrap();
        let own = page.items.into_iter().filter(|((board, _), _)| *board == view.id);
        places.extend(own.map(|((_, user), entry)| entry.place(view.rule.unwrap(), user)));
        let Some(next) = page.next else { break };
        scan = ENTRIES.all().after(Some(&next));
    }
    places.sort();
    places
}

const USERS: u64 = 12;
const TASKS: u64 = 40;

/// Many tasks submit to four boards of different rules at once; afterwards index, rebuilt index and brute force agree.
async fn storm(store: &Store) {
    let clock = Clock::fake(Time(1000));
    let boards = open(store, &clock).await;
    let mut tasks = JoinSet::new();
    for seed in 0..TASKS {
        tasks.spawn(submit_some(boards.clone(), clock.clone(), seed));
    }
    tasks.join_all().await;
    check(&boards, store).await;
    check(&open(store, &clock).await, store).await;
}

async fn submit_some(boards: Leaderboards, clock: Clock, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for (mode, rule) in [("best", Rule::Best), ("set", Rule::Set), ("sum", Rule::Sum), ("min", Rule::Min)] {
        let user = random.u64(1..=USERS).to_string();
        let submission = submission(mode, &user, f64::from(random.i8(..8)), Some(rule));
        // Forty tasks on twelve people contend far beyond what a store must put up with; a caller told so tries again.
        let done = loop {
            match boards.submit(submission.clone()).await {
                Err(busy) if busy.kind() == Kind::Busy => {}
                done => break done.unwrap(),
            }
        };
        // One past the last when the user was overtaken by their own later score.
        assert!((1..=USERS as usize + 1).contains(&done.rank));
        clock.advance(Duration::from_millis(random.u64(..2)));
    }
}

async fn check(boards: &Leaderboards, store: &Store) {
    for mode in ["best", "set", "sum", "min"] {
        let view = view(boards, mode).await;
        let slice = everyone(boards, mode).await;
        assert_eq!(slice.places, brute_force(boards, store, mode).await, "{mode}");
        let mut ranks = BTreeMap::<UserKey, usize>::new();
        for (rank, place) in slice.ranked() {
            assert_eq!(ranks.insert(place.user().clone(), rank), None, "nobody stands twice");
            assert_eq!(boards.place_of(view, place.user()).await.unwrap().as_ref(), Some(place));
            assert_eq!(boards.standings().rank(view.id, place), rank);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_submissions_leave_the_index_true() {
    storm(&Store::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forced_conflicts_change_nothing() {
    storm(&Store::new(Memory::conflicting_every(3), &Settings::default(), &Metrics::default())).await;
}

fn on_disk(path: &Path) -> Store {
    Store::open(&DataDir::open(path).unwrap(), &Settings::default(), &Metrics::default(), &Progress::silent()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_ranked_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let (live, crashed) = (home.path().join("live"), home.path().join("crashed"));
    let store = on_disk(&live);
    storm(&store).await;
    let boards = open(&store, &Clock::fake(Time(1000))).await;
    // What a crash leaves behind: the files as they are while the store is open, never closed or flushed by us.
    copy(&live, &crashed);
    let reopened = on_disk(&crashed);
    let after = open(&reopened, &Clock::fake(Time(1000))).await;
    check(&after, &reopened).await;
    for mode in ["best", "set", "sum", "min"] {
        assert_eq!(everyone(&after, mode).await.places, everyone(&boards, mode).await.places, "{mode}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
