//! What was measured: lines for the terminal, CSV to keep, and a page to look at.

use std::fmt::Write as _;

use super::contestant::Contestant;
use super::measure::Figure;
use super::suite::{Case, Kind};
use crate::cli::load::outcome::{QUANTILES, in_ms};

/// One run of one contestant.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What was measured.
    pub case: Case,
    /// Who ran.
    pub who: Contestant,
    /// Its pair, from 0, the warm-up.
    pub pair: u32,
    /// Why it does not count; none: it does.
    pub void: Option<String>,
    /// What came out.
    pub figure: Figure,
}

/// All of a bench.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The machine, in a line.
    pub machine: String,
    /// Who ran: programs and their versions.
    pub versions: String,
    /// The command line.
    pub command: String,
    /// `2026-11-23 05:20 UTC`
    pub date: String,
    /// Every run, in order.
    pub samples: Vec<Sample>,
}

impl Sample {
    /// Whether it counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.void.is_none()
    }

    /// Records a second, from the start of the process; a pipe at rest has none.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        float(self.figure.rows) / self.figure.wall.as_secs_f64().max(1e-9)
    }

    fn per_row_us(&self, seconds: f64) -> f64 {
        seconds * 1e6 / float(self.figure.rows.max(1))
    }

    /// What is compared: how many times as good is more. For rates, records a second; for times,
    /// their inverse.
    fn merit(&self) -> f64 {
        match self.case.kind {
            Kind::Drain | Kind::Snapshot => self.per_second(),
            Kind::Latency(_) => {
                let latencies = self.figure.latencies.as_ref();
                let p99 = latencies.and_then(|latencies| latencies.quantile(0.99));
                1.0 / p99.unwrap_or_default().as_secs_f64().max(1e-9)
            }
            Kind::Rest => {
                1.0 / self
                    .figure
                    .first
                    .unwrap_or_default()
                    .as_secs_f64()
                    .max(1e-9)
            }
            Kind::Restart(_) => 1.0 / self.figure.wall.as_secs_f64().max(1e-9),
        }
    }

    /// A line for the terminal.
    #[must_use]
    pub fn line(&self) -> String {
        let figure = &self.figure;
        let mut text = format!("  {:14} ", self.who.name());
        let _ = match self.case.kind {
            Kind::Drain | Kind::Snapshot => write!(
                text,
                "{:8.2} s {:9.0} rows/s  CPU µs/row: tool {:5.2} sender {:5.2} broker {:5.2}",
                figure.wall.as_secs_f64(),
                self.per_second(),
                self.per_row_us(figure.tool_cpu),
                self.per_row_us(figure.sender_cpu),
                self.per_row_us(figure.broker_cpu.unwrap_or(0.0)),
            ),
            Kind::Latency(_) => {
                let quantiles = QUANTILES.iter().filter_map(|(name, share)| {
                    let latency = figure.latencies.as_ref()?.quantile(*share)?;
                    Some(format!("{name} {}", in_ms(latency)))
                });
                let cores = figure.tool_cpu / figure.wall.as_secs_f64().max(1e-9);
                let quantiles = quantiles.collect::<Vec<_>>().join("  ");
                write!(text, "{quantiles}  {cores:.3} cores")
            }
            Kind::Rest => write!(
                text,
                "first record after {:.3} s, at rest {:.1} MiB and {:.2} % of a core",
                figure.first.unwrap_or_default().as_secs_f64(),
                float(figure.rss_kib) / 1024.0,
                figure.tool_cpu / figure.wall.as_secs_f64().max(1e-9) * 100.0
            ),
            Kind::Restart(_) => write!(
                text,
                "caught up {:.2} s after its start, first record after {:.2} s",
                figure.wall.as_secs_f64(),
                figure.first.unwrap_or_default().as_secs_f64()
            ),
        };
        let _ = write!(
            text,
            "  peak {:.1} MiB  others {:.0} %",
            float(figure.peak_kib) / 1024.0,
            figure.others * 100.0
        );
        if let Some(why) = &self.void {
            let _ = write!(text, "  ({why})");
        }
        text
    }
}

/// How many times as good penstock was as another, pair by pair.
#[derive(Debug, Clone)]
pub struct Ratios {
    /// The other.
    pub other: Contestant,
    /// Those of pairs that count, ascending.
    pub kept: Vec<f64>,
    /// How many pairs there were, the warm-up apart.
    pub pairs: usize,
}

impl Ratios {
    /// The middle one, or the mean of the two in the middle.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        median(&self.kept)
    }
}

/// The middle of sorted numbers, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted.get(half).copied(),
        _ => Some(f64::midpoint(
            *sorted.get(half.checked_sub(1)?)?,
            *sorted.get(half)?,
        )),
    }
}

impl Record {
    /// The cases, each once, in order.
    #[must_use]
    pub fn cases(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = Vec::new();
        for sample in &self.samples {
            if !cases.contains(&&sample.case) {
                cases.push(&sample.case);
            }
        }
        cases
    }

    fn of<'s>(&'s self, case: &'s Case) -> impl Iterator<Item = &'s Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.case == *case)
    }

    /// Who else took part in a case, and what the pairs say.
    #[must_use]
    pub fn ratios(&self, case: &Case) -> Vec<Ratios> {
        let of = |who: Contestant| self.of(case).filter(move |sample| sample.who == who);
        let mut all = Vec::new();
        for other in [Contestant::PgRecvlogical, Contestant::Debezium] {
            let theirs: Vec<&Sample> = of(other).filter(|sample| sample.pair > 0).collect();
            let mut kept: Vec<f64> = theirs
                .iter()
                .filter(|sample| sample.counts())
                .filter_map(|their| {
                    let mut ours = of(Contestant::Penstock);
                    let our = ours.find(|our| our.pair == their.pair && our.counts())?;
                    Some(our.merit() / their.merit())
                })
                .collect();
            kept.sort_by(f64::total_cmp);
            if !theirs.is_empty() {
                all.push(Ratios {
                    other,
                    kept,
                    pairs: theirs.len(),
                });
            }
        }
        all
    }

    /// The median of something over the runs of a contestant that count.
    fn median_of(
        &self,
        case: &Case,
        who: Contestant,
        what: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let counted = self.of(case).filter(|it| it.who == who && it.counts());
        let mut values: Vec<f64> = counted.map(what).collect();
        values.sort_by(f64::total_cmp);
        median(&values)
    }

    /// Every run, one a line, below comments that say where and how.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = format!(
            "# {}; {}; {}\n# {}\n",
            self.date, self.machine, self.versions, self.command
        );
        text += "suite,case,tool,pair,counts,records,wall_s,first_s,records_per_s,mb_per_s,\
                 tool_us_per_record,sender_us_per_record,broker_us_per_record,tool_cpu_s,\
                 peak_mib,end_mib,others_percent,kafka_bytes_per_record,\
                 postgres_bytes_per_record";
        for (name, _) in QUANTILES {
            let _ = write!(text, ",{name}_ms");
        }
        text += ",max_ms,remark\n";
        for sample in &self.samples {
            let figure = &sample.figure;
            let rows = float(figure.rows.max(1));
            let wall = figure.wall.as_secs_f64();
            let per_row = |bytes: u64| float(bytes) / rows;
            let cells = [
                sample.case.suite.to_owned(),
                sample.case.name.clone(),
                sample.who.name().to_owned(),
                sample.pair.to_string(),
                u8::from(sample.counts()).to_string(),
                figure.rows.to_string(),
                format!("{wall:.3}"),
                figure
                    .first
                    .map_or_else(String::new, |it| format!("{:.3}", it.as_secs_f64())),
                format!("{:.0}", sample.per_second()),
                figure.wire_bytes.map_or_else(String::new, |bytes| {
                    format!("{:.1}", float(bytes) / wall.max(1e-9) / 1e6)
                }),
                format!("{:.3}", sample.per_row_us(figure.tool_cpu)),
                format!("{:.3}", sample.per_row_us(figure.sender_cpu)),
                figure
                    .broker_cpu
                    .map_or_else(String::new, |cpu| format!("{:.3}", sample.per_row_us(cpu))),
                format!("{:.2}", figure.tool_cpu),
                format!("{:.1}", float(figure.peak_kib) / 1024.0),
                format!("{:.1}", float(figure.rss_kib) / 1024.0),
                format!("{:.1}", figure.others * 100.0),
                match figure.kafka_bytes {
                    0 => String::new(),
                    bytes => format!("{:.1}", per_row(bytes)),
                },
                figure
                    .wire_bytes
                    .map_or_else(String::new, |bytes| format!("{:.1}", per_row(bytes))),
            ];
            text += &cells.join(",");
            for (_, share) in QUANTILES.iter().chain(&[("max", 1.0)]) {
                let latencies = figure.latencies.as_ref();
                let latency = latencies.and_then(|it| it.quantile(*share));
                let _ = match latency {
                    Some(latency) => write!(text, ",{:.3}", latency.as_secs_f64() * 1e3),
                    None => write!(text, ","),
                };
            }
            let remark = sample
                .void
                .as_deref()
                .unwrap_or_default()
                .replace([',', '\n'], ";");
            let _ = writeln!(text, ",{remark}");
        }
        text
    }

    /// One page, which needs nothing but itself.
    #[must_use]
    pub fn html(&self) -> String {
        let mut body = String::new();
        let cases = self.cases();
        let mut suites: Vec<&str> = cases.iter().map(|case| case.suite).collect();
        suites.dedup();
        body += &self.ratio_section(&cases);
        for suite in suites {
            let of: Vec<&Case> = cases
                .iter()
                .copied()
                .filter(|it| it.suite == suite)
                .collect();
            let _ = write!(body, "<section><h2>{}</h2>", escaped(suite));
            if of
                .iter()
                .any(|case| matches!(case.kind, Kind::Drain | Kind::Snapshot))
            {
                body += &self.rates(&of);
                body += &self.costs(&of);
            }
            for case in &of {
                match case.kind {
                    Kind::Drain | Kind::Snapshot => body += &self.curves(case),
                    Kind::Latency(_) => body += &self.quantiles(case),
                    Kind::Rest | Kind::Restart(_) => {}
                }
            }
            body += &self.lines(&of);
            body += "</section>";
        }
        let mut head = String::new();
        for line in [&self.date, &self.machine, &self.versions] {
            let _ = write!(head, "<p>{}</p>", escaped(line));
        }
        let _ = write!(head, "<p><code>{}</code></p>", escaped(&self.command));
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>penstock bench</title><style>{STYLE}</style>\
             <header><h1>penstock bench</h1>{head}</header><main>{body}</main>\
             <footer>Every run is told, those that do not count in grey: the first pair warms up, \
             and a pair during which others used much of the machine is thrown away. What a run \
             read was counted and compared with the tables. CPU times are from /proc; the time \
             of a run goes from the start of its process to the last record that a read_committed \
             consumer has.</footer></html>\n"
        )
    }

    fn ratio_section(&self, cases: &[&Case]) -> String {
        let mut rows = Vec::new();
        for case in cases {
            for ratios in self.ratios(case) {
                rows.push((format!("{} · {}", case.suite, case.name), ratios));
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let most = rows.iter().flat_map(|(_, it)| it.kept.iter()).copied();
        let most = most.fold(2.0f64, f64::max);
        let log = most > 20.0;
        let scale = |ratio: f64| match log {
            true => (ratio.max(0.1) * 10.0).ln() / (most * 10.0).ln() * 560.0,
            false => ratio / most * 560.0,
        };
        let height = rows.len() * 30 + 30;
        let mut svg = format!("<svg viewBox=\"0 0 900 {height}\" role=\"img\">");
        let one = 260.0 + scale(1.0);
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"4\" y2=\"{0}\"/>\
             <text class=\"small\" x=\"{one:.1}\" y=\"{1}\" text-anchor=\"middle\">1, as good</text>",
            height - 22,
            height - 6
        );
        for (row, (name, ratios)) in rows.iter().enumerate() {
            let y = row * 30 + 18;
            let class = ratios.other.name();
            let _ = write!(
                svg,
                "<text x=\"250\" y=\"{0}\" text-anchor=\"end\">{1}</text>",
                y + 5,
                escaped(name)
            );
            if let Some(median) = ratios.median() {
                let _ = write!(
                    svg,
                    "<rect class=\"bar {class}\" x=\"260\" y=\"{0}\" width=\"{1:.1}\" \
                     height=\"16\" rx=\"3\"/>\
                     <text x=\"{2:.1}\" y=\"{3}\"><tspan class=\"big\">{median:.2}×</tspan></text>",
                    y - 8,
                    scale(median),
                    266.0 + scale(ratios.kept.last().copied().unwrap_or(median)).max(scale(median)),
                    y + 5
                );
            }
            for ratio in &ratios.kept {
                let x = 260.0 + scale(*ratio);
                let _ = write!(
                    svg,
                    "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y}\" r=\"3.5\"/>"
                );
            }
            let what = format!(
                "{class}: {} of {} pairs count",
                ratios.kept.len(),
                ratios.pairs
            );
            let _ = write!(svg, "<title>{what}</title>");
        }
        svg += "</svg>";
        let others = legend(&[Contestant::PgRecvlogical, Contestant::Debezium], |it| {
            rows.iter().any(|(_, ratios)| ratios.other == it)
        });
        format!(
            "<section><h2>How many times as good</h2><p>penstock against {others}: records a \
             second, the inverse of p99 for latency, of the time to the first record at a start. \
             The bar is the median of the pairs, each pair a dot.</p>{svg}</section>"
        )
    }

    /// Bars of records a second.
    fn rates(&self, cases: &[&Case]) -> String {
        let mut bars = Vec::new();
        for case in cases {
            for who in EVERYBODY {
                if let Some(rate) = self.median_of(case, who, Sample::per_second) {
                    bars.push((case.name.as_str(), who, vec![rate]));
                }
            }
        }
        let title = "Records a second, the median of the runs that count";
        chart(title, &bars, &[""], thousands)
    }

    /// Bars of CPU time per record.
    fn costs(&self, cases: &[&Case]) -> String {
        let mut bars = Vec::new();
        for case in cases {
            for who in EVERYBODY {
                let cost = |of: fn(&Figure) -> f64| {
                    self.median_of(case, who, |sample| sample.per_row_us(of(&sample.figure)))
                };
                let parts = [
                    cost(|figure| figure.tool_cpu),
                    cost(|figure| figure.sender_cpu),
                    cost(|figure| figure.broker_cpu.unwrap_or(0.0)),
                ];
                let parts: Vec<f64> = parts.into_iter().flatten().collect();
                if parts.len() == 3 {
                    bars.push((case.name.as_str(), who, parts));
                }
            }
        }
        let title = "CPU time for a record, µs: the tool, and fainter the walsender and the broker";
        chart(title, &bars, &["tool", "walsender", "broker"], |value| {
            format!("{value:.2} µs")
        })
    }

    /// How many records were readable when: the last run of each that counts.
    fn curves(&self, case: &Case) -> String {
        let mut curves = Vec::new();
        for who in EVERYBODY {
            let last = self
                .of(case)
                .filter(|it| it.who == who && it.counts())
                .last();
            let Some(sample) = last.filter(|sample| sample.figure.curve.len() > 2) else {
                continue;
            };
            let mut points = vec![(0.0, 0.0)];
            for (seconds, rows) in &sample.figure.curve {
                points.push((*seconds, float(*rows)));
            }
            curves.push((who, points));
        }
        let title = format!("{}: records readable, over the seconds", case.name);
        plot(&title, &curves, thousands, |x| format!("{x:.0} s"))
    }

    /// Latency by the share of records, both on scales that stretch what is rare.
    fn quantiles(&self, case: &Case) -> String {
        let shares: Vec<f64> = (0..=80)
            .map(|step| 1.0 - 10f64.powf(-f64::from(step) / 20.0))
            .collect();
        let mut curves = Vec::new();
        for who in EVERYBODY {
            let last = self
                .of(case)
                .filter(|it| it.who == who && it.counts())
                .last();
            let Some(latencies) = last.and_then(|sample| sample.figure.latencies.as_ref()) else {
                continue;
            };
            let points = shares.iter().enumerate().filter_map(|(step, share)| {
                let ms = latencies.quantile(*share)?.as_secs_f64() * 1e3;
                Some((float(step as u64) / 20.0, (ms.max(0.01) * 100.0).log10()))
            });
            curves.push((who, points.collect()));
        }
        let title = format!(
            "{}: from commit to readable, by share of the records",
            case.name
        );
        let ms = |y: f64| match 10f64.powf(y) / 100.0 {
            ms if ms < 1.0 => format!("{ms:.2} ms"),
            ms if ms < 10.0 => format!("{ms:.1} ms"),
            ms => format!("{ms:.0} ms"),
        };
        let share = |x: f64| match x {
            x if x < 0.5 => "0 %".to_owned(),
            x if x < 1.5 => "90 %".to_owned(),
            x if x < 2.5 => "99 %".to_owned(),
            x if x < 3.5 => "99.9 %".to_owned(),
            _ => "99.99 %".to_owned(),
        };
        plot(&title, &curves, ms, share)
    }

    fn lines(&self, cases: &[&Case]) -> String {
        let mut text = "<details><summary>every run</summary><pre>".to_owned();
        for case in cases {
            let _ = writeln!(text, "{}", escaped(&case.name));
            for sample in self.of(case) {
                let class = if sample.counts() && sample.pair > 0 {
                    ""
                } else {
                    "void"
                };
                let line = format!("{:2} {}", sample.pair, sample.line());
                let _ = writeln!(text, "<span class=\"{class}\">{}</span>", escaped(&line));
            }
        }
        text + "</pre></details>"
    }
}

const EVERYBODY: [Contestant; 3] = [
    Contestant::Penstock,
    Contestant::PgRecvlogical,
    Contestant::Debezium,
];

/// Colours of day and night, one for each contestant.
const STYLE: &str = include_str!("report.css");

/// Names in their colours.
fn legend(all: &[Contestant], shown: impl Fn(Contestant) -> bool) -> String {
    let names = all.iter().filter(|who| shown(**who));
    let names = names.map(|who| format!("<b class=\"{0}\">{0}</b>", who.name()));
    names.collect::<Vec<_>>().join(", ")
}

type Bar<'n> = (&'n str, Contestant, Vec<f64>);

/// Bars side by side, each of a few parts.
fn chart(title: &str, bars: &[Bar<'_>], parts: &[&str], words: impl Fn(f64) -> String) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let most = bars.iter().map(|(_, _, parts)| parts.iter().sum::<f64>());
    let most = most.fold(1e-9, f64::max);
    let height = bars.len() * 22 + 8;
    let mut svg = format!("<svg viewBox=\"0 0 900 {height}\" role=\"img\">");
    let mut last = "";
    for (row, (name, who, values)) in bars.iter().enumerate() {
        let y = row * 22 + 4;
        if last != *name {
            last = name;
            let _ = write!(
                svg,
                "<text x=\"230\" y=\"{}\" text-anchor=\"end\">{}</text>",
                y + 13,
                escaped(name)
            );
        }
        let mut x = 240.0;
        for (part, value) in values.iter().enumerate() {
            let width = value / most * 520.0;
            let told = format!("{} {} {}", who.name(), parts[part], words(*value));
            let _ = write!(
                svg,
                "<rect class=\"bar {} part{part}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" \
                 height=\"17\"><title>{told}</title></rect>",
                who.name()
            );
            x += width;
        }
        let total = words(values.iter().sum());
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\">{total}</text>",
            x + 6.0,
            y + 13
        );
    }
    let names = legend(&EVERYBODY, |who| bars.iter().any(|(_, it, _)| *it == who));
    format!("<h3>{} ({names})</h3>{svg}</svg>", escaped(title))
}

/// Lines over a grid.
fn plot(
    title: &str,
    curves: &[(Contestant, Vec<(f64, f64)>)],
    in_y: impl Fn(f64) -> String,
    in_x: impl Fn(f64) -> String,
) -> String {
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    let (right, top) = points().fold((0f64, 0f64), |most, it| {
        (most.0.max(it.0), most.1.max(it.1))
    });
    if right <= 0.0 || top <= 0.0 {
        return String::new();
    }
    let place = |(x, y): (f64, f64)| (80.0 + x / right * 790.0, 230.0 - y / top * 210.0);
    let mut svg = "<svg viewBox=\"0 0 900 260\" role=\"img\">".to_owned();
    for step in 0..=4 {
        let (x, y) = (right / 4.0 * f64::from(step), top / 4.0 * f64::from(step));
        let (left, at) = place((0.0, y));
        let (across, _) = place((x, 0.0));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left:.1}\" x2=\"870\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"small\" x=\"74\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"small\" x=\"{across:.1}\" y=\"248\" text-anchor=\"middle\">{}</text>",
            at + 4.0,
            in_y(y),
            in_x(x)
        );
    }
    for (who, points) in curves {
        let mut path = String::new();
        for (index, point) in points.iter().enumerate() {
            let (x, y) = place(*point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        }
        let _ = write!(svg, "<path class=\"{}\" d=\"{path}\"/>", who.name());
    }
    let names = legend(&EVERYBODY, |who| curves.iter().any(|(it, _)| *it == who));
    format!("<h3>{} ({names})</h3>{svg}</svg>", escaped(title))
}

fn thousands(value: f64) -> String {
    match value {
        0.0..1_000.0 => format!("{value:.0}"),
        1_000.0..1_000_000.0 => format!("{:.0} k", value / 1e3),
        _ => format!("{:.2} M", value / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::suite::Suite;
    use super::*;
    use crate::cli::latency::Latencies;

    fn sample(case: &Case, who: Contestant, pair: u32, ms: u64) -> Sample {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_millis(ms));
        Sample {
            case: case.clone(),
            who,
            pair,
            void: None,
            figure: Figure {
                rows: 1_000,
                wall: Duration::from_millis(ms),
                first: Some(Duration::from_millis(ms / 2)),
                curve: vec![(0.1, 10), (0.2, 500), (0.3, 1_000)],
                latencies: Some(latencies),
                ..Figure::default()
            },
        }
    }

    fn record() -> Record {
        let cases = Suite::Figure.cases(1_000, &[100.0], &[]);
        let mut record = Record {
            machine: "2 cores of <this>".to_owned(),
            ..Record::default()
        };
        for case in &cases {
            for (pair, ms) in [(0, 900), (1, 100), (2, 200), (3, 50)] {
                record
                    .samples
                    .push(sample(case, Contestant::Penstock, pair, ms));
                record
                    .samples
                    .push(sample(case, Contestant::Debezium, pair, 400));
            }
        }
        let disturbed = record.samples.iter_mut().find(|it| it.pair == 3);
        disturbed.unwrap().void = Some("disturbed: others, 40 %".to_owned());
        for sample in record.samples.iter_mut().filter(|it| it.pair == 0) {
            sample.void = Some("warm-up".to_owned());
        }
        record
    }

    #[test]
    fn a_pair_that_was_disturbed_does_not_count() {
        let record = record();
        let cases = record.cases();
        let ratios = record.ratios(cases[0]);
        assert_eq!(ratios.len(), 1);
        assert_eq!((ratios[0].pairs, ratios[0].kept.len()), (3, 2));
        assert!(
            (ratios[0].median().unwrap() - 3.0).abs() < 1e-9,
            "of 2 and 4"
        );
        assert!((record.ratios(cases[1])[0].median().unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn csv_has_a_cell_for_every_name() {
        let text = record().csv();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let count = lines[0].split(',').count();
        assert_eq!(lines.len(), 1 + record().samples.len());
        for line in &lines {
            assert_eq!(line.split(',').count(), count, "{line}");
        }
        assert!(text.contains("disturbed: others; 40 %"));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = record().html();
        for outside in ["http:", "https:", "<script", "src=", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("&lt;this&gt;") && page.contains("prefers-color-scheme"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }
}
