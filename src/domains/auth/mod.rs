//! Who may do what: four ways to prove a caller, one [`Caller`], one table of endpoints (requirement R1 and the access tables).
//!
//! The gate stands in front of the router. It finds the request's line in [`TABLE`], proves the credential the line asks for, checks the
//! scope, and hands the router a [`Caller`]. Handlers never look at a header for permission.

mod api;
mod caller;
mod config;
mod gate;
mod keys;
mod nonce;
mod schemes;
mod scope;
mod seal;
mod table;
mod tickets;

pub use api::KeysApi;
pub use caller::{Caller, Sender, Strength};
pub use config::{Config, InboundKey, Mode};
pub use gate::{Auth, Gate, gate};
pub use keys::{Issued, KEYS, Key, KeyUses, Keys, MAX_KEYS, Wanted};
pub use schemes::{Evidence, Signable, fingerprint, listed_in, message, sign};
pub use scope::{Scope, Scopes};
pub use seal::Sealer;
pub use table::{Access, Rule, TABLE, access_markdown, find, security};
pub use tickets::{MAX_TICKETS, MAX_TICKETS_EACH, TICKET_LIFE, Tickets};
