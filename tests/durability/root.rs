//! What only root can do: the test starts itself again in a mount namespace of its own, where its mounts vanish with it.

use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that has root and its own mounts.
const INSIDE: &str = "GRPS_DURABILITY_INSIDE";
/// Leaves these campaigns out, and says so.
const WITHOUT: &str = "GRPS_WITHOUT_ROOT";
/// The programs that are called.
const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("fsfreeze", "util-linux"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Runs `inside` as root with mounts of its own: here if this is that process already, else by starting `test` again.
///
/// # Panics
/// When there is no way to become root, with what to do about it; unless `GRPS_WITHOUT_ROOT=1` says to go without.
pub fn as_root(test: &str, inside: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let how = match obstacle() {
        Ok(how) => how,
        Err(why) if std::env::var(WITHOUT).is_ok_and(|value| value == "1") => {
            return super::say(&format!("{test}: NOT RUN, as {WITHOUT}=1 allows: {why}"));
        }
        Err(why) => panic!(
            "{test} mounts file systems and needs root for it: {why}\nRun it as root or with a sudo that asks no password, or set \
             {WITHOUT}=1 to go without and have that said."
        ),
    };
    let mut command = Command::new(how[0]);
    command.args(&how[1..]).arg("env").arg(format!("{INSIDE}=1"));
    for name in ["GRPS_CAMPAIGN", "GRPS_CAMPAIGN_SEED", "PATH", "RUST_BACKTRACE"] {
        command.args(std::env::var(name).ok().map(|value| format!("{name}={value}")));
    }
    command.args(["unshare", "--mount"]).arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{test} as root: {status}");
}

/// How to become root; else what is missing.
fn obstacle() -> Result<&'static [&'static str], String> {
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).collect();
    if !missing.is_empty() {
        let (tools, packages): (Vec<_>, Vec<_>) = missing.iter().map(|(tool, package)| (*tool, *package)).unzip();
        return Err(format!("{} not found; `apt-get install {}`", tools.join(", "), packages.join(" ")));
    }
    // `env` stands for nothing: it makes both ways one shape.
    let ways: [&'static [&'static str]; 2] = [&["env"], &["sudo", "-n"]];
    let works = |way: &[&str]| {
        let mut probe = Command::new(way[0]);
        probe.args(&way[1..]).args(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
        probe
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let way = ways.into_iter().find(|way| works(way));
    way.ok_or_else(|| "neither this user nor `sudo -n` may mount in a namespace of its own".to_owned())
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(tool).exists())
}

/// Runs a command that has to succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
