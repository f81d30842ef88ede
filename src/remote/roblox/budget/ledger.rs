//! Which calls were made lately, in a file: a process that was killed cannot tell, and the one after it must not ask too much.
//!
//! The file is written round and round, a slot for each call: before it is sent, and again when it has ended. It is never synced: what a
//! process wrote outlives it, and a machine without power is not back within the minute that this is about. What makes no sense is left out.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::class::Class;
use crate::base::Time;

/// Calls that are remembered: more than all classes together allow in their windows.
const SLOTS: u64 = 16_384;

/// Bytes of a slot: which call of all it is, when it began, when it ended, whom it was about, and its class.
const SLOT: usize = 40;

/// The file, and where the next call goes.
pub struct Ledger {
    file: File,
    next: u64,
    /// It could not be written, and that was said.
    broken: bool,
}

/// Where a call is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

/// A call as it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    pub class: Class,
    /// Whose restriction was updated, if it was that.
    pub user: Option<u64>,
    pub began: Time,
    /// None: nobody knows.
    pub ended: Option<Time>,
}

impl Ledger {
    /// Opens the file, or makes it, and gives the calls that are in it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Noted>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let size = SLOTS as usize * SLOT;
        let mut bytes = vec![0; size];
        if file.metadata()?.len() == size as u64 {
            file.read_exact_at(&mut bytes, 0)?;
        } else {
            // All of it at once: later no room is needed.
            file.set_len(0)?;
            file.write_all_at(&bytes, 0)?;
        }
        let calls: Vec<(u64, Noted)> =
            bytes.chunks_exact(SLOT).zip(0..).filter_map(|(slot, index)| read(slot, index)).collect();
        let next = calls.iter().map(|(number, _)| number + 1).max().unwrap_or(SLOTS);
        Ok((Self { file, next, broken: false }, calls.into_iter().map(|(_, call)| call).collect()))
    }

    /// Writes down a call that is about to be sent.
    pub fn begin(&mut self, class: Class, user: Option<u64>, now: Time) -> Place {
        let place = Place(self.next);
        self.next += 1;
        self.write(place, Noted { class, user, began: now, ended: None });
        place
    }

    /// Writes down that a call has ended.
    pub fn write(&mut self, Place(number): Place, call: Noted) {
        let ended = call.ended.map_or(0, |at| at.0);
        let words = [number, call.began.0 as u64, ended as u64, call.user.unwrap_or(0), call.class as u64];
        let slot: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        if let Err(error) = self.file.write_all_at(&slot, (number % SLOTS) * SLOT as u64)
            && !std::mem::replace(&mut self.broken, true)
        {
            tracing::warn!(%error, "calls to Roblox cannot be written down: after a restart too many may be made");
        }
    }
}

/// What a slot says; none when that is nothing.
fn read(slot: &[u8], index: u64) -> Option<(u64, Noted)> {
    let mut words = slot.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes).unwrap_or_default());
    let mut word = || words.next().unwrap_or_default();
    let (number, began, ended, user, class) = (word(), word(), word(), word(), word());
    let class = *Class::ALL.get(usize::try_from(class).ok()?)?;
    let time = |word: u64| i64::try_from(word).ok().filter(|millis| *millis > 0).map(Time);
    let call = Noted { class, user: Some(user).filter(|user| *user > 0), began: time(began)?, ended: time(ended) };
    // Numbers begin above zero, so that an empty slot is none; the last one must not be the end of them.
    ((SLOTS..u64::MAX / 2).contains(&number) && number % SLOTS == index).then_some((number, call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(began: i64, ended: Option<i64>) -> Noted {
        Noted { class: Class::Assign, user: None, began: Time(began), ended: ended.map(Time) }
    }

    #[test]
    fn what_was_written_is_there_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        let (mut ledger, calls) = Ledger::open(&path).unwrap();
        assert_eq!(calls, []);
        let place = ledger.begin(Class::Assign, None, Time(5));
        ledger.begin(Class::RestrictionUpdates, Some(7), Time(6));
        ledger.write(place, call(5, Some(9)));
        let (mut next, calls) = Ledger::open(&path).unwrap();
        let update = Noted { class: Class::RestrictionUpdates, user: Some(7), ..call(6, None) };
        assert_eq!(calls, [call(5, Some(9)), update]);
        next.begin(Class::Assign, None, Time(10));
        assert_eq!(Ledger::open(&path).unwrap().1.len(), 3, "nothing is written over before its turn");
    }

    #[test]
    fn it_goes_round_and_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        for at in 1..=SLOTS as i64 + 3 {
            ledger.begin(Class::Assign, None, Time(at));
        }
        let (_, calls) = Ledger::open(&path).unwrap();
        assert_eq!((calls.len() as u64, calls.iter().map(|call| call.began).min()), (SLOTS, Some(Time(4))));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SLOTS * SLOT as u64);
    }

    #[test]
    fn nonsense_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        std::fs::write(&path, "short").unwrap();
        assert_eq!(Ledger::open(&path).unwrap().1, []);
        std::fs::write(&path, vec![0xff; SLOTS as usize * SLOT]).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().1, []);
        assert!(Ledger::open(dir.path()).is_err(), "a directory is no file");
    }
}
