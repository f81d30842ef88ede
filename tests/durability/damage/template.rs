//! Stores that are put aside to be damaged, and what damage is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use grps::store::upkeep::inspect;
use serde::{Deserialize, Serialize};

use crate::durability::child::Site;
use crate::durability::chores::Chore;
use crate::durability::files_below;
use crate::durability::powercut::{boot, boot_id};
use crate::durability::workload::{LARGEST_TEXT, Plan, Step};

/// Bytes that a page damage zeroes, and the unit in which stores are kept in memory.
pub const PAGE: usize = 4096;
/// The folder of the data directory that is damaged.
pub const STORE: &str = "store";

pub const COPY_1: &str = "database";
pub const COPY_2: &str = "checkpoint and journal";

/// Which copy a file of the store belongs to, by its path in there; none for what nobody reads again.
pub fn part_of(path: &Path) -> Option<&'static str> {
    let text = path.to_str().unwrap();
    let is_in = |folder: &str| text.starts_with(folder);
    match text {
        _ if is_in("damaged/") || is_in("scratch/") => None,
        _ if is_in("checkpoints/") || is_in("journal/a/") => Some(COPY_2),
        _ if is_in("journal/b/") => Some("journal b"),
        "marker" => Some("marker"),
        _ => Some(COPY_1),
    }
}

/// Commits of each writer at the end of a [`life`].
const UNSETTLED: u64 = 4;

/// A store put aside, and what it was promised.
#[derive(Clone, Serialize, Deserialize)]
pub struct Aside {
    pub name: String,
    pub data: PathBuf,
    pub plan: Plan,
    pub closed: bool,
    /// Whether the machine went down.
    pub dark: bool,
    pub acked: Vec<u64>,
    /// The writers' counters after each group.
    pub groups: Vec<(u64, Vec<u64>)>,
    /// The group that its backup ends with.
    pub backed_up: Option<u64>,
}

impl Aside {
    /// The writers' counters after a group.
    pub fn after(&self, seq: u64) -> Option<&[u64]> {
        self.groups.iter().find(|(group, _)| *group == seq).map(|(_, counts)| &counts[..])
    }

    /// The last group that sled had synced: those of the last [`UNSETTLED`] commits of each writer are in the journal alone, unless it was closed.
    pub fn settled(&self) -> u64 {
        let before = |counts: &[u64]| counts.iter().zip(&self.acked).all(|(count, last)| count + UNSETTLED <= *last);
        self.groups.iter().rfind(|(_, counts)| before(counts)).unwrap().0
    }

    /// The last acknowledged group.
    pub fn last(&self) -> u64 {
        self.groups.last().unwrap().0
    }
}

/// How a store that is put aside was left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Closed,
    Killed,
    /// The machine went down.
    Dark,
}

/// Two lives of a store: steps, then steps and how it was left.
pub fn put_aside(
    scratch: &Path,
    (name, left): (&str, Left),
    plan: Plan,
    lives: [&[Step]; 2],
    rng: &mut fastrand::Rng,
) -> Aside {
    let folder = scratch.join(name.replace([' ', ','], "-"));
    fs::create_dir(&folder).unwrap();
    let mut site = Site::new(folder.join("data"), &folder, plan.clone());
    let id = boot_id(rng);
    for (life, close) in lives.into_iter().zip([true, left == Left::Closed]) {
        site.run_to_end(life, close, |command| {
            if left == Left::Dark {
                boot(command, &folder, &id);
            }
        });
    }
    let backups = fs::read_dir(site.orders.data.join("backups")).into_iter().flatten();
    let backed_up = backups.map(|entry| inspect(&entry.unwrap().path()).unwrap().seq).max();
    let (data, acked, groups) = (site.orders.data, site.acks.last, site.acks.groups);
    assert_eq!(groups.last().unwrap().1, acked, "{name}: some group was not told of");
    Aside {
        name: name.to_owned(),
        data,
        plan,
        closed: left == Left::Closed,
        dark: left == Left::Dark,
        acked,
        groups,
        backed_up,
    }
}

/// What the stores hold that are damaged: small values, or some as large as can be.
pub fn plan(seed: u64, large: bool) -> Plan {
    Plan { writers: 4, largest: if large { LARGEST_TEXT } else { 16 << 10 }, ..Plan::new(seed) }
}

/// So many commits of each writer, and word of their groups.
pub fn commits(count: u64) -> [Step; 2] {
    [Step::Commit(Some(count)), Step::TellGroups]
}

/// A life with a checkpoint in its middle, after `before` and a backup if that is wanted; its last commits are in the journal alone.
pub fn life(before: u64, backup: bool) -> Vec<Step> {
    let mut steps = commits(before).to_vec();
    if backup {
        steps.push(Step::Do(Chore::Backup));
    }
    steps.extend(commits(10));
    steps.push(Step::Do(Chore::Checkpoint));
    steps.extend(commits(10));
    steps.push(Step::Settle);
    steps.extend(commits(UNSETTLED));
    steps
}

/// A store put aside in memory: its files as pages that are not all zeros.
pub struct Template {
    pub files: Vec<Kept>,
}

pub struct Kept {
    pub path: PathBuf,
    /// None for a file outside the store.
    pub part: Option<&'static str>,
    pub length: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

impl Kept {
    /// How many pages hold anything.
    pub fn weight(&self) -> usize {
        self.pages.len()
    }
}

impl Template {
    pub fn load(data: &Path) -> Self {
        let keep = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap();
            let relative = path.strip_prefix(data).unwrap();
            let pages = bytes.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0));
            Kept {
                path: relative.to_owned(),
                part: relative.strip_prefix(STORE).ok().and_then(part_of),
                length: bytes.len() as u64,
                pages: pages.map(|(index, page)| ((index * PAGE) as u64, page.to_vec())).collect(),
            }
        };
        Self { files: files_below(data).into_iter().map(keep).collect() }
    }

    pub fn put(&self, to: &Path) {
        for kept in &self.files {
            let path = to.join(&kept.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.set_len(kept.length).unwrap();
            kept.pages.iter().for_each(|(at, page)| file.write_all_at(page, *at).unwrap());
        }
    }

    /// The copies there are, each with its files that hold anything.
    pub fn parts(&self) -> BTreeMap<&'static str, Vec<&Kept>> {
        let mut out: BTreeMap<_, Vec<&Kept>> = BTreeMap::new();
        for kept in self.files.iter().filter(|kept| kept.length > 0) {
            if let Some(part) = kept.part {
                out.entry(part).or_default().push(kept);
            }
        }
        out
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    Flip { at: u64, bit: u8 },
    Zero { at: u64 },
    Cut { to: u64 },
    Remove,
}

impl Damage {
    /// Damage that changes something: mostly where there is something, now and then at the file's head.
    pub fn any(kept: &Kept, rng: &mut fastrand::Rng) -> Self {
        if kept.length == 0 {
            return Self::Remove;
        }
        let page = match rng.choice(&kept.pages) {
            Some((at, _)) if rng.u8(0..4) > 0 => *at,
            _ => rng.u64(0..kept.length.div_ceil(PAGE as u64)) * PAGE as u64,
        };
        let head = rng.u8(0..8) == 0;
        let page = if head { 0 } else { page };
        let end = kept.length.min(page + if head { 64 } else { PAGE as u64 });
        match rng.u8(0..8) {
            0..4 => Self::Flip { at: rng.u64(page..end), bit: rng.u8(0..8) },
            4..6 => Self::Zero { at: page },
            6 => Self::Cut { to: rng.u64(0..kept.length) },
            _ => Self::Remove,
        }
    }

    /// Does it, as far as the file is still there.
    pub fn apply(self, path: &Path) {
        if self == Self::Remove {
            return drop(fs::remove_file(path));
        }
        let Ok(file) = File::options().read(true).write(true).open(path) else { return };
        let length = file.metadata().unwrap().len();
        match self {
            Self::Flip { at, bit } if at < length => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            }
            Self::Zero { at } if at < length => {
                file.write_all_at(&vec![0; PAGE.min((length - at) as usize)], at).unwrap();
            }
            Self::Cut { to } if to < length => file.set_len(to).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn damage_is_where_it_was_meant_to_be() {
    let scratch = crate::durability::in_memory();
    let data = scratch.path().join("data");
    let path = data.join("store/journal/a/1.log");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = [vec![7; PAGE], vec![0; PAGE], vec![9; 100]].concat();
    fs::write(&path, &bytes).unwrap();
    let template = Template::load(&data);
    assert_eq!(template.parts().keys().collect::<Vec<_>>(), [&COPY_2]);
    let damaged = |damage: Damage| {
        let place = crate::durability::in_memory();
        template.put(place.path());
        let path = place.path().join(&template.files[0].path);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        damage.apply(&path);
        fs::read(&path).ok()
    };
    assert_eq!(damaged(Damage::Flip { at: 8200, bit: 1 }).unwrap()[8199..8202], [9, 11, 9]);
    assert_eq!(damaged(Damage::Zero { at: 8192 }).unwrap()[8192..], [0; 100]);
    assert_eq!(damaged(Damage::Cut { to: 5 }).unwrap(), [7; 5]);
    assert_eq!(damaged(Damage::Remove), None);
}
