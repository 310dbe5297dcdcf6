//! What the user sees: lines of a given width, and the terminal or file they are written to.
//!
//! ```text
//!   lines that stay and scroll      what was copied, then a line a change
//!   ── bars, while copying          a table each
//!   ── footer                       lines to paste, and how it goes
//! ```
//!
//! A terminal shows all of it; anything else gets the lines alone, without colours or cursor moves.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::{Term, measure_text_width};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::change::{Change, Op, Row, clock};

/// How a line is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; `None`: lines may be as long as they like.
    pub width: Option<usize>,
    /// Whether escape codes may be used.
    pub color: bool,
}

/// A change, and what is known around it.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The change itself.
    pub change: &'a Change,
    /// Its record's key.
    pub key: Option<&'a Row>,
    /// The row as an earlier record showed it.
    pub earlier: Option<&'a Row>,
    /// When it was received, µs since 1970.
    pub seen_us: i64,
    /// From commit to here; none in a snapshot.
    pub latency: Option<Duration>,
}

/// How far the copy of a table is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copying {
    /// The table's name.
    pub name: String,
    /// Rows copied.
    pub rows: u64,
    /// Rows that PostgreSQL expects the table to have; 0: it has no idea.
    pub estimate: u64,
    /// Time spent on it.
    pub elapsed: Duration,
    /// Nothing is left to copy.
    pub done: bool,
}

/// How the stream is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulse {
    /// Live changes seen.
    pub changes: u64,
    /// Of late, per second.
    pub per_second: f64,
    /// Of all latencies.
    pub median: Option<Duration>,
    /// Of all latencies.
    pub p99: Option<Duration>,
    /// Resident memory of this process.
    pub memory_bytes: u64,
}

/// How it was, at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// From start to end.
    pub ran: Duration,
    /// Rows copied.
    pub rows: u64,
    /// Of so many tables.
    pub tables: usize,
    /// How long that took.
    pub copying: Duration,
    /// Live changes seen.
    pub changes: u64,
    /// Of all latencies.
    pub median: Option<Duration>,
    /// Of all latencies.
    pub p99: Option<Duration>,
    /// Resident memory of this process, now.
    pub memory_bytes: u64,
    /// The most it was.
    pub memory_peak_bytes: u64,
    /// Slot and publication are dropped.
    pub cleared: bool,
}

/// Where other programs can read along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paste {
    /// A line for a shell that prints a topic.
    pub topic: String,
    /// A line for a shell that prints a schema.
    pub schema: String,
}

const DIM: &str = "2";
const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BLUE: &str = "34";
const CYAN: &str = "36";

/// A table's name takes this much room; a longer one moves what follows.
const TABLE_WIDTH: usize = 11;
/// `snapshot`
const OP_WIDTH: usize = 8;
/// `2001/1`
const KEY_WIDTH: usize = 6;
/// `999.9 ms`
const LATENCY_WIDTH: usize = 8;
/// Below, the clock shows no milliseconds.
const WIDE: usize = 100;
/// Of what was and what is, in an update.
const VALUE_WIDTH: usize = 40;

impl Look {
    /// The names over the columns of [`Self::change`].
    #[must_use]
    pub fn heading(&self) -> String {
        let mut line = self.line();
        let clock = self.clock_width();
        line.put(DIM, &format!(" {:<clock$} ", "utc"));
        line.put(
            DIM,
            &format!(" {:>LATENCY_WIDTH$}  {:<TABLE_WIDTH$} ", "latency", "table"),
        );
        line.put(
            DIM,
            &format!(" {:<OP_WIDTH$}  {:<KEY_WIDTH$}  columns", "change", "key"),
        );
        line.finish()
    }

    /// One change: when, how long it took, what it is.
    #[must_use]
    pub fn change(&self, sighting: &Sighting<'_>) -> String {
        let change = sighting.change;
        let (word, color) = match change.op {
            Op::Snapshot => ("snapshot", BLUE),
            Op::Created => ("created", GREEN),
            Op::Updated => ("updated", YELLOW),
            Op::Deleted => ("deleted", RED),
            Op::Truncated => ("emptied", RED),
            Op::Other => ("other", DIM),
        };
        // A snapshot's rows were all committed at one moment, long ago.
        let at = sighting
            .latency
            .and(change.committed_us)
            .unwrap_or(sighting.seen_us);
        let latency = sighting.latency.map(human_time).unwrap_or_default();
        let key = sighting.key.map(Row::joined).unwrap_or_default();
        let mut line = self.line();
        line.put(DIM, &format!(" {} ", &clock(at)[..self.clock_width()]));
        let slow = sighting
            .latency
            .is_some_and(|latency| latency >= Duration::from_secs(1));
        line.put(
            if slow { YELLOW } else { DIM },
            &format!(" {latency:>LATENCY_WIDTH$} "),
        );
        line.put("", &format!(" {} ", padded(&change.table, TABLE_WIDTH)));
        line.put(color, &format!(" {word:<OP_WIDTH$} "));
        line.put(BOLD, &format!(" {} ", padded(&key, KEY_WIDTH)));
        match (change.op, &change.after) {
            (Op::Updated, Some(after)) => {
                // What the record itself says of the past wins.
                let before = change.before.as_ref().or(sighting.earlier);
                line.put_difference(before, after, sighting.key);
            }
            (Op::Deleted, _) => {
                if let Some(row) = change.before.as_ref().or(sighting.earlier) {
                    line.put_row(row, sighting.key);
                }
            }
            (_, Some(after)) => line.put_row(after, sighting.key),
            (_, None) => {}
        }
        line.finish()
    }

    /// A table's copy, as a line that stays.
    #[must_use]
    pub fn copying(&self, table: &Copying) -> String {
        let mut line = self.line();
        line.put("", &format!("  {} ", padded(&table.name, TABLE_WIDTH + 2)));
        line.put(BOLD, &format!(" {:>9}", grouped(table.rows)));
        match (table.done, table.estimate) {
            (true, _) => line.put(DIM, " rows copied"),
            (false, estimate) if estimate < table.rows => line.put(DIM, " rows"),
            (false, estimate) => line.put(DIM, &format!(" of {} rows", grouped(estimate))),
        }
        line.put(
            DIM,
            &table
                .pace()
                .map_or_else(String::new, |pace| format!("  {pace}")),
        );
        line.finish()
    }

    /// The line above the lines to paste.
    #[must_use]
    pub fn rule(&self, title: &str) -> String {
        let mut line = self.line();
        line.put(DIM, "── ");
        line.put(BOLD, title);
        let left = self
            .width
            .map_or(0, |width| width.saturating_sub(line.used + 1));
        line.put(DIM, &format!(" {}", "─".repeat(left)));
        line.finish()
    }

    /// How it goes, in a line.
    #[must_use]
    pub fn pulse(&self, pulse: &Pulse) -> String {
        let mut line = self.line();
        line.put(GREEN, " ● ");
        line.put(BOLD, &grouped(pulse.changes));
        line.put(
            "",
            if pulse.changes == 1 {
                " change"
            } else {
                " changes"
            },
        );
        line.put(DIM, &format!(" · {}/s", decimal(pulse.per_second)));
        if let (Some(median), Some(p99)) = (pulse.median, pulse.p99) {
            let (median, p99) = (human_time(median), human_time(p99));
            line.put(DIM, &format!(" · median {median}, p99 {p99}"));
        }
        line.put(DIM, &format!(" · {}", human_bytes(pulse.memory_bytes)));
        line.put(DIM, " · Ctrl-C stops");
        line.finish()
    }

    /// What was copied, all tables together.
    #[must_use]
    pub fn copied(&self, tables: &[Copying], elapsed: Duration) -> String {
        let rows = tables.iter().map(|table| table.rows).sum();
        let all = Copying {
            name: format!("{} tables", tables.len()),
            rows,
            estimate: rows,
            elapsed,
            done: true,
        };
        self.copying(&all)
    }

    /// A line for each thing to remember.
    #[must_use]
    pub fn summary(&self, summary: &Summary) -> Vec<String> {
        let entry = |name: &str, text: &str| {
            let mut line = self.line();
            line.put(DIM, &format!(" {name:<8} "));
            line.put("", text);
            line.finish()
        };
        let rows = grouped(summary.rows);
        let copying = human_time(summary.copying);
        let mut lines = vec![
            entry("ran", &human_time(summary.ran)),
            entry(
                "copied",
                &format!("{rows} rows of {} tables in {copying}", summary.tables),
            ),
            entry("followed", &format!("{} changes", grouped(summary.changes))),
        ];
        if let (Some(median), Some(p99)) = (summary.median, summary.p99) {
            let (median, p99) = (human_time(median), human_time(p99));
            let text = format!("median {median}, p99 {p99}, from commit to a consumer");
            lines.push(entry("latency", &text));
        }
        let now = human_bytes(summary.memory_bytes);
        let peak = human_bytes(summary.memory_peak_bytes);
        let text = format!("{now} resident, {peak} at most: pipe, broker, registry and screen");
        lines.push(entry("memory", &text));
        if summary.cleared {
            lines.push(entry("cleared", "slot and publication are dropped"));
        }
        lines
    }

    /// Text in a style, where colours are.
    #[must_use]
    pub fn styled(&self, style: &str, text: &str) -> String {
        if self.color && !style.is_empty() && !text.is_empty() {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&self) -> Line<'_> {
        Line {
            look: self,
            text: String::new(),
            used: 0,
            last: Default::default(),
            full: false,
        }
    }

    fn clock_width(&self) -> usize {
        match self.width {
            Some(width) if width < WIDE => "09:41:03".len(),
            _ => "09:41:03.120".len(),
        }
    }
}

/// A line that grows to the right until its width is used up; then it ends in `…`.
struct Line<'l> {
    look: &'l Look,
    text: String,
    /// Columns of `text` and `last`.
    used: usize,
    /// What was put last: it gives up its end where more was put and there is no room.
    last: (&'static str, String),
    full: bool,
}

impl Line<'_> {
    fn put(&mut self, style: &'static str, text: &str) {
        if self.full || text.is_empty() {
            return;
        }
        let room = self
            .look
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(self.used));
        let width = measure_text_width(text);
        self.full = width > room;
        if room > 0 {
            self.settle();
            self.last = (style, cut(text, room));
        } else {
            let (_, last) = &mut self.last;
            *last = cut(&format!("{last} "), measure_text_width(last));
        }
        self.used += width.min(room);
    }

    fn settle(&mut self) {
        let (style, text) = std::mem::take(&mut self.last);
        self.text.push_str(&self.look.styled(style, &text));
    }

    fn finish(mut self) -> String {
        self.settle();
        self.text
    }

    /// `name value · name value`: what is not NULL, without the key.
    fn put_row(&mut self, row: &Row, key: Option<&Row>) {
        let mut separator = " ";
        for (name, value) in row.cells() {
            let Some(value) = value else { continue };
            if key.is_some_and(|key| key.cell(name).is_some()) {
                continue;
            }
            self.put(DIM, &format!("{separator}{name} "));
            self.put("", value);
            separator = " · ";
        }
    }

    /// `name was → is`: what differs; without a past, the row.
    fn put_difference(&mut self, before: Option<&Row>, after: &Row, key: Option<&Row>) {
        let Some(before) = before else {
            return self.put_row(after, key);
        };
        let mut separator = " ";
        for (name, is) in after.cells() {
            let Some(was) = before.cell(name) else {
                continue;
            };
            if was == is {
                continue;
            }
            self.put(DIM, &format!("{separator}{name} "));
            self.put(
                DIM,
                &format!("{} → ", cut(was.unwrap_or("null"), VALUE_WIDTH)),
            );
            self.put(BOLD, &cut(is.unwrap_or("null"), VALUE_WIDTH));
            separator = " · ";
        }
        if separator == " " {
            self.put(DIM, " no column differs");
        }
    }
}

impl Copying {
    /// `38,200 rows/s, 3 s left`; `38,200 rows/s in 0.31 s`; nothing before there is a rate.
    fn pace(&self) -> Option<String> {
        let seconds = self.elapsed.as_secs_f64();
        if self.rows == 0 || seconds == 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (rows, estimate) = (self.rows as f64, self.estimate as f64);
        let rate = rows / seconds;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate of rows is positive and far below 2^53"
        )]
        let rate_text = grouped(rate.round() as u64);
        Some(if self.done {
            format!("in {}, {rate_text} rows/s", human_time(self.elapsed))
        } else if estimate > rows {
            let left = Duration::from_secs_f64((estimate - rows) / rate);
            format!("{rate_text} rows/s, {} left", human_time(left))
        } else {
            format!("{rate_text} rows/s")
        })
    }
}

/// As much of `text` as has room, and `…` for the rest.
fn cut(text: &str, room: usize) -> String {
    if measure_text_width(text) <= room {
        return text.to_owned();
    }
    console::truncate_str(text, room, if room == 0 { "" } else { "…" }).into_owned()
}

fn padded(text: &str, width: usize) -> String {
    let space = width.saturating_sub(measure_text_width(text));
    format!("{text}{:space$}", "")
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4.2`, `120`
fn decimal(number: f64) -> String {
    if number < 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

/// `0.8 ms`, `120 ms`, `1.2 s`, `3 min 20 s`, `2 h 10 min`
#[must_use]
pub fn human_time(time: Duration) -> String {
    let (ms, s) = (time.as_secs_f64() * 1_000.0, time.as_secs());
    match s {
        0 if ms < 999.5 => format!("{} ms", decimal(ms)),
        0..60 => format!("{} s", decimal(time.as_secs_f64())),
        60..3_600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3_600, s / 60 % 60),
    }
}

/// `18.2 MiB`
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
}

/// Standard output: a terminal with bars and a footer, or plain lines.
#[derive(Debug)]
pub struct Screen {
    look: Look,
    terminal: Option<Terminal>,
    plain_said: Vec<(String, Duration)>,
    headed: bool,
}

#[derive(Debug)]
struct Terminal {
    term: Term,
    multi: MultiProgress,
    bars: Vec<ProgressBar>,
    footer: Vec<ProgressBar>,
}

impl Screen {
    /// Looks at standard output, and at `NO_COLOR`.
    #[must_use]
    pub fn open() -> Self {
        let term = Term::stdout();
        if !term.is_term() {
            return Self::plain();
        }
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let look = Look {
            width: Some(width(&term)),
            color: !no_color,
        };
        console::set_colors_enabled(look.color);
        let target = ProgressDrawTarget::term(term.clone(), 20);
        let multi = MultiProgress::with_draw_target(target);
        *open_terminal() = Some(multi.clone());
        let terminal = Terminal {
            term,
            multi,
            bars: Vec::new(),
            footer: Vec::new(),
        };
        Self {
            look,
            terminal: Some(terminal),
            plain_said: Vec::new(),
            headed: false,
        }
    }

    fn plain() -> Self {
        let look = Look {
            width: None,
            color: false,
        };
        Self {
            look,
            terminal: None,
            plain_said: Vec::new(),
            headed: false,
        }
    }

    /// How lines are to be set now: a terminal's width changes.
    #[must_use]
    pub fn look(&mut self) -> Look {
        if let Some(terminal) = &self.terminal {
            self.look.width = Some(width(&terminal.term));
        }
        self.look
    }

    /// Writes lines that stay. Errors: nobody reads them any more.
    pub fn print(&mut self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match &self.terminal {
            // Joined lines end with the last one: an empty one would be lost.
            Some(terminal) => {
                let lines = lines
                    .iter()
                    .map(|line| if line.is_empty() { " " } else { line });
                terminal.multi.println(lines.collect::<Vec<_>>().join("\n"))
            }
            None => write_lines(lines),
        }
    }

    /// Who we are, and from where to where. Errors: as [`Self::print`].
    ///
    /// `notes`: what is not as one might expect.
    pub fn greet(
        &mut self,
        from: &str,
        to: &str,
        notes: &[String],
        paste: &Paste,
    ) -> io::Result<()> {
        let look = self.look();
        let version = env!("CARGO_PKG_VERSION");
        let mut lines = vec![
            String::new(),
            format!(
                " {} {}  {}",
                look.styled("1;36", "penstock"),
                look.styled(BOLD, version),
                look.styled(DIM, "PostgreSQL changes into Kafka")
            ),
            format!(" {}  {from}", look.styled(DIM, "from")),
            format!(" {}    {to}", look.styled(DIM, "to")),
        ];
        lines.extend(
            notes
                .iter()
                .map(|note| format!("       {}", look.styled(YELLOW, note))),
        );
        lines.push(String::new());
        match &mut self.terminal {
            Some(terminal) => terminal.add_footer(&look, paste),
            None => lines.extend([
                " read along, in another terminal:".to_owned(),
                format!(" {}", paste.topic),
                format!(" {}", paste.schema),
                String::new(),
            ]),
        }
        self.print(&lines)
    }

    /// Shows how far each table is: bars on a terminal, elsewhere a line a table and second at
    /// most. `now`: since the start. Errors: as [`Self::print`].
    pub fn copying(&mut self, tables: &[Copying], now: Duration) -> io::Result<()> {
        let look = self.look();
        if let Some(terminal) = &mut self.terminal {
            terminal.show_bars(tables);
            return Ok(());
        }
        let mut lines = Vec::new();
        for table in tables.iter().filter(|table| table.rows > 0 && !table.done) {
            let said = self
                .plain_said
                .iter_mut()
                .find(|(name, _)| *name == table.name);
            match said {
                Some((_, at)) if now < *at + Duration::from_secs(1) => continue,
                Some((_, at)) => *at = now,
                None => self.plain_said.push((table.name.clone(), now)),
            }
            lines.push(look.copying(table));
        }
        self.print(&lines)
    }

    /// The copy is complete: bars go, a line a table stays. Errors: as [`Self::print`].
    pub fn copied(&mut self, tables: &[Copying], elapsed: Duration) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            for bar in terminal.bars.drain(..) {
                bar.finish_and_clear();
                terminal.multi.remove(&bar);
            }
        }
        let look = self.look();
        let mut lines: Vec<_> = tables.iter().map(|table| look.copying(table)).collect();
        lines.push(look.copied(tables, elapsed));
        lines.push(String::new());
        self.headed = false;
        self.print(&lines)
    }

    /// Writes a line a change, the first under a heading. Errors: as [`Self::print`].
    pub fn changes(&mut self, mut lines: Vec<String>) -> io::Result<()> {
        if !self.headed && !lines.is_empty() {
            self.headed = true;
            let heading = self.look().heading();
            lines.insert(0, heading);
        }
        self.print(&lines)
    }

    /// Shows how it goes, where that can be shown in place.
    pub fn pulse(&mut self, pulse: &Pulse) {
        let look = self.look();
        if let Some(terminal) = &self.terminal
            && let [rule, .., line] = terminal.footer.as_slice()
        {
            rule.set_message(look.rule(READ_ALONG));
            line.set_message(look.pulse(pulse));
        }
    }

    /// Ends a frame.
    ///
    /// The cursor goes where the last line begins: a terminal echoes Ctrl-C as `^C`, which behind a
    /// full line would scroll the footer away from where it is thought to be.
    pub fn rest(&mut self) {
        if let Some(terminal) = &self.terminal {
            // Errors are a terminal that went away.
            let _ = terminal
                .term
                .write_str("\r")
                .and_then(|()| terminal.term.flush());
        }
    }

    /// Says in the footer what is being waited for.
    pub fn wait(&mut self, what: &str) {
        let look = self.look();
        if let Some(terminal) = &self.terminal
            && let [rule, .., line] = terminal.footer.as_slice()
        {
            rule.set_message(look.rule(READ_ALONG));
            line.set_message(format!(" {} {what}", look.styled(CYAN, "●")));
        }
    }

    /// Writes how it was. Errors: as [`Self::print`].
    pub fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let mut lines = vec![String::new()];
        lines.extend(self.look().summary(summary));
        write_lines(&lines)
    }

    /// Bars and footer go; lines stay.
    pub fn close(&mut self) {
        *open_terminal() = None;
        if let Some(terminal) = &mut self.terminal {
            // Errors are a terminal that went away.
            let _ = terminal.multi.clear();
            terminal.multi.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

const READ_ALONG: &str = "read along, in another terminal";

impl Terminal {
    fn add_footer(&mut self, look: &Look, paste: &Paste) {
        let lines = [
            look.rule(READ_ALONG),
            format!(" {}", look.styled(CYAN, &paste.topic)),
            format!(" {}", look.styled(CYAN, &paste.schema)),
            String::new(),
        ];
        for line in lines {
            let bar = self
                .multi
                .add(ProgressBar::no_length().with_style(template("{msg}")));
            bar.set_message(line);
            self.footer.push(bar);
        }
    }

    fn show_bars(&mut self, tables: &[Copying]) {
        let roomy = width(&self.term) >= WIDE;
        let shape = if roomy {
            "{bar:32.cyan/dim}"
        } else {
            "{bar:14.cyan/dim}"
        };
        for (index, table) in tables.iter().enumerate() {
            if self.bars.len() <= index {
                let style = template(&format!("  {{prefix:13}} {shape} {{msg}}"));
                let bar = ProgressBar::new(0).with_style(style.progress_chars("━╸─"));
                self.bars.push(self.multi.insert(index, bar));
            }
            let bar = &self.bars[index];
            bar.set_prefix(table.name.clone());
            bar.set_length(table.estimate.max(table.rows).max(1));
            bar.set_position(if table.done { u64::MAX } else { table.rows });
            let pace = table
                .pace()
                .map_or_else(String::new, |pace| format!("  {pace}"));
            bar.set_message(format!("{:>9} rows{pace}", grouped(table.rows)));
        }
    }
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn width(term: &Term) -> usize {
    let (_, columns) = term.size();
    usize::from(columns)
}

/// Standard error, as the log sees it: above the bars where a screen is open, so that neither
/// writes over the other.
#[derive(Debug, Default, Clone, Copy)]
pub struct Log;

/// The terminal that a screen has, if one is open.
static OPEN: Mutex<Option<MultiProgress>> = Mutex::new(None);

fn open_terminal() -> MutexGuard<'static, Option<MultiProgress>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match &*open_terminal() {
            Some(multi) if io::stderr().is_terminal() => {
                multi.println(String::from_utf8_lossy(text).trim_end())?;
                Ok(text.len())
            }
            _ => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Straight to the file: whoever reads sees each line when it happens.
fn write_lines(lines: &[String]) -> io::Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look {
        width: None,
        color: false,
    };

    fn order(op: Op, before: Option<Row>, after: Option<Row>) -> Change {
        let committed_us = Some(1_795_388_463_120_000);
        Change {
            op,
            table: "orders".to_owned(),
            before,
            after,
            lsn: None,
            committed_us,
        }
    }

    fn row(status: &str, shipped: Option<&str>) -> Row {
        Row::of(&[
            ("order_id", Some("2001")),
            ("customer_id", Some("620")),
            ("status", Some(status)),
            ("shipped_at", shipped),
            ("note", Some("gift 🎁")),
        ])
    }

    fn set(look: Look, change: &Change, earlier: Option<&Row>) -> String {
        let key = Row::of(&[("order_id", Some("2001"))]);
        let latency = (change.op != Op::Snapshot).then_some(Duration::from_micros(3_140));
        look.change(&Sighting {
            change,
            key: Some(&key),
            earlier,
            seen_us: 1_795_388_463_123_140,
            latency,
        })
    }

    #[test]
    fn each_change_is_a_line() {
        let created = order(Op::Created, None, Some(row("pending", None)));
        let heading = " utc            latency  table        change    key     columns";
        assert_eq!(PLAIN.heading(), heading);
        assert_eq!(
            set(PLAIN, &created, None),
            " 23:01:03.120    3.1 ms  orders       created   2001    \
             customer_id 620 · status pending · note gift 🎁"
        );
        let read = order(Op::Snapshot, None, Some(row("pending", None)));
        assert_eq!(
            set(PLAIN, &read, None),
            " 23:01:03.123            orders       snapshot  2001    \
             customer_id 620 · status pending · note gift 🎁"
        );
        let shipped = order(
            Op::Updated,
            None,
            Some(row("shipped", Some("2026-11-23 23:01:03.1"))),
        );
        let earlier = row("processing", None);
        assert_eq!(
            set(PLAIN, &shipped, Some(&earlier)),
            " 23:01:03.120    3.1 ms  orders       updated   2001    \
             status processing → shipped · shipped_at null → 2026-11-23 23:01:03.1"
        );
        assert_eq!(
            set(PLAIN, &shipped, None),
            " 23:01:03.120    3.1 ms  orders       updated   2001    \
             customer_id 620 · status shipped · shipped_at 2026-11-23 23:01:03.1 · note gift 🎁"
        );
        let deleted = order(Op::Deleted, None, None);
        assert_eq!(
            set(PLAIN, &deleted, Some(&earlier)),
            " 23:01:03.120    3.1 ms  orders       deleted   2001    \
             customer_id 620 · status processing · note gift 🎁"
        );
    }

    #[test]
    fn the_records_own_past_wins() {
        let updated = order(
            Op::Updated,
            Some(row("pending", None)),
            Some(row("processing", None)),
        );
        let line = set(PLAIN, &updated, Some(&row("rejected", None)));
        assert!(line.ends_with("status pending → processing"), "{line}");
        let same = order(
            Op::Updated,
            Some(row("pending", None)),
            Some(row("pending", None)),
        );
        assert!(set(PLAIN, &same, None).ends_with("no column differs"));
    }

    #[test]
    fn no_line_is_wider_than_its_terminal() {
        let change = order(
            Op::Created,
            None,
            Some(row("pending", Some("2026-11-23 23:01:03.1"))),
        );
        for width in 0..130 {
            for color in [false, true] {
                let look = Look {
                    width: Some(width),
                    color,
                };
                let pulse = Pulse {
                    changes: 1_234_567,
                    per_second: 4.25,
                    median: Some(Duration::from_millis(3)),
                    p99: Some(Duration::from_millis(1_200)),
                    memory_bytes: 19 << 20,
                };
                for line in [
                    set(look, &change, None),
                    look.heading(),
                    look.rule("read along"),
                    look.pulse(&pulse),
                ] {
                    assert!(measure_text_width(&line) <= width, "{width}: {line}");
                }
            }
        }
        let all = set(PLAIN, &change, None);
        for width in 101..measure_text_width(&all) {
            let look = Look {
                width: Some(width),
                color: false,
            };
            let line = set(look, &change, None);
            assert_eq!(measure_text_width(&line), width, "{line}");
            assert!(line.ends_with('…'), "{line}");
        }
        let narrow = Look {
            width: Some(60),
            color: false,
        };
        assert_eq!(
            set(narrow, &change, None),
            " 23:01:03    3.1 ms  orders       created   2001    custome…"
        );
    }

    #[test]
    fn colour_adds_nothing_but_escape_codes() {
        let change = order(Op::Updated, None, Some(row("shipped", None)));
        let earlier = row("pending", None);
        let colored = set(
            Look {
                width: Some(90),
                color: true,
            },
            &change,
            Some(&earlier),
        );
        let bare = set(
            Look {
                width: Some(90),
                color: false,
            },
            &change,
            Some(&earlier),
        );
        assert!(colored.contains("\x1b[33m updated "), "{colored:?}");
        assert_eq!(console::strip_ansi_codes(&colored), bare);
        assert!(!bare.contains('\x1b'));
    }

    #[test]
    fn a_copy_says_how_fast_and_how_long() {
        let mut table = Copying {
            name: "order_items".to_owned(),
            rows: 1_500,
            estimate: 4_500,
            elapsed: Duration::from_millis(500),
            done: false,
        };
        assert_eq!(
            PLAIN.copying(&table),
            "  order_items        1,500 of 4,500 rows  3,000 rows/s, 1.0 s left"
        );
        table.estimate = 0;
        assert_eq!(
            PLAIN.copying(&table),
            "  order_items        1,500 rows  3,000 rows/s"
        );
        table.done = true;
        assert_eq!(
            PLAIN.copying(&table),
            "  order_items        1,500 rows copied  in 500 ms, 3,000 rows/s"
        );
        table.rows = 0;
        assert_eq!(
            PLAIN.copying(&table),
            "  order_items            0 rows copied"
        );
    }

    #[test]
    fn people_read_numbers() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        let times = [
            (0, "0.0 ms"),
            (840, "0.8 ms"),
            (120_000, "120 ms"),
            (999_600, "1.0 s"),
            (59_000_000, "59 s"),
            (200_000_000, "3 min 20 s"),
            (7_800_000_000, "2 h 10 min"),
        ];
        for (us, text) in times {
            assert_eq!(human_time(Duration::from_micros(us)), text);
        }
        assert_eq!(human_bytes(19_083_000), "18.2 MiB");
    }
}
