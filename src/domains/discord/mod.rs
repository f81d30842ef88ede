//! Jobs from Discord.

mod embed;
mod pace;
