//! `grps healthcheck`: exit code 0 when the running server says it is ready. Made for containers without curl.

use std::process::ExitCode;
use std::time::Duration;

use super::{Common, print};
use crate::base::{Error, Result};
use crate::config::{self, Sources};
use crate::store::DataDir;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let down = |why: String| Error::remote("server.not_running", why).hint("start it with `grps serve`");
    let path = config::data_dir(sources)?;
    let owner = DataDir::owner(&path).ok_or_else(|| down(format!("no server holds {}", path.display())))?;
    let address = owner.addr.ok_or_else(|| down(format!("process {} does not listen yet", owner.pid)))?;
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .build()
        .map_err(|error| Error::broken("cli.no_client", error))?;
    let answer = client.get(format!("http://{address}/health/ready")).send().await;
    let answer = answer.map_err(|error| down("the server does not answer".into()).context(error.without_url()))?;
    let ready = answer.status().is_success();
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    print(common.json, &body, || if ready { "ready".into() } else { format!("not ready: {body}") });
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
