//! Jobs over a WebSocket, in two modes (requirements J4, R5): a [`mirror`] shows every new job and takes none, a [`work`] socket competes
//! for jobs with leases, as a long poll of `GET /job/next` does.

mod api;
mod mirror;
mod wire;
mod work;

pub use api::SocketApi;
pub use work::MAX_CREDIT;
