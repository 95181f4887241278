//! The table of what was promised and what was measured.

use std::{fmt::Write as _, io::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{Plan, machine, stats::Ratio};

/// Rows, in the order in which they were measured.
pub(crate) struct Report {
    plan: Plan,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// A line of the table.
struct Row {
    what: String,
    target: String,
    measured: String,
    reached: Option<bool>,
}

impl Report {
    /// An empty table.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { plan: *plan, rows: Vec::new(), notes: Vec::new() }
    }

    /// A promise: a number that has to be at least `target`.
    pub(crate) fn at_least(&mut self, what: &str, target: f64, unit: &str, number: f64) -> Result<()> {
        let (shown, wanted) = (short(number), short(target));
        self.row(what, format!(">= {wanted}{unit}"), format!("{shown}{unit}"), Some(number >= target))
    }

    /// A promise: a number that has to be at most `target`.
    pub(crate) fn at_most(&mut self, what: &str, target: f64, unit: &str, number: f64) -> Result<()> {
        let (shown, wanted) = (short(number), short(target));
        self.row(what, format!("<= {wanted}{unit}"), format!("{shown}{unit}"), Some(number <= target))
    }

    /// A promise: a ratio that has to be at least `target`.
    pub(crate) fn ratio_at_least(&mut self, what: &str, target: f64, ratio: Ratio) -> Result<()> {
        self.row(what, format!(">= {target}"), spelled(ratio), Some(ratio.median >= target))
    }

    /// A promise: a ratio that has to be at most `target`.
    pub(crate) fn ratio_at_most(&mut self, what: &str, target: f64, ratio: Ratio) -> Result<()> {
        self.row(what, format!("<= {target}"), spelled(ratio), Some(ratio.median <= target))
    }

    /// A promise: a duration that has to be below `target`.
    pub(crate) fn below(&mut self, what: &str, target: Duration, duration: Duration) -> Result<()> {
        self.row(what, format!("< {target:?}"), format!("{duration:?}"), Some(duration < target))
    }

    /// A promise: a count that has to be nothing.
    pub(crate) fn none(&mut self, what: &str, count: usize) -> Result<()> {
        self.row(what, "0".to_owned(), count.to_string(), Some(count == 0))
    }

    /// A number that stands beside the promises.
    pub(crate) fn beside(&mut self, what: &str, measured: impl Into<String>) -> Result<()> {
        self.row(what, String::new(), measured.into(), None)
    }

    /// A part that broke off is a line of the table, so that the others are not lost with it.
    pub(crate) fn or_failed(&mut self, part: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => self.row(part, "measured".to_owned(), format!("broke off: {error:#}"), Some(false)),
        }
    }

    /// A sentence below the table.
    pub(crate) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> Result<String> {
        let mut text = String::from("| what | target | measured | reached |\n|---|---|---|---|\n");
        for Row { what, target, measured, reached } in &self.rows {
            let reached = match reached {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            writeln!(text, "| {what} | {target} | {measured} | {reached} |")?;
        }
        Ok(text)
    }

    /// Prints the table.
    pub(crate) fn print(&self) -> Result<()> {
        Ok(write!(std::io::stdout(), "\n{}{}", self.markdown()?, self.footer()?)?)
    }

    /// Writes the table to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = format!(
            "# Results\n\nWritten by `make bench`. {}. Load tool and databases run on the same machine.\n\n{}{}",
            machine::description(),
            self.markdown()?,
            self.footer()?
        );
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn footer(&self) -> Result<String> {
        let Plan { slice, rounds, tokens, .. } = self.plan;
        let mut text = format!(
            "\nRatios are medians of {rounds} rounds of {slice:?} slices, taken in turn and divided within their round; in brackets \
             the interval that holds 95 % of the resampled medians. {tokens} distinct tokens.\n"
        );
        for note in &self.notes {
            writeln!(text, "{note}")?;
        }
        Ok(text)
    }

    fn row(&mut self, what: &str, target: String, measured: String, reached: Option<bool>) -> Result<()> {
        writeln!(std::io::stderr(), "  {what}: {measured} {target}")?;
        self.rows.push(Row { what: what.to_owned(), target, measured, reached });
        Ok(())
    }
}

/// Three digits are enough of a measurement.
pub(crate) fn short(number: f64) -> String {
    match number {
        number if number >= 100.0 => format!("{number:.0}"),
        number if number >= 1.0 => format!("{number:.2}"),
        number => format!("{number:.3}"),
    }
}

/// A median and its interval.
pub(crate) fn spelled(ratio: Ratio) -> String {
    format!("{} [{}, {}]", short(ratio.median), short(ratio.low), short(ratio.high))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Report;
    use crate::Plan;

    #[test]
    fn a_missed_promise_is_seen() {
        let mut report = Report::new(&Plan { slice: Duration::from_secs(1), rounds: 1, tokens: 1, depth: 1 });
        report.at_least("speed", 50_000.0, "/s", 49_000.4).unwrap();
        report.below("wait", Duration::from_millis(1), Duration::from_micros(3)).unwrap();
        let table = report.markdown().unwrap();
        assert!(table.contains("| speed | >= 50000/s | 49000/s | **no** |"), "{table}");
        assert!(table.contains("| wait | < 1ms | 3µs | yes |"), "{table}");
    }
}
