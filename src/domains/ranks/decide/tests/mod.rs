//! The engine, tested: its answers rule by rule, players over time, and properties of every clean policy.

mod answers;
mod flows;
mod props;
