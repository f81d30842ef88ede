//! What people say about a decision: yes, no, once more. A person looked, so neither the policy's mode nor the breaker is asked; whom the
//! policy protects and what an actor may do hold for people too.

mod say;

pub use say::Say;
