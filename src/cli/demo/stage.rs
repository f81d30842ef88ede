//! The server of the demo: a process of its own on a directory of its own, as an owner would run it.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use poem::http::Method;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::group::Group;
use crate::base::{Error, Result, Secret};
use crate::cli::session::Session;
use crate::config::{Generated, Sources};
use crate::domains::policy::write_shipped;
use crate::fakes::roblox::{GROUP, UNIVERSE};
use crate::store::DataDir;

/// How long the server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one snapshot may take: a decision is waited for.
const CALL: Duration = Duration::from_secs(30);

/// Random characters in the directory's name.
const RANDOM: usize = 16;

/// A directory that goes with its owner, whatever happens.
struct Place(PathBuf);

/// A running server and what is needed to talk to it.
pub struct Stage {
    server: Child,
    /// After the server: it goes later.
    dir: Place,
    sources: Sources,
    key: Secret,
    client: reqwest::Client,
    base: String,
}

impl Stage {
    /// Starts the server. Its directory is new and goes with it.
    ///
    /// # Errors
    /// `demo.no_directory`, `demo.server_ended`.
    pub async fn set(sources: &Sources, group: &Group) -> Result<Self> {
        let dir = Place::make(&std::env::temp_dir())?;
        let (data, policy) = (dir.0.join("data"), dir.0.join("policy"));
        std::fs::create_dir(&policy).map_err(no_directory)?;
        write_shipped(&policy)?;
        let generated = Generated::load_or_create(DataDir::open(&data)?.path())?;
        let key = Secret::new(generated.get("INBOUND_API_KEYS").unwrap_or_default());
        let program = std::env::current_exe().map_err(|error| Error::broken("demo.no_program", error))?;
        let port = sources.get("PORT")?.map_or_else(|| "0".to_owned(), |found| found.value);
        let mut command = Command::new(program);
        command
            .args(["serve", "--host", "127.0.0.1", "--port", &port])
            .arg("--data-dir")
            .arg(&data)
            .arg("--policy-dir")
            .arg(&policy)
            .current_dir(&dir.0)
            .env_clear()
            .envs([
                ("ROBLOX_API_URL", group.fake.url().to_owned()),
                ("ROBLOX_OPEN_CLOUD_API_KEY", group.fake.key().to_owned()),
                ("ROBLOX_GROUP_ID", GROUP.to_string()),
                ("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string()),
                ("LOG_LEVEL", "error".to_owned()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let server = command.spawn().map_err(|error| Error::broken("demo.server_ended", error))?;
        let client = reqwest::Client::builder().timeout(CALL).no_proxy().build();
        let client = client.map_err(|error| Error::broken("cli.no_client", error))?;
        let mut flags = vec![("DATA_DIR".to_owned(), data.display().to_string())];
        flags.push(("POLICY_DIR".to_owned(), policy.display().to_string()));
        let sources = Sources::read(flags, Vec::new(), &dir.0)?;
        let mut stage = Self { server, dir, sources, key, client, base: String::new() };
        match stage.started(&data).await {
            Ok(address) => stage.base = format!("http://{address}"),
            Err(error) => {
                stage.strike().await;
                return Err(error);
            }
        }
        Ok(stage)
    }

    async fn started(&mut self, data: &Path) -> Result<std::net::SocketAddr> {
        let look = async {
            loop {
                if let Some(address) = DataDir::owner(data).and_then(|owner| owner.addr) {
                    return Ok(address);
                }
                if let Ok(Some(status)) = self.server.try_wait() {
                    let what = format!("the demo's server ended at once ({status})");
                    return Err(Error::broken("demo.server_ended", what)
                        .hint("is the port of --port or PORT taken? without one, a free port is used"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let late = || Error::broken("demo.server_ended", "the demo's server did not start in time");
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| Err(late()))
    }

    /// Posts a snapshot as a game server does, and gives the decision on it.
    ///
    /// # Errors
    /// `demo.refused` when the server does not take it.
    pub async fn snapshot(&self, snapshot: &Value) -> Result<Value> {
        let refused = |error: reqwest::Error| Error::remote("demo.refused", error.without_url().to_string());
        let request = self.client.post(format!("{}/roblox/events/player-activity", self.base)).json(snapshot);
        let request = request.header("x-grps-api-key", self.key.expose());
        let request = request.header("x-grps-evaluate", "true").header("x-grps-apply", "true");
        let mut answer: Value = request.send().await.map_err(refused)?.json().await.map_err(refused)?;
        match answer["decision"].take() {
            Value::Null => Err(Error::remote("demo.refused", answer.to_string())),
            decision => Ok(decision),
        }
    }

    /// Asks the server as its operator.
    ///
    /// # Errors
    /// The server's own.
    pub async fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value> {
        self.session().await?.call(method, target, body).await
    }

    /// What a command of the operator talks through.
    ///
    /// # Errors
    /// The server's own.
    pub async fn session(&self) -> Result<Session> {
        Session::open(&self.sources).await
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// What whoever stays can do now.
    pub fn invitation(&self) -> String {
        let data = self.dir.0.join("data");
        format!(
            "\nThe server stays on {base} until Ctrl-C, with the group behind it. In another terminal:\n\n  \
             export DATA_DIR={data} POLICY_DIR={policy}\n  \
             grps decisions list\n  grps decisions show ID\n  grps doctor roblox\n\n  {base}/docs\n",
            base = self.base,
            data = data.display(),
            policy = self.dir.0.join("policy").display(),
        )
    }

    /// Ends the server and takes its directory away.
    pub async fn strike(mut self) {
        if let Some(id) = self.server.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(PATIENCE, self.server.wait()).await.is_err() {
            let _ = self.server.kill().await;
        }
    }
}

impl Place {
    /// A new directory in `parent` that only its owner can look into. Its name cannot be guessed: where everybody may write, others could
    /// have put something there.
    fn make(parent: &Path) -> Result<Self> {
        let random: String = Secret::generate()?.expose().chars().take(RANDOM).collect();
        let dir = parent.join(format!("grps-demo-{random}"));
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(no_directory)?;
        Ok(Self(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn no_directory(error: std::io::Error) -> Error {
    Error::broken("demo.no_directory", error).hint("the demo needs a place for temporary files (TMPDIR)")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_is_new_private_and_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let (one, two) = (Place::make(parent.path()).unwrap(), Place::make(parent.path()).unwrap());
        assert_ne!(one.0, two.0);
        let mode = std::fs::metadata(&one.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::create_dir_all(one.0.join("data/deep")).unwrap();
        drop((one, two));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        assert!(Place::make(&parent.path().join("missing")).is_err(), "nothing is made on the way");
    }
}
