//! Standings on a store: the index against brute force, step by step, and its rebuild.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::{Clock, RobloxId, Time, UserKey};
use crate::store::{MAX_PAGE, Store, Tx};

const BOARDS: u32 = 3;

fn clock() -> Clock {
    Clock::fake(Time(1000))
}

async fn put(store: &Store, board: BoardId, old: Option<&Place>, new: Option<&Place>) {
    let work = |tx: Tx| async move {
        place(&tx, board, old, new.map(|new| (new, Time(1000))));
        Ok(())
    };
    store.transact(work).await.unwrap();
}

fn all(standings: &Standings, board: BoardId) -> Vec<Place> {
    standings.slice(board, &Start::Offset(0), usize::MAX).places
}

/// A move of one of a few people on one of a few boards to one of a few places, or off the board.
fn step() -> impl Strategy<Value = (BoardId, RobloxId, Option<Place>)> {
    let score = prop::option::weighted(0.8, (0..4i64, 0..3i64));
    (0..BOARDS, 1..9u64, score).prop_map(|(board, id, score)| {
        let id = RobloxId::new(id).unwrap();
        (BoardId(board), id, score.map(|(points, kos)| Place::for_player(points, kos, id)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_commit_is_seen_at_once(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(steps))?;
    }
}

async fn follow(steps: Vec<(BoardId, RobloxId, Option<Place>)>) -> std::result::Result<(), TestCaseError> {
    let store = Store::in_memory();
    let standings = Standings::open(&store, clock()).await.unwrap();
    let mut model = BTreeMap::<(BoardId, RobloxId), Place>::new();
    for (board, id, new) in steps {
        let old = model.get(&(board, id)).cloned();
        let version = standings.version(board);
        put(&store, board, old.as_ref(), new.as_ref()).await;
        if old.is_some() || new.is_some() {
            prop_assert_ne!(standings.version(board), version, "even a row written in place moves the version");
        }
        match new {
            Some(new) => model.insert((board, id), new),
            None => model.remove(&(board, id)),
        };
        for board in (0..BOARDS).map(BoardId) {
            let mut truth: Vec<Place> =
                model.iter().filter(|((on, _), _)| *on == board).map(|(_, place)| place.clone()).collect();
            truth.sort();
            prop_assert_eq!(&all(&standings, board), &truth);
            prop_assert_eq!(standings.len(board), truth.len());
            for (at, place) in truth.iter().enumerate() {
                prop_assert_eq!(standings.rank(board, place), at + 1);
            }
        }
        let recent = model.keys().filter(|(board, _)| *board == BoardId::PLAYERS).count();
        prop_assert_eq!(standings.players_updated_recently(), recent);
    }
    let rebuilt = Standings::open(&store, clock()).await.unwrap();
    for board in (0..BOARDS).map(BoardId) {
        prop_assert_eq!(all(&rebuilt, board), all(&standings, board));
    }
    prop_assert_eq!(rebuilt.players_updated_recently(), standings.players_updated_recently());
    Ok(())
}

#[tokio::test]
async fn a_rebuild_reads_every_page() {
    let store = Store::in_memory();
    let users = 2 * MAX_PAGE as u64 + 1;
    for chunk in (1..=users).collect::<Vec<_>>().chunks(500) {
        let work = |tx: Tx| async move {
            for id in chunk {
                let place_of = Place::for_player((id * 7919 % 1000) as i64, 0, RobloxId::new(*id)?);
                place(&tx, BoardId(*id as u32 % 2), None, Some((&place_of, Time(1000))));
            }
            Ok(())
        };
        store.transact(work).await.unwrap();
    }
    let standings = Standings::open(&store, clock()).await.unwrap();
    assert_eq!(standings.len(BoardId(0)) + standings.len(BoardId(1)), users as usize);
    assert!(all(&standings, BoardId(1)).is_sorted());
}

#[tokio::test]
async fn names_and_numbers_share_a_board() {
    let store = Store::in_memory();
    let standings = Standings::open(&store, clock()).await.unwrap();
    for (score, user) in [(1.0, "amy"), (3.0, "7"), (2.0, "zoe")] {
        let user: UserKey = user.parse().unwrap();
        let place = Place::for_score(Order::HigherFirst, Score::new(score).unwrap(), Time(1), user);
        put(&store, BoardId(5), None, Some(&place)).await;
    }
    let names: Vec<String> = all(&standings, BoardId(5)).iter().map(|place| place.user().to_string()).collect();
    assert_eq!(names, ["7", "zoe", "amy"]);
    assert_eq!(standings.players_updated_recently(), 0, "only the players' board counts");
    assert_eq!((standings.len(BoardId(6)), standings.version(BoardId(6))), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_a_move() {
    let store = Store::in_memory();
    let standings = Standings::open(&store, clock()).await.unwrap();
    let at = |points: i64| Place::for_player(points, 0, RobloxId::new(7).unwrap());
    put(&store, BoardId::PLAYERS, None, Some(&at(0))).await;
    let reader = standings.clone();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let reading = std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            seen.insert(reader.len(BoardId::PLAYERS));
        }
        seen
    });
    for points in 0..3000 {
        put(&store, BoardId::PLAYERS, Some(&at(points)), Some(&at(points + 1))).await;
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(reading.join().unwrap(), [1].into(), "a player is on the board exactly once, always");
}
