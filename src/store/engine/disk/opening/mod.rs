//! Opening a store: what lies where, what its last owner left, lifting older formats, and building a database again from the other copy.

mod choice;
pub mod marker;
pub mod migrate;
pub mod place;
pub mod rebuild;
pub mod recovery;
mod report;
