//! Promise: deciding about a player takes at most 5 µs on a ladder of 100 ranks, explanation included, and no more on a longer one.
//!
//! `cargo bench --bench policy_eval` prints nanoseconds per evaluation for ladders of 4, 100 and 255 ranks: for players all along the
//! ladder, one in three of whom is promoted, one in three short of points, one in three waiting out the grace time of a demotion.
//! It fails when 100 ranks take longer than promised.

use std::hint::black_box;

use grps::base::clock::Stopwatch;
use grps::base::{RobloxId, Time};
use grps::domains::policy::{FileKind, Policy, SHIPPED};
use grps::domains::ranks::decide::{Subject, decide};

const EVALUATIONS: usize = 200_000;
const ROUNDS: usize = 5;
const PROMISE_NS: u128 = 5_000;
const NOW: Time = Time(1_740_852_944_000);

fn ladder(ranks: usize) -> Policy {
    let list: Vec<String> = (0..ranks)
        .map(|at| {
            let points = 100 * (at + 1);
            let hours = if at == 0 { 0 } else { 12 };
            format!(
                r#"{{ "name": "Storm Rank {at}", "requiredPoints": {points}, "minKos": 5, "minRecommendations": 1,
                     "minTimeInPreviousRankHours": {hours}, "aliases": ["Former Rank {at}"] }}"#
            )
        })
        .collect();
    let ranks = format!(
        r#"{{ "version": 1, "settings": {{ "cooldownSeconds": 60, "maxWarningsForPromotion": 2,
              "demotion": {{ "enabled": true, "graceSeconds": 86400 }} }}, "ranks": [ {} ] }}"#,
        list.join(",")
    );
    let shipped = |name: &str| SHIPPED.iter().find(|(path, _)| *path == name).map_or("{}", |(_, text)| *text);
    let texts = [(FileKind::Ranks, &*ranks), (FileKind::Punishments, shipped("policy.punishments.json"))];
    match Policy::from_texts(&texts) {
        Ok(policy) => policy,
        Err(report) => panic!("{report}"),
    }
}

/// Players of every rank but the top one, with points that promote, keep, or threaten.
fn players(policy: &Policy) -> Vec<Subject<'_>> {
    let ranks = policy.ladder().ranks();
    let each = ranks.iter().take(ranks.len() - 1).enumerate().flat_map(|(at, rank)| {
        [120, 20, -20].map(|beyond| Subject {
            rank: Some(&rank.name),
            reported_rank: Some(&rank.name),
            points: rank.required_points + beyond,
            kos: 84,
            wos: 12,
            warnings: 1,
            last_warning_at: Some(Time(0)),
            recommendations: 2,
            rank_since: Some(Time(0)),
            experience: Some("training"),
            ..match RobloxId::new(at as u64 + 1) {
                Ok(user) => Subject::new(user),
                Err(error) => panic!("{error}"),
            }
        })
    });
    each.collect()
}

fn measure(policy: &Policy) -> u128 {
    let players = players(policy);
    let round = |_| {
        let watch = Stopwatch::start();
        for at in 0..EVALUATIONS {
            black_box(decide(policy, black_box(&players[at % players.len()]), NOW));
        }
        watch.elapsed().as_nanos() / EVALUATIONS as u128
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn main() {
    let mut at_hundred = 0;
    println!("ranks   ns/evaluation (best of {ROUNDS} rounds of {EVALUATIONS})");
    for ranks in [4, 100, 255] {
        let nanos = measure(&ladder(ranks));
        println!("{ranks:>5}   {nanos:>6}");
        if ranks == 100 {
            at_hundred = nanos;
        }
    }
    println!("promise: at most {PROMISE_NS} ns at 100 ranks");
    if at_hundred > PROMISE_NS {
        println!("BROKEN: {at_hundred} ns");
        std::process::exit(1);
    }
}
