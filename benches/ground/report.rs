//! The results: a table for people and JSON for programs, both holding the newest figure of every row.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Ground;
use super::rows::{Benchmark, Figure, Row, Wanted, quantile};

/// What is known of all rows, earlier runs included.
pub struct Report {
    benchmark: &'static Benchmark,
    directory: PathBuf,
    rows: Map<String, Value>,
    machine: Value,
}

impl Report {
    /// Takes up the results of earlier runs.
    pub fn read(benchmark: &'static Benchmark, directory: &Path, ground: &Ground) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let earlier = fs::read(directory.join(benchmark.file).with_extension("json")).ok();
        let earlier: Option<Value> = earlier.and_then(|text| serde_json::from_slice(&text).ok());
        let rows = earlier.and_then(|all| all["rows"].as_object().cloned()).unwrap_or_default();
        Ok(Self { benchmark, directory: directory.to_owned(), rows, machine: machine(ground) })
    }

    /// Takes down the figures of one measurement.
    pub fn add(&mut self, measurement: &str, figures: Vec<Figure>) {
        for figure in figures {
            let row = self.row(figure.row);
            let value = row.statistic.of(&figure.samples);
            let verdict = row.wanted.verdict(value);
            eprintln!("  {:55} {} {} ({verdict})", row.what, shown(value), row.unit);
            self.rows.insert(
                row.id.into(),
                json!({
                    "what": row.what,
                    "measurement": measurement,
                    "unit": row.unit,
                    "wanted": wanted(&row.wanted),
                    "statistic": row.statistic.name(),
                    "value": value,
                    "verdict": verdict,
                    "median": quantile(&figure.samples, 0.5),
                    "p25": quantile(&figure.samples, 0.25),
                    "samples": figure.samples,
                    "beside": figure.beside,
                    "machine": self.machine,
                }),
            );
        }
    }

    /// Takes down that a measurement could not be made: its rows then have a reason and no figure.
    pub fn failed(&mut self, measurement: &str, error: &anyhow::Error) {
        eprintln!("  failed: {error:#}");
        for row in self.benchmark.rows.iter().filter(|row| row.measurement == measurement) {
            let failure = json!({ "what": row.what, "verdict": "failed", "reason": format!("{error:#}") });
            self.rows.insert(row.id.into(), failure);
        }
    }

    /// Writes both files.
    pub fn write(&self) -> anyhow::Result<()> {
        let all = json!({ "schema": 1, "rows": self.rows });
        let file = self.directory.join(self.benchmark.file);
        fs::write(file.with_extension("json"), serde_json::to_string_pretty(&all)? + "\n")?;
        fs::write(file.with_extension("md"), self.table())?;
        Ok(())
    }

    fn row(&self, id: &str) -> &'static Row {
        self.benchmark.rows.iter().find(|row| row.id == id).expect("every figure names a row of the table")
    }

    fn table(&self) -> String {
        let mut table = (self.benchmark.introduction)(&self.machine);
        table.push_str("| what | must | stretch | measured | median | p25 | verdict | native and more |\n|---|---|---|---|---|---|---|---|\n");
        for row in self.benchmark.rows {
            let result = self.rows.get(row.id).unwrap_or(&Value::Null);
            table.push_str(&line(row, result));
        }
        table
    }
}

fn line(row: &Row, result: &Value) -> String {
    let (must, stretch) = limits(&row.wanted);
    let figure = |name: &str| result[name].as_f64().map_or("-".into(), shown);
    let verdict = result["verdict"].as_str().unwrap_or("not measured");
    let beside = result["reason"]
        .as_str()
        .map_or_else(|| beside(&result["beside"]), |reason| first_line(reason).into());
    format!(
        "| {} | {must} | {stretch} | {} {} ({}) | {} | {} | {verdict} | {beside} |\n",
        row.what,
        figure("value"),
        row.unit,
        row.statistic.name(),
        figure("median"),
        figure("p25"),
    )
}

/// The figures beside a row in one cell: `name figure`, those of a group in brackets.
fn beside(value: &Value) -> String {
    let Some(figures) = value.as_object() else { return String::new() };
    let cells = figures.iter().filter(|(_, figure)| !figure.is_null()).map(|(name, figure)| {
        let name = name.replace('_', " ");
        match figure {
            Value::Object(_) => format!("{name} ({})", beside(figure)),
            Value::Number(number) => format!("{name} {}", shown(number.as_f64().unwrap_or(f64::NAN))),
            Value::Array(texts) if texts.is_empty() => String::new(),
            other => format!("{name} {}", other.to_string().replace(['|', '\n'], " ")),
        }
    });
    cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(", ")
}

fn limits(wanted: &Wanted) -> (String, String) {
    match wanted {
        Wanted::AtMost(must, stretch) => (
            format!("<= {}", shown(*must)),
            stretch.map_or("-".into(), |stretch| format!("<= {}", shown(stretch))),
        ),
        Wanted::AtLeast(must) => (format!(">= {}", shown(*must)), "-".into()),
        Wanted::Nothing => ("-".into(), "-".into()),
    }
}

fn wanted(wanted: &Wanted) -> Value {
    match wanted {
        Wanted::AtMost(must, stretch) => json!({ "at_most": must, "stretch": stretch }),
        Wanted::AtLeast(must) => json!({ "at_least": must }),
        Wanted::Nothing => Value::Null,
    }
}

/// Three digits that say something.
fn shown(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn machine(ground: &Ground) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "load": read("/proc/loadavg"),
        "python": ground.workload["version"],
        "packages": ground.workload["packages"],
        "entries": ground.workload["entries"],
        "import": ground.import,
    })
}
