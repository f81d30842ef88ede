//! `grps demo --with-fake-roblox`: the whole story on one machine, without a key. A group in miniature, a server beside it, members who
//! earn a promotion, a stolen key, the breaker, and the way back.

mod group;
mod stage;
mod story;

use std::process::ExitCode;

use super::serve::Stop;
use super::{Common, write_out};
use crate::base::{Clock, Result};
use crate::config::Sources;

use group::Group;
use stage::Stage;

/// Plays the story; then the server stays for whoever wants to look around, unless `once`.
pub async fn run(once: bool, _common: &Common, sources: &Sources) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let group = Group::found(Clock::system())?;
    let stage = Stage::set(sources, &group).await?;
    let told = tokio::select! {
        told = story::tell(&stage, &group) => told,
        () = stop.next() => Ok(true),
    };
    if let Ok(true) = told
        && !once
    {
        write_out(&stage.invitation());
        stop.next().await;
    }
    stage.strike().await;
    Ok(if told? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
