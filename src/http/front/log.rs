//! Log events as one JSON object per line. tracing-subscriber's own JSON format costs about as much as a whole small request (it goes
//! through serde maps and formats the calendar anew for every line); with a line per request that would be a third of the throughput.
//! This one appends to the line. Spans are not written: what identifies a request is a field of its events.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::base::{Clock, Time};

/// Give it to `tracing_subscriber::fmt().event_format(…)`.
pub struct JsonLines(Clock);

impl JsonLines {
    pub fn new(clock: Clock) -> Self {
        Self(clock)
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        writer.write_str("{\"time\":\"")?;
        timestamp(self.0.now(), &mut writer)?;
        write!(writer, "\",\"level\":\"{}\",\"module\":\"{}\"", meta.level().as_str(), meta.target())?;
        let mut fields = Fields { out: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_str("}\n")
    }
}

/// RFC 3339 with milliseconds. The calendar is worked out once per second and thread.
fn timestamp(at: Time, out: &mut impl Write) -> fmt::Result {
    thread_local! {
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    LAST.with_borrow_mut(|(second, text)| {
        if *second != at.seconds() {
            *second = at.seconds();
            text.clear();
            write!(text, "{at}")?;
        }
        write!(out, "{}.{:03}Z", text.trim_end_matches('Z'), at.0.rem_euclid(1000))
    })
}

struct Fields<'a, W> {
    out: &'a mut W,
    result: fmt::Result,
}

impl<W: Write> Fields<'_, W> {
    fn add(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = write_key(self.out, field.name()).and_then(|()| value(self.out));
        }
    }
}

fn write_key(out: &mut impl Write, name: &str) -> fmt::Result {
    out.write_str(",\"")?;
    out.write_str(name)?;
    out.write_str("\":")
}

impl<W: Write> Visit for Fields<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |out| {
            out.write_char('"')?;
            Escaped(out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, |out| if value.is_finite() { write!(out, "{value}") } else { out.write_str("null") });
    }
}

/// Writes text as the inside of a JSON string.
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            self.0.write_str(&text[from..at])?;
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            from = at + 1;
        }
        self.0.write_str(&text[from..])
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Page;

        fn make_writer(&'a self) -> Page {
            self.clone()
        }
    }

    #[test]
    fn each_event_is_one_json_object_whatever_it_holds() {
        let page = Page::default();
        let lines = JsonLines::new(Clock::fake(Time(1_740_852_944_007)));
        let subscriber = tracing_subscriber::fmt().event_format(lines).with_writer(page.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (text, cause) = ("a\"b\\c\nd\u{1}é", io::Error::other("x\ty"));
            tracing::warn!(target: "grps::x", text, error = %cause, count = 3u64, left = -1i64, share = 0.5, none = f64::NAN, on = true, "it \"is\"");
            tracing::info!("second");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = json!({
            "time": "2025-03-01T18:15:44.007Z", "level": "WARN", "module": "grps::x", "message": "it \"is\"", "text": "a\"b\\c\nd\u{1}é",
            "error": "x\ty", "count": 3, "left": -1, "share": 0.5, "none": null, "on": true,
        });
        assert_eq!(lines[0], first);
        assert_eq!((lines.len(), &lines[1]["message"]), (2, &json!("second")));
    }
}
