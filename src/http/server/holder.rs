//! Who holds a port, for the message that says it is taken. Linux tells in `/proc`; elsewhere nobody is named.

use std::fs;
use std::path::Path;

/// Processes looked at, at most: this is a courtesy, not an audit.
const MAX_PROCESSES: usize = 20_000;

/// Files of one process looked at, at most.
const MAX_FILES: usize = 20_000;

/// `name (pid 123)` of the process that listens on `port`, when the system lets us see it.
pub fn of(port: u16) -> Option<String> {
    let sockets: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| listening(table, port)).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES).map(|entry| entry.path());
    let holder = processes.filter(|path| is_process(path)).find(|path| holds(path, &sockets))?;
    let name = fs::read_to_string(holder.join("comm")).ok()?;
    Some(format!("{} (pid {})", name.trim(), holder.file_name()?.to_str()?))
}

fn is_process(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().take(MAX_FILES);
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// The listening socket on `port` as it is called among a process's files. Columns: 1 local address, 3 state (0A: listening), 9 inode.
fn listening(table: &str, port: u16) -> Option<String> {
    let table = fs::read_to_string(table).ok()?;
    let suffix = format!(":{port:04X}");
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let inode = columns.get(9)?;
        (columns.get(1)?.ends_with(&suffix) && columns.get(3) == Some(&"0A")).then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).find_map(row)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listening_process_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(of(port).unwrap().ends_with(&format!("(pid {})", std::process::id())));
        drop(listener);
        assert_eq!(of(port), None);
    }
}
