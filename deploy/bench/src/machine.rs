//! What the machine is, and what a process used of it.

use std::time::Duration;

use anyhow::{Context, Result};

/// `USER_HZ`, which Linux fixes for `/proc` on every architecture that we run on.
const TICKS_PER_SECOND: u32 = 100;

/// CPU time of a process so far, all its threads together.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/…/stat is of another form")?;
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().context("/proc/…/stat is of another form"))
        .sum::<Result<u32>>()?;
    Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
}

/// Cores and processor.
pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |model| model.trim_start_matches([' ', '\t', ':']));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|total| total.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    format!("{cores} cores of {model}, {} GiB of memory", kibibytes / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_knows_its_own_cpu_time() {
        assert!(super::cpu_time(std::process::id()).is_ok());
        assert!(super::cpu_time(u32::MAX).is_err());
    }
}
