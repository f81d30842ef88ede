//! The queues over HTTP: [`GatewayApi`] for producers and consumers, [`QueuesApi`] for operators.

mod gateway;
mod operators;
mod wire;

pub use gateway::GatewayApi;
pub use operators::QueuesApi;
pub(in crate::domains::jobs) use wire::QueueIn;
pub use wire::envelope;
