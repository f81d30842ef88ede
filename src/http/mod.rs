//! Floor 3, HTTP: everything between a socket and a handler.
//!
//! [`Server`] accepts connections and cuts those that drip, stall or outstay; [`Front`] is the one outermost layer around the routes
//! (request id, client address, limits, body, deadlines, CORS, metrics, access log, panics); [`Json`] reads and writes bodies;
//! [`Sockets`] are connections that became WebSockets; [`failure`] alone knows status codes; [`spec`] turns poem-openapi's output into the
//! published contract, [`Site`] serves it.
//!
//! Not here: who the caller is. The gate of `domains::auth` stands between [`Front`] and the routes and reads [`Context`].

pub mod area;
pub mod config;
pub mod docs;
pub mod failure;
pub mod front;
pub mod json;
pub mod server;
pub mod sockets;
pub mod spec;
pub mod wire;

pub use area::Area;
pub use config::{Config, Origins, Proxies};
pub use docs::{Docs, Site};
pub use front::log::JsonLines;
pub use front::{Context, Front};
pub use json::{Json, Rendered};
pub use server::Server;
pub use sockets::Sockets;
pub use spec::{Contract, Scheme, Security, Spec};
