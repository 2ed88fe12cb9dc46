//! What came of a load test: by tenant, over time, against its limits; for people and for programs.
use std::{
    fmt::Write as _,
    fs, mem,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    client::Outcome,
    questions::TENANTS,
    report::{Figures, Tally},
};

/// Points of the charts: each takes some 30 KB while the test runs.
const POINTS: u32 = 120;

/// What a run must keep. Those that are none are not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Half of the answers come within.
    pub p50: Option<Duration>,
    /// 95 of 100.
    pub p95: Option<Duration>,
    /// 99 of 100.
    pub p99: Option<Duration>,
    /// Share of what was due that was not answered.
    pub errors: Option<f64>,
}

/// A limit, and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Of what.
    pub limit: &'static str,
    /// At most, in milliseconds or as a share.
    pub at_most: f64,
    /// What was.
    pub was: f64,
    /// Whether it was kept.
    pub kept: bool,
}

/// Counts of a run.
#[derive(Debug)]
pub struct Summary {
    recent: Tally,
    tenants: [Tally; TENANTS.len()],
    /// By when requests were due; the last one has all that came after the planned time.
    points: Vec<Tally>,
    point: Duration,
    took: Duration,
    /// Requests without an answer when it ended.
    left: u64,
    broken_off: bool,
}

impl Summary {
    /// Of a run that is planned to take so long.
    pub fn new(time: Duration) -> Self {
        let point = (time / POINTS).max(Duration::from_secs(1));
        Self {
            recent: Tally::default(),
            tenants: Default::default(),
            points: Vec::new(),
            point,
            took: Duration::ZERO,
            left: 0,
            broken_off: false,
        }
    }

    fn all(&mut self, tenant: usize, due: Duration, count: impl Fn(&mut Tally)) {
        let point = (due.as_secs_f64() / self.point.as_secs_f64()) as usize;
        let point = point.min(POINTS as usize);
        while self.points.len() <= point {
            self.points.push(Tally::default());
        }
        for tally in [&mut self.recent, &mut self.tenants[tenant], &mut self.points[point]] {
            count(tally);
        }
    }

    /// Of all tenants.
    fn total(&self) -> Figures {
        let mut total = Tally::default();
        self.tenants.iter().for_each(|tally| total.add(tally));
        total.figures()
    }

    /// A request of a tenant, due so long after the start, was sent.
    pub fn sent(&mut self, tenant: usize, due: Duration) {
        self.all(tenant, due, Tally::sent);
    }

    /// It was due, and not sent.
    pub fn skipped(&mut self, tenant: usize, due: Duration) {
        self.all(tenant, due, Tally::skipped);
    }

    /// It has ended.
    pub fn ended_one(&mut self, tenant: usize, due: Duration, outcome: &Outcome, latency: Duration) {
        self.all(tenant, due, |tally| tally.ended(outcome, latency));
    }

    /// The run has ended, with so many requests that have no answer yet.
    pub fn ended(&mut self, took: Duration, left: u64, broken_off: bool) {
        (self.took, self.left, self.broken_off) = (took, left, broken_off);
    }

    /// What was counted since this was last asked.
    pub fn take_recent(&mut self) -> Tally {
        mem::take(&mut self.recent)
    }

    /// Each limit, and whether it was kept. Where nothing was answered no time was kept.
    pub fn verdicts(&self, limits: &Limits) -> Vec<Verdict> {
        let figures = self.total();
        let time = |limit, at_most: Option<Duration>, was| {
            let at_most = at_most?.as_secs_f64() * 1e3;
            Some(Verdict { limit, at_most, was, kept: was <= at_most && figures.answered > 0 })
        };
        let errors = limits.errors.map(|at_most| {
            let was = figures.unanswered();
            Verdict { limit: "not answered", at_most, was, kept: was <= at_most && figures.sent > 0 }
        });
        let times = [
            time("p50 ms", limits.p50, figures.p50_ms),
            time("p95 ms", limits.p95, figures.p95_ms),
            time("p99 ms", limits.p99, figures.p99_ms),
        ];
        times.into_iter().chain([errors]).flatten().collect()
    }

    /// Whether all limits were kept.
    pub fn keeps(&self, limits: &Limits) -> bool {
        self.verdicts(limits).iter().all(|verdict| verdict.kept)
    }

    /// Rows of the table: who, and what was counted.
    fn rows(&self) -> impl Iterator<Item = (&'static str, Figures)> {
        let tenants = TENANTS.iter().zip(&self.tenants).map(|((id, _), tally)| (*id, tally.figures()));
        tenants.chain([("all", self.total())])
    }

    /// For people.
    pub fn to_text(&self, limits: &Limits) -> String {
        let mut text = format!(
            "{:<12} {:>8} {:>8} {:>7} {:>9} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9}\n",
            "tenant",
            "sent",
            "ok",
            "cached",
            "rejected",
            "failed",
            "unsent",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms"
        );
        for (who, f) in self.rows() {
            let _ = writeln!(
                text,
                "{who:<12} {:>8} {:>8} {:>6.0}% {:>9} {:>7} {:>7} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                f.sent,
                f.answered,
                100.0 * f.hit_rate(),
                f.rejected,
                f.failed,
                f.skipped,
                f.p50_ms,
                f.p95_ms,
                f.p99_ms,
                f.max_ms
            );
        }
        let figures = self.total();
        let seconds = self.took.as_secs_f64();
        let _ = write!(
            text,
            "{:.1} s, {:.1} answers a second, {:.2} % not answered",
            seconds,
            figures.answered as f64 / seconds.max(1e-3),
            100.0 * figures.unanswered()
        );
        if self.left > 0 {
            let _ = write!(text, ", {} still waited", self.left);
        }
        if self.broken_off {
            text.push_str(", broken off");
        }
        for Verdict { limit, at_most, was, kept } in self.verdicts(limits) {
            let verdict = if kept { "ok    " } else { "BROKEN" };
            let _ = write!(text, "\n{verdict} {limit}: {was:.4} (at most {at_most})");
        }
        text
    }

    /// For programs.
    pub fn to_json(&self, limits: &Limits, at: SystemTime) -> Value {
        let figures = |tally: &Tally| serde_json::to_value(tally.figures()).unwrap_or_default();
        let tenants: serde_json::Map<_, _> = TENANTS
            .iter()
            .zip(&self.tenants)
            .map(|((id, _), tally)| ((*id).to_owned(), figures(tally)))
            .collect();
        json!({
            "ended": humantime::format_rfc3339_seconds(at).to_string(),
            "seconds": self.took.as_secs_f64(),
            "broken_off": self.broken_off,
            "without_answer": self.left,
            "total": self.total(),
            "tenants": tenants,
            "seconds_a_point": self.point.as_secs_f64(),
            "points": self.points.iter().map(figures).collect::<Vec<_>>(),
            "limits": self.verdicts(limits),
        })
    }

    /// Writes `load.json` and `load.html` into a folder. The error is one line.
    pub fn write(&self, folder: &Path, limits: &Limits, at: SystemTime) -> Result<(), String> {
        let failed = |path: &Path, e: std::io::Error| format!("{} cannot be written: {e}", path.display());
        fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        let json = serde_json::to_string_pretty(&self.to_json(limits, at)).unwrap_or_default() + "\n";
        for (name, text) in [("load.json", json), ("load.html", self.to_html(limits, at))] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| failed(&path, e))?;
        }
        Ok(())
    }

    fn to_html(&self, limits: &Limits, at: SystemTime) -> String {
        let point = self.point.as_secs_f64();
        let points: Vec<_> = self.points.iter().map(Tally::figures).collect();
        let of = |value: fn(&Figures) -> f64| -> Vec<f64> { points.iter().map(value).collect() };
        let rates: Vec<f64> = of(|f| f.answered as f64).into_iter().map(|count| count / point).collect();
        let charts = [
            chart("Answers a second", &rates, point),
            chart("P95, ms", &of(|f| f.p95_ms), point),
            chart("P99, ms", &of(|f| f.p99_ms), point),
            chart("Not answered", &of(|f| (f.rejected + f.failed + f.skipped) as f64), point),
        ];
        // Nothing of it is anybody's text: names of tenants are our own.
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Load test</title>\n\
             <style>body{{font:14px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
             pre{{overflow-x:auto}}svg{{width:100%;height:10rem;background:#f6f7f9}}\
             polyline{{fill:none;stroke:#2563eb;stroke-width:1.5;vector-effect:non-scaling-stroke}}</style>\n\
             <h1>Load test</h1><p>{}</p>\n<pre>{}</pre>\n{}</html>\n",
            humantime::format_rfc3339_seconds(at),
            self.to_text(limits),
            charts.concat()
        )
    }
}

/// A line over time, drawn without a script.
fn chart(title: &str, values: &[f64], point: f64) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let width = values.len().saturating_sub(1).max(1);
    let mut line = String::new();
    for (at, value) in values.iter().enumerate() {
        let height = if most > 0.0 { value / most } else { 0.0 };
        let _ = write!(line, "{at},{:.4} ", 1.02 - height);
    }
    format!(
        "<h2>{title}</h2><p>at most {most:.1}, over {:.0} s</p>\
         <svg viewBox=\"0 0 {width} 1.04\" preserveAspectRatio=\"none\"><polyline points=\"{line}\"/></svg>\n",
        values.len() as f64 * point
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Failure;

    fn summary() -> Summary {
        let mut summary = Summary::new(Duration::from_secs(10));
        for number in 0..100_u64 {
            let (tenant, due) = (usize::from(number >= 60), Duration::from_millis(number * 100));
            summary.sent(tenant, due);
            let outcome = if number % 10 == 9 {
                Outcome::Failed(Failure::Broken)
            } else {
                Outcome::Answered { cached: number % 2 == 0 }
            };
            summary.ended_one(tenant, due, &outcome, Duration::from_millis(number + 1));
        }
        summary.skipped(1, Duration::from_secs(3));
        summary.ended(Duration::from_secs(10), 0, false);
        summary
    }

    #[test]
    fn limits_are_kept_or_broken_by_the_figures() {
        let summary = summary();
        let ms = |ms| Some(Duration::from_millis(ms));
        // 11 of 101 were not answered.
        let kept = Limits { p50: ms(60), p95: ms(100), p99: ms(100), errors: Some(0.11) };
        assert!(summary.keeps(&kept), "{:?}", summary.verdicts(&kept));
        for broken in [
            Limits { p50: ms(40), ..Limits::default() },
            Limits { p95: ms(90), ..Limits::default() },
            Limits { p99: ms(95), ..Limits::default() },
            Limits { errors: Some(0.1), ..Limits::default() },
        ] {
            assert!(!summary.keeps(&broken), "{broken:?}");
            assert!(summary.to_text(&broken).contains("BROKEN"));
        }
        let nothing = Summary::new(Duration::from_secs(1));
        assert!(!nothing.keeps(&kept), "nothing answered is nothing shown");
    }

    #[test]
    fn tenants_and_points_add_up_to_the_whole() {
        let json = summary().to_json(&Limits::default(), SystemTime::UNIX_EPOCH);
        let sum =
            |values: Vec<&Value>, name: &str| -> u64 { values.iter().filter_map(|v| v[name].as_u64()).sum() };
        for (name, whole) in [("sent", 100), ("answered", 90), ("failed", 10), ("skipped", 1), ("cached", 50)]
        {
            assert_eq!(json["total"][name], whole, "{name}");
            assert_eq!(sum(json["tenants"].as_object().unwrap().values().collect(), name), whole, "{name}");
            assert_eq!(sum(json["points"].as_array().unwrap().iter().collect(), name), whole, "{name}");
        }
        assert_eq!(json["tenants"]["acme"]["sent"], 60);
        assert_eq!(json["points"].as_array().unwrap().len(), 10);
    }

    #[test]
    fn the_report_is_one_page_and_one_document() {
        let folder = tempfile::tempdir().unwrap();
        summary().write(folder.path(), &Limits::default(), SystemTime::UNIX_EPOCH).unwrap();
        let html = fs::read_to_string(folder.path().join("load.html")).unwrap();
        assert!(html.contains("<polyline") && html.contains("globex") && !html.contains("<script"), "{html}");
        let json = fs::read_to_string(folder.path().join("load.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["total"]["sent"], 100);
        let error =
            summary().write(&folder.path().join("load.json"), &Limits::default(), SystemTime::UNIX_EPOCH);
        assert!(error.unwrap_err().contains("load.json"));
    }
}
