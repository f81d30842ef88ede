//! Shows how far long work is: a bar on a terminal, elsewhere a line now and then. Work that is over at once shows nothing.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::clock::Stopwatch;
use crate::store::Progress;

/// Work that is shorter shows no bar.
const BAR_AFTER: Duration = Duration::from_millis(300);

/// Where there is no terminal, a line is written this often at most, and none before.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Drawn again this often at most.
const FRAMES_PER_SECOND: u8 = 10;

/// Writes to stderr while it lives.
#[derive(Clone)]
pub struct Meter(Arc<Mutex<Show>>);

struct Show {
    watch: Stopwatch,
    way: Way,
}

enum Way {
    Terminal(Option<ProgressBar>),
    Lines { last: Duration },
}

impl Meter {
    pub fn new() -> Self {
        Self::on(std::io::stderr().is_terminal())
    }

    fn on(terminal: bool) -> Self {
        let way = if terminal { Way::Terminal(None) } else { Way::Lines { last: Duration::ZERO } };
        Self(Arc::new(Mutex::new(Show { watch: Stopwatch::start(), way })))
    }

    /// What the store's work tells this.
    pub fn progress(&self) -> Progress {
        let meter = self.clone();
        Progress::new(move |what, done, total| meter.tell(what, done, total))
    }

    pub fn tell(&self, what: &str, done: u64, total: u64) {
        let Show { watch, way } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = watch.elapsed();
        match way {
            Way::Terminal(None) if elapsed < BAR_AFTER => {}
            Way::Terminal(bar) => draw(bar.get_or_insert_with(fresh), what, done, total),
            Way::Lines { last } => {
                if let Some(line) = line(elapsed.saturating_sub(*last), what, done, total) {
                    eprintln!("{line}");
                    *last = elapsed;
                }
            }
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Way::Terminal(Some(bar)) = &self.way {
            bar.finish_and_clear();
        }
    }
}

fn fresh() -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND);
    ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner())
}

fn draw(bar: &ProgressBar, what: &str, done: u64, total: u64) {
    if bar.message() != what {
        let template = match total {
            0 => "{spinner} {msg} {elapsed}",
            _ => "{msg} {wide_bar} {percent} %  {eta} left",
        };
        // A bar is drawn at every change: what it is called comes first, or it is seen without.
        bar.set_message(what.to_owned());
        // The templates are ours; were one wrong, the default style would do.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.reset();
    }
    if total > 0 {
        bar.set_length(total);
    }
    bar.set_position(done);
}

/// The line to write when the last one was `ago`, if it is time.
fn line(ago: Duration, what: &str, done: u64, total: u64) -> Option<String> {
    let far = match total {
        0 => "…".to_owned(),
        _ => format!(": {} % ({done} of {total})", done.min(total) * 100 / total),
    };
    (ago >= LINE_EVERY).then(|| format!("{what}{far}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_seldom_and_say_how_far() {
        assert_eq!(line(Duration::from_secs(4), "writing rows", 1, 2), None);
        assert_eq!(line(LINE_EVERY, "writing rows", 1, 2).unwrap(), "writing rows: 50 % (1 of 2)");
        assert_eq!(line(LINE_EVERY, "replaying", 7, 0).unwrap(), "replaying…");
        assert_eq!(line(LINE_EVERY, "late", 3, 2).unwrap(), "late: 100 % (3 of 2)");
    }

    #[test]
    fn a_bar_is_drawn_only_for_work_that_lasts() {
        let meter = Meter::on(true);
        meter.tell("writing rows", 1, 2);
        assert!(matches!(meter.0.lock().unwrap().way, Way::Terminal(None)));
        let bar = ProgressBar::hidden();
        draw(&bar, "writing rows", 1, 2);
        assert_eq!((bar.message().as_str(), bar.position(), bar.length()), ("writing rows", 1, Some(2)));
        draw(&bar, "comparing", 0, 0);
        assert_eq!((bar.message().as_str(), bar.position()), ("comparing", 0));
    }
}
