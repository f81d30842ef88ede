//! Damage to both copies at once: the database, and the checkpoint or the journal or both, often beyond what they can make good together.

use std::fs;
use std::path::{Path, PathBuf};

use super::template::{Damage, Kept, STORE, Template};

/// Stands in what is said of a journal whose copies were damaged in the same place.
pub const SAME_PLACE: &str = "journal Same";

/// What happens to the journal.
#[derive(Debug, Clone, Copy)]
enum Journal {
    Nothing,
    /// Both copies are gone.
    Gone,
    /// The newest, or the oldest segments of both.
    NewestGone,
    OldestGone,
    /// The same bytes of both.
    Same,
    /// Some bytes of each.
    Each,
}

/// Damages the store in `place`, which was made from `template`, and says how.
pub fn spoil(place: &Path, template: &Template, rng: &mut fastrand::Rng) -> String {
    let mut spoiler = Spoiler { place, template, said: String::new(), rng };
    spoiler.database();
    spoiler.checkpoint();
    spoiler.journal();
    if spoiler.rng.u8(0..6) == 0 {
        spoiler.some(|path| path.ends_with("marker"), 1);
    }
    spoiler.said
}

struct Spoiler<'a> {
    place: &'a Path,
    template: &'a Template,
    said: String,
    rng: &'a mut fastrand::Rng,
}

impl Spoiler<'_> {
    fn database(&mut self) {
        let is_log = |path: &Path| path.ends_with("db") && path.to_str().unwrap().contains("/db-");
        match self.rng.u8(0..4) {
            0 => {
                self.said += " no database";
                for entry in fs::read_dir(self.place.join(STORE)).unwrap().map(|entry| entry.unwrap()) {
                    if entry.file_name().to_str().unwrap().starts_with("db-") {
                        fs::remove_dir_all(entry.path()).unwrap();
                    }
                }
            }
            1 => self.all(is_log, Damage::Remove),
            2 => self.some(is_log, 1),
            _ => self.some(is_log, 24),
        }
    }

    fn checkpoint(&mut self) {
        if self.rng.u8(0..8) > 0 {
            self.some(|path| path.extension().is_some_and(|end| end == "ckp") && path.starts_with(STORE), 1);
        }
    }

    fn journal(&mut self) {
        use Journal::{Each, Gone, NewestGone, Nothing, OldestGone, Same};
        let what = *self.rng.choice(&[Nothing, Gone, NewestGone, OldestGone, Same, Same, Each, Each]).unwrap();
        let segments = |copy: &str| -> Vec<&Kept> {
            let folder = Path::new(STORE).join("journal").join(copy);
            let inside =
                |kept: &&Kept| kept.path.starts_with(&folder) && kept.path.extension().is_some_and(|end| end == "log");
            self.template.files.iter().filter(inside).collect()
        };
        let copies = [segments("a"), segments("b")];
        let mut damages: Vec<(&Kept, Damage)> = Vec::new();
        match what {
            Nothing => {}
            Gone => damages.extend(copies.iter().flatten().map(|kept| (*kept, Damage::Remove))),
            NewestGone => damages.extend(copies.iter().filter_map(|copy| Some((*copy.last()?, Damage::Remove)))),
            OldestGone => damages.extend(copies.iter().filter_map(|copy| Some((*copy.first()?, Damage::Remove)))),
            Same => {
                let kept = *self.rng.choice(&copies[1]).unwrap();
                let damage = Damage::any(kept, self.rng);
                let twin = copies[0].iter().find(|twin| twin.path.file_name() == kept.path.file_name());
                damages.extend([Some(kept), twin.copied()].into_iter().flatten().map(|kept| (kept, damage)));
            }
            Each => {
                for kept in copies.iter().flatten().filter(|kept| kept.weight() > 0) {
                    damages.push((kept, Damage::any(kept, self.rng)));
                }
            }
        }
        self.said += &format!(", journal {what:?}");
        damages.into_iter().for_each(|(kept, damage)| self.hit(&kept.path, damage));
    }

    /// Damages files so many times in all.
    fn some(&mut self, which: impl Fn(&Path) -> bool, times: usize) {
        let files: Vec<&Kept> = self.template.files.iter().filter(|kept| which(&kept.path)).collect();
        for _ in 0..times {
            let Some(kept) = self.rng.choice(&files).copied() else { return };
            let damage = Damage::any(kept, self.rng);
            self.hit(&kept.path, damage);
        }
    }

    fn all(&mut self, which: impl Fn(&Path) -> bool, damage: Damage) {
        let files: Vec<PathBuf> = self.template.files.iter().map(|kept| kept.path.clone()).collect();
        files.iter().filter(|path| which(path)).for_each(|path| self.hit(path, damage));
    }

    fn hit(&mut self, path: &Path, damage: Damage) {
        damage.apply(&self.place.join(path));
        self.said += &format!(", {} {damage:?}", path.strip_prefix(STORE).unwrap().display());
    }
}
