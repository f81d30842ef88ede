//! The real binary as a child process, and a small HTTP client to talk to it. Children are killed by their own id, whatever happens.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use grps::store::DataDir;
use serde_json::Value;

/// How long a child may take for anything it is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory to run `grps` in, with settings for it and none of this process.
pub struct Home {
    pub dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

/// What a finished command left behind.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running server.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    stderr: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), settings: Vec::new() }
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grps"));
        command.args(arguments).env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments))
    }

    /// Runs a command with `--json`, expects success, and reads what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", done.stdout))
    }

    /// Starts a server on a free port and waits until it answers.
    pub fn serve(&self) -> Running {
        self.serve_on(0)
    }

    /// Starts a server on a port of its own choice (0) or the one given, and waits until it answers.
    pub fn serve_on(&self, port: u16) -> Running {
        let stderr = self.dir.path().join("stderr.txt");
        let mut command = self.command(&["--port", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let mut running = Running { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), stderr };
        let pid = running.child.id();
        until("the server listens", || {
            let gone = running.child.try_wait().unwrap();
            assert!(gone.is_none(), "the server ended: {gone:?}\n{}", running.told());
            let owner = DataDir::owner(&self.data()).filter(|owner| owner.pid == pid)?;
            running.address = owner.addr?;
            TcpStream::connect(running.address).ok()
        });
        running
    }
}

/// Runs a command to its end, or fails.
pub fn finish(mut command: Command) -> Finished {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    // Both pipes are read at once: a child that fills the one not being read would never end.
    let reader = std::thread::spawn(move || read_all(&mut stderr));
    let stdout = read_all(&mut stdout);
    let code = until("the command ends", || child.try_wait().unwrap()).code();
    Finished { code, stdout, stderr: reader.join().unwrap() }
}

fn read_all(pipe: &mut impl Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

/// Asks again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(watch.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the server ends", || self.child.try_wait().unwrap())
    }

    /// Ends it as an operator would, and expects it to say that all is well.
    pub fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.told());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn get(&self, target: &str) -> Wire {
        request(self.address, "GET", target, &[], "").unwrap()
    }

    pub fn post(&self, target: &str, headers: &[(&str, &str)], body: &str) -> Wire {
        request(self.address, "POST", target, headers, body).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Wire {
    pub status: u16,
    pub body: String,
}

impl Wire {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// Those of the connection; an answer that ends early.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Wire> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    answer(stream, method)
}

/// Reads the answer to a request that asked for the connection to be closed after it.
pub fn answer(mut stream: TcpStream, method: &str) -> std::io::Result<Wire> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut)?;
    let length =
        head.to_ascii_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    if method != "HEAD" && length.is_some_and(|length: usize| length != body.len()) {
        return Err(cut());
    }
    Ok(Wire { status, body: body.to_owned() })
}

/// All bytes of all files below `dir`, except those named.
pub fn bytes_below(dir: &Path, except: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(bytes_below(&path, except));
        } else if !except.contains(&path.file_name().unwrap().to_str().unwrap()) {
            out.extend(std::fs::read(&path).unwrap());
        }
    }
    out
}
