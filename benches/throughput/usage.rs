//! What a process used, from Linux's own accounts.

use std::fs;
use std::time::Instant;

pub struct Result {
    pub rate: f64,
    pub cpu_micros: f64,
    pub rss_megabytes: f64,
}

impl Result {
    pub fn parse(text: &str) -> Self {
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        Self { rate: numbers[0], cpu_micros: numbers[1], rss_megabytes: numbers[2] }
    }
}

pub struct Meter {
    begin: Instant,
    cpu: f64,
}

impl Meter {
    pub fn start() -> Self {
        // Peak memory counts from here: what preparing the load took is not the consumer's.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self { begin: Instant::now(), cpu: cpu_seconds() }
    }

    /// Prints rate, CPU microseconds per event, and peak resident megabytes.
    pub fn report(&self, events: u64) {
        let rate = events as f64 / self.begin.elapsed().as_secs_f64();
        let cpu = (cpu_seconds() - self.cpu) * 1e6 / events as f64;
        println!("{rate} {cpu} {}", peak_megabytes());
    }
}

/// User and system time of this process; the kernel counts hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn peak_megabytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
