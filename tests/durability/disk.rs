//! A disk worked out from a trace of `powercut.c`: what a power cut leaves of a directory, at any record of the trace.
//!
//! A file's bytes and size are durable once a sync of the file that began after they were written has ended; a name once a sync of its folder
//! has. Nothing else is promised, so nothing else is kept: see [`Model`].

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What an un-synced write may be cut to multiples of, in bytes.
const SECTOR: usize = 512;
/// The unit in which zeros are left out of files that are written, in bytes.
const PAGE: usize = 4096;
/// Length of a record's head in the trace, in bytes.
const HEAD: usize = 40;

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// All of it is gone.
    Strict,
    /// Of each write a random part is there, in sectors; of each folder's changes the first few.
    Torn,
    /// All of it is there: what the running system sees.
    Whole,
}

/// One step of a trace. Numbers are inodes or bytes.
enum Step {
    Open { inode: u64, truncated: bool, path: PathBuf },
    Data { inode: u64, change: Change },
    Rename { from: PathBuf, to: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    Unlink(PathBuf),
    MakeFolder { inode: u64, path: PathBuf },
    SyncBegin { inode: u64, id: u64 },
    SyncEnd { id: u64 },
    Ack(Range<usize>),
}

/// A change of a file's bytes or size.
#[derive(Clone)]
enum Change {
    /// Bytes of the trace, and where they go.
    Write(u64, Range<usize>),
    Zeros(u64, u64),
    Size(u64),
    Grow(u64),
}

/// A recorded run.
pub struct Trace {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

impl Trace {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let mut steps = Vec::new();
        let mut at = 0;
        // The process may have been killed in the middle of its last record.
        while let Some((step, next)) = step(&bytes, at) {
            steps.push(step);
            at = next;
        }
        Self { bytes, steps }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The text of an acknowledgement, if that is what a step is.
    pub fn ack(&self, step: usize) -> Option<&str> {
        match &self.steps[step] {
            Step::Ack(range) => Some(std::str::from_utf8(&self.bytes[range.clone()]).unwrap()),
            _ => None,
        }
    }
}

fn step(bytes: &[u8], at: usize) -> Option<(Step, usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let small = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    let large = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    let (inode, a, b) = (large(8), large(16), large(24));
    let path_end = at + HEAD + small(4) as usize;
    let data = path_end..path_end + large(32) as usize;
    let text = std::str::from_utf8(bytes.get(at + HEAD..path_end)?).unwrap();
    bytes.get(data.clone())?;
    let two = || text.split_once('\n').map(|(from, to)| (PathBuf::from(from), PathBuf::from(to))).unwrap();
    let end = data.end;
    let change = |change| Step::Data { inode, change };
    let step = match small(0) {
        1 => Step::Open { inode, truncated: a == 1, path: text.into() },
        2 => change(Change::Write(a, data)),
        3 => change(Change::Zeros(a, b)),
        4 => change(Change::Size(a)),
        5 => change(Change::Grow(a)),
        6 => Step::Rename { from: two().0, to: two().1 },
        7 => Step::Unlink(text.into()),
        8 => Step::MakeFolder { inode, path: text.into() },
        9 => Step::SyncBegin { inode, id: a },
        10 => Step::SyncEnd { id: a },
        11 => Step::Ack(data),
        12 => Step::Link { from: two().0, to: two().1 },
        other => panic!("the trace holds a record of kind {other}"),
    };
    Some((step, end))
}

/// Index of a file or folder in [`Disk::nodes`]. An inode number may come to stand for another node once its file is gone.
type Node = usize;
/// The names of one folder.
type Names = BTreeMap<String, Node>;

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    /// Not synced, oldest first; the first is number `synced`.
    pending: Vec<Change>,
    synced: usize,
    is_folder: bool,
}

/// One change of names, all or nothing: folder, name, and what is there now.
struct Naming {
    edits: Vec<(Node, String, Option<Node>)>,
    durable: bool,
}

/// The disk after some steps of a trace.
pub struct Disk<'a> {
    trace: &'a Trace,
    root: PathBuf,
    nodes: Vec<FileState>,
    by_inode: HashMap<u64, Node>,
    /// Names that were there before the trace.
    first: HashMap<Node, Names>,
    /// Names as the running system sees them.
    live: HashMap<Node, Names>,
    namings: Vec<Naming>,
    /// Syncs under way: the node, and how many changes and namings came before.
    syncs: HashMap<u64, (Node, usize, usize)>,
    done: usize,
}

const ROOT: Node = 0;

impl<'a> Disk<'a> {
    /// The directory `before` as it was, all of it durable, when the trace of `root` began. `before` is `root` itself or a copy of it with
    /// `inodes` saying which file had which inode.
    pub fn new(trace: &'a Trace, root: &Path, before: &Path, inodes: &Inodes) -> Self {
        let mut disk = Self {
            trace,
            root: root.to_owned(),
            nodes: vec![FileState { is_folder: true, ..Default::default() }],
            by_inode: HashMap::new(),
            first: HashMap::from([(ROOT, Names::new())]),
            live: HashMap::new(),
            namings: Vec::new(),
            syncs: HashMap::new(),
            done: 0,
        };
        disk.by_inode.insert(inodes.0[Path::new("")], ROOT);
        for (path, inode) in inodes.0.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
            let there = before.join(path);
            let is_folder = there.is_dir();
            let durable = if is_folder { Vec::new() } else { fs::read(&there).unwrap() };
            let node = disk.add(*inode, FileState { durable, is_folder, ..Default::default() });
            let (folder, name) = split(path);
            let folder = folder.iter().fold(ROOT, |at, part| disk.first[&at][part.to_str().unwrap()]);
            disk.first.get_mut(&folder).unwrap().insert(name, node);
            if is_folder {
                disk.first.insert(node, Names::new());
            }
        }
        disk.live = disk.first.clone();
        disk
    }

    fn add(&mut self, inode: u64, state: FileState) -> Node {
        self.nodes.push(state);
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// The folder a path is in, as the running system sees it, and the last name.
    fn place(&self, path: &Path) -> (Node, String) {
        let path = path.strip_prefix(&self.root).unwrap();
        let (folder, name) = split(path);
        (folder.iter().fold(ROOT, |at, part| self.live[&at][part.to_str().unwrap()]), name)
    }

    fn rename(&mut self, edits: Vec<(Node, String, Option<Node>)>) {
        for (folder, name, node) in &edits {
            let names = self.live.entry(*folder).or_default();
            match node {
                Some(node) => names.insert(name.clone(), *node),
                None => names.remove(name),
            };
        }
        self.namings.push(Naming { edits, durable: false });
    }

    /// Goes on to just before step `end`.
    pub fn advance(&mut self, end: usize) {
        while self.done < end {
            let trace = self.trace;
            self.step(&trace.steps[self.done]);
            self.done += 1;
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open { inode, truncated, path } => {
                let (folder, name) = self.place(path);
                match self.live[&folder].get(&name) {
                    Some(&node) if *truncated => self.nodes[node].pending.push(Change::Size(0)),
                    Some(_) => {}
                    None => {
                        let node = self.add(*inode, FileState::default());
                        self.rename(vec![(folder, name, Some(node))]);
                    }
                }
            }
            Step::MakeFolder { inode, path } => {
                let (folder, name) = self.place(path);
                let node = self.add(*inode, FileState { is_folder: true, ..Default::default() });
                self.live.insert(node, Names::new());
                self.rename(vec![(folder, name, Some(node))]);
            }
            Step::Data { inode, change } => {
                let node = self.by_inode[inode];
                self.nodes[node].pending.push(change.clone());
            }
            Step::Rename { from, to } => {
                let (from, to) = (self.place(from), self.place(to));
                let node = self.live[&from.0][&from.1];
                self.rename(vec![(from.0, from.1, None), (to.0, to.1, Some(node))]);
            }
            Step::Link { from, to } => {
                let (from, to) = (self.place(from), self.place(to));
                let node = self.live[&from.0][&from.1];
                self.rename(vec![(to.0, to.1, Some(node))]);
            }
            Step::Unlink(path) => {
                let (folder, name) = self.place(path);
                self.rename(vec![(folder, name, None)]);
            }
            Step::SyncBegin { inode, id } => {
                let node = self.by_inode[inode];
                let state = &self.nodes[node];
                self.syncs.insert(*id, (node, state.synced + state.pending.len(), self.namings.len()));
            }
            Step::SyncEnd { id } => {
                let (node, changes, namings) = self.syncs.remove(id).unwrap();
                self.settle(node, changes);
                if self.nodes[node].is_folder {
                    let here = |naming: &&mut Naming| naming.edits.iter().any(|(folder, ..)| *folder == node);
                    self.namings[..namings].iter_mut().filter(here).for_each(|naming| naming.durable = true);
                }
            }
            Step::Ack(_) => {}
        }
    }

    /// Makes a file's first `end` changes durable.
    fn settle(&mut self, node: Node, end: usize) {
        let state = &mut self.nodes[node];
        let count = end.saturating_sub(state.synced);
        state.synced += count;
        for change in state.pending.drain(..count) {
            match change {
                Change::Write(at, range) => {
                    let (at, bytes) = (at as usize, &self.trace.bytes[range]);
                    grow(&mut state.durable, at + bytes.len());
                    state.durable[at..at + bytes.len()].copy_from_slice(bytes);
                }
                Change::Zeros(at, size) => {
                    let (at, end) = (at as usize, (at + size) as usize);
                    grow(&mut state.durable, end);
                    state.durable[at..end].fill(0);
                }
                Change::Size(size) => state.durable.resize(size as usize, 0),
                Change::Grow(size) => grow(&mut state.durable, size as usize),
            }
        }
    }

    /// Writes what a power cut now would leave into the empty folder `to`.
    pub fn leave(&self, model: Model, rng: &mut fastrand::Rng, to: &Path) -> io::Result<()> {
        let mut names = self.first.clone();
        let mut kept: HashMap<Node, usize> = HashMap::new();
        for naming in &self.namings {
            let folder = naming.edits[0].0;
            let waiting =
                || self.namings.iter().filter(|naming| !naming.durable && naming.edits[0].0 == folder).count();
            let keep = match model {
                _ if naming.durable => true,
                Model::Strict => false,
                Model::Whole => true,
                Model::Torn => {
                    let left = kept.entry(folder).or_insert_with(|| rng.usize(0..=waiting()));
                    let keep = *left > 0;
                    *left = left.saturating_sub(1);
                    keep
                }
            };
            for (folder, name, node) in naming.edits.iter().filter(|_| keep) {
                let names = names.entry(*folder).or_default();
                match node {
                    Some(node) => names.insert(name.clone(), *node),
                    None => names.remove(name),
                };
            }
        }
        let mut todo = vec![(ROOT, to.to_owned())];
        while let Some((node, path)) = todo.pop() {
            if self.nodes[node].is_folder {
                fs::create_dir_all(&path)?;
                let inside = names.get(&node).into_iter().flatten();
                todo.extend(inside.map(|(name, node)| (*node, path.join(name))));
            } else {
                self.leave_file(&self.nodes[node], model, rng, &path)?;
            }
        }
        Ok(())
    }

    fn leave_file(&self, state: &FileState, model: Model, rng: &mut fastrand::Rng, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(state.durable.len() as u64)?;
        for (page, bytes) in state.durable.chunks(PAGE).enumerate().filter(|(_, bytes)| bytes.iter().any(|&b| b != 0)) {
            file.write_all_at(bytes, (page * PAGE) as u64)?;
        }
        for change in state.pending.iter().filter(|_| model != Model::Strict) {
            let part = if model == Model::Torn { rng.u8(0..3) } else { 0 };
            match change {
                _ if part == 1 => {}
                Change::Write(at, range) => {
                    let bytes = &self.trace.bytes[range.clone()];
                    let from = if part == 2 { rng.usize(0..=bytes.len() / SECTOR) * SECTOR } else { bytes.len() };
                    // The first sectors or the last ones.
                    let kept = if part == 2 && rng.bool() { from..bytes.len() } else { 0..from };
                    file.write_all_at(&bytes[kept.clone()], at + kept.start as u64)?;
                }
                Change::Zeros(at, size) => zero(&file, *at, *size)?,
                Change::Size(size) => file.set_len(*size)?,
                Change::Grow(size) if *size > file.metadata()?.len() => file.set_len(*size)?,
                Change::Grow(_) => {}
            }
        }
        Ok(())
    }
}

fn grow(bytes: &mut Vec<u8>, size: usize) {
    if bytes.len() < size {
        bytes.resize(size, 0);
    }
}

/// Writes zeros without needing room for those behind the file's end.
fn zero(file: &File, at: u64, size: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    if at < length {
        file.write_all_at(&vec![0; (length.min(at + size) - at) as usize], at)?;
    }
    file.set_len(length.max(at + size))
}

/// A relative path as its folder and its name.
fn split(path: &Path) -> (&Path, String) {
    (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap().to_owned())
}

/// Which file of a directory has which inode, by path relative to it.
pub struct Inodes(BTreeMap<PathBuf, u64>);

impl Inodes {
    pub fn of(root: &Path) -> Self {
        let mut out = BTreeMap::new();
        let mut todo = vec![root.to_owned()];
        while let Some(path) = todo.pop() {
            let info = fs::metadata(&path).unwrap();
            out.insert(path.strip_prefix(root).unwrap().to_owned(), info.ino());
            if info.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        Self(out)
    }
}
