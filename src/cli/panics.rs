//! What a panic prints: where it happened and in which part of the process. The text of a panic may hold a piece of a payload
//! (a slice out of bounds prints the text that it was taken of, an unexpected error its cause), so it is printed only where
//! it is part of the program.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{Location, PanicHookInfo};

use super::output::complain;
use crate::telemetry::current_part;

/// Has every panic of this process printed so, on standard error.
pub(super) fn install() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let part = current_part().or_else(|| thread.name()).unwrap_or("a thread");
        complain!("difylog: {}", described(part, panic.location(), panic.payload()));
        // Names of functions and lines of sources, where the operator asks for them by RUST_BACKTRACE.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            complain!("{backtrace}");
        }
    }));
}

fn described(part: &str, location: Option<&Location<'_>>, payload: &dyn Any) -> String {
    let place = location.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let said = payload.downcast_ref::<&'static str>().map_or_else(String::new, |text| format!(": {text}"));
    format!("{part} panicked at {place}{said}; this is a defect: report it with this line")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    /// Says to the test, run again as a process of its own, what it has to panic with.
    const ROLE: &str = "DIFYLOG_TEST_PANIC";
    const NAME: &str = "cli::panics::tests::a_panic_names_its_part_and_place_and_no_payload";

    /// Returns a payload; foreign to the program.
    fn payload() -> String {
        std::env::var("DIFYLOG_TEST_PAYLOAD").unwrap()
    }

    fn panics(role: &str) {
        match role {
            "slice" => drop(payload().as_str()[1..].split_at(9_999).0.to_owned()),
            "index" => drop(payload()[..9_999].to_owned()),
            "serde" => drop(serde_json::from_str::<u8>(&format!("\"{}\"", payload())).unwrap()),
            "formatted" => panic!("cannot use {}", payload()),
            _ => panic!("a part of the program"),
        }
    }

    #[tokio::test]
    async fn a_panic_names_its_part_and_place_and_no_payload() {
        if let Ok(role) = std::env::var(ROLE) {
            super::install();
            let part = tokio::spawn(crate::telemetry::named("the flow", async move { panics(&role) }));
            assert!(part.await.unwrap_err().is_panic());
            return;
        }
        for role in ["slice", "index", "serde", "formatted", "static"] {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", NAME, "--nocapture"]).env(ROLE, role).env("DIFYLOG_TEST_PAYLOAD", "SECRET-text");
            let output = again.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{role}: {said}");
            assert!(said.contains("the flow panicked at ") && said.contains(".rs:"), "{role}: {said}");
            assert!(!said.contains("SECRET") && !said.contains("RUST_BACKTRACE"), "{role}: {said}");
            assert_eq!(said.contains("a part of the program"), role == "static", "{role}: {said}");
        }
    }
}
