//! Messages through the whole worker, beside a bare drain of the same queue in the same run.
//!
//! `scripts/bench` starts a broker and runs this. Each case runs in a process of its own, so that CPU time and peak
//! memory are its own; the bare drain comes before and after the others, so that a drifting machine shows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_precision_loss, reason = "a bench")]

#[path = "throughput/cases.rs"]
mod cases;
#[path = "throughput/usage.rs"]
mod usage;

use std::process::Command;

/// Messages per case; the captured corpus is repeated until there are about as many.
const MESSAGES: u64 = 100_000;
const ROUNDS: usize = 3;

fn main() {
    // `cargo bench` passes --bench; a case is named by the environment.
    match std::env::var("DIFYLOG_BENCH_CASE") {
        Ok(case) => tokio::runtime::Runtime::new().unwrap().block_on(cases::run(&case)),
        Err(_) => all(),
    }
}

fn all() {
    let messages = std::env::var("DIFYLOG_BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(MESSAGES);
    println!(
        "{messages} messages a case, {ROUNDS} rounds; medians of events/s, CPU µs per event of the consuming process, peak RSS"
    );
    println!("{:<34} {:>10} {:>12} {:>10} {:>12}", "case", "events/s", "CPU µs/event", "RSS MB", "of bare");
    for load in ["native", "celery"] {
        let mut bare_rate = 0.0;
        for case in ["bare", "counting", "sqlite"] {
            let mut results: Vec<usage::Result> =
                (0..ROUNDS).map(|_| child(&format!("{load} {case}"), messages)).collect();
            results.sort_by(|a, b| a.rate.total_cmp(&b.rate));
            let median = &results[ROUNDS / 2];
            if case == "bare" {
                bare_rate = median.rate;
            }
            println!(
                "{:<34} {:>10.0} {:>12.1} {:>10.1} {:>11.0}%",
                format!("{load}: {}", cases::describe(case)),
                median.rate,
                median.cpu_micros,
                median.rss_megabytes,
                median.rate / bare_rate * 100.0
            );
        }
    }
}

fn child(case: &str, messages: u64) -> usage::Result {
    let output = Command::new(std::env::current_exe().unwrap())
        .env("DIFYLOG_BENCH_CASE", case)
        .env("DIFYLOG_BENCH_MESSAGES", messages.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
    usage::Result::parse(&String::from_utf8(output.stdout).unwrap())
}
