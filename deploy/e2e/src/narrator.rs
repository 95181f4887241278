//! Prints a story: numbered steps, what was checked in each, and how it ended.

use std::{
    fmt::Display,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Tells the story as it happens.
pub struct Narrator<W> {
    out: W,
    coloured: bool,
    steps: usize,
    checks: usize,
    started: Instant,
}

impl<W: Write> Narrator<W> {
    /// Starts with a title.
    pub fn new(mut out: W, coloured: bool, title: &str) -> Result<Self> {
        writeln!(out, "\n{}", paint(coloured, "1", title))?;
        Ok(Self { out, coloured, steps: 0, checks: 0, started: Instant::now() })
    }

    /// Starts the next step.
    pub fn step(&mut self, title: impl Display) -> Result<()> {
        self.steps += 1;
        let title = paint(self.coloured, "1", &title.to_string());
        writeln!(self.out, "\n{:>2}. {title}", self.steps)?;
        Ok(self.out.flush()?)
    }

    /// Says what was checked, if it holds; else the story ends here.
    pub fn check(&mut self, holds: bool, what: impl Display) -> Result<()> {
        if !holds {
            writeln!(self.out, "    {} {what}", paint(self.coloured, "31", "✗"))?;
            bail!("this does not hold: {what}");
        }
        self.checks += 1;
        writeln!(self.out, "    {} {what}", paint(self.coloured, "32", "✓"))?;
        Ok(self.out.flush()?)
    }

    /// Says something that is no check.
    pub fn note(&mut self, what: impl Display) -> Result<()> {
        writeln!(self.out, "      {}", paint(self.coloured, "2", &what.to_string()))?;
        Ok(())
    }

    /// Ends the story well.
    pub fn finish(mut self) -> Result<()> {
        let took = seconds(self.started.elapsed());
        let line = format!("{} steps, {} checks, all passed in {took} s", self.steps, self.checks);
        writeln!(self.out, "\n{}\n", paint(self.coloured, "1;32", &line))?;
        Ok(self.out.flush()?)
    }
}

/// Milliseconds, for reading.
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

fn paint(coloured: bool, code: &str, text: &str) -> String {
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Narrator;

    #[test]
    fn a_story_ends_at_the_first_check_that_does_not_hold() {
        let mut out = Vec::new();
        let mut narrator = Narrator::new(&mut out, false, "A story").unwrap();
        narrator.step("Something happens").unwrap();
        narrator.check(true, "as it should").unwrap();
        assert!(narrator.check(false, "as it should not").is_err());
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains(" 1. Something happens\n    ✓ as it should\n    ✗ as it should not"), "{told}");
    }
}
