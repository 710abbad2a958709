//! `dlq`: a look at dead letters, and their replay or end.

use std::io::{self, BufRead, IsTerminal};
use std::num::NonZeroU32;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::output::{complain, overwrite, part, say, say_json, table};
use super::scope::instant;
use crate::amqp::dead_letter::{LetterCounts, masked, tenant_and_kind};
use crate::amqp::{DeadLetters, LetterSelection, LetterSummary, ListReport, ReplayPace, ReplayReport};
use crate::config::Loaded;
use crate::domain::{Kind, TenantId, Timestamp, printable};

/// Letters under one head of a table.
const ROWS: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// Count dead letters by reason, or list them
    List(LetterListArguments),
    /// Print one letter: its reason, its headers, a masked look at its body
    Show(ShowArguments),
    /// Put letters back on the queues they came from; only says what it would do, unless --execute
    Replay(ReplayArguments),
    /// Delete letters for good; asks for their number first
    Purge(PurgeArguments),
}

#[derive(Debug, Args)]
pub(super) struct Filter {
    #[arg(long)]
    tenant: Option<TenantId>,
    /// `workflow_run`, `node_execution`, `app_log` or `offload`
    #[arg(long)]
    kind: Option<Kind>,
    /// A reason class as `dlq list` shows it
    #[arg(long)]
    reason: Option<String>,
    /// Letters of this instant and later, ISO 8601
    #[arg(long, value_name = "DATE", value_parser = instant)]
    since: Option<Timestamp>,
    /// Letters before this instant, ISO 8601
    #[arg(long, value_name = "DATE", value_parser = instant)]
    until: Option<Timestamp>,
    /// Only what a replay would skip: messages that are no letters of the queues that the settings name
    #[arg(long)]
    doubtful: bool,
}

impl Filter {
    fn selection(&self) -> LetterSelection {
        LetterSelection {
            tenant: self.tenant,
            kind: self.kind,
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            doubtful: self.doubtful,
            hashes: Vec::new(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct LetterListArguments {
    #[command(flatten)]
    filter: Filter,
    /// One line per letter instead of counts
    #[arg(long)]
    letters: bool,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Its position, as `dlq list --letters` shows it
    position: u64,
    /// Print the body as it is: it is user data
    #[arg(long)]
    reveal: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    #[command(flatten)]
    filter: Filter,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// Letters per second at most
    #[arg(long)]
    rate: Option<NonZeroU32>,
    /// Letters at most
    #[arg(long)]
    limit: Option<u64>,
    /// Seconds to wait while the broker blocks publishers; then the exit code is 4
    #[arg(long, default_value_t = super::publish::WAIT_SECONDS)]
    wait: u64,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArguments {
    #[command(flatten)]
    filter: Filter,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(command: DlqCommand, loaded: &Loaded) -> Result<(), Failure> {
    let wait = match &command {
        DlqCommand::Replay(arguments) => arguments.wait,
        _ => 0,
    };
    let letters = DeadLetters::new(&loaded.settings.amqp, super::publish::patience(wait))?;
    let done = match command {
        DlqCommand::List(arguments) => list(&letters, &arguments).await,
        DlqCommand::Show(arguments) => show(&letters, &arguments).await,
        DlqCommand::Replay(arguments) => replay(&letters, &arguments).await,
        DlqCommand::Purge(arguments) => purge(&letters, &arguments).await,
    };
    letters.close().await;
    done
}

async fn list(letters: &DeadLetters, arguments: &LetterListArguments) -> Result<(), Failure> {
    let listed = if arguments.letters {
        list_letters(letters, arguments).await?
    } else {
        let mut reasons = LetterCounts::default();
        let selection = arguments.filter.selection();
        let listed =
            letters.list(&selection, &tenant_and_kind, &mut |found| reasons.add(&found.heading.reason)).await?;
        say_reasons(reasons, arguments.json);
        listed
    };
    if !arguments.json {
        say!("{} of {} letters", listed.selected, listed.walked);
    }
    Ok(())
}

/// Prints one letter a line, as they come: a queue may hold millions. A table has a head for every thousand.
async fn list_letters(letters: &DeadLetters, arguments: &LetterListArguments) -> Result<ListReport, Failure> {
    let head =
        || table(&["position", "reason", "attempts", "at", "queue", "tenant", "kind", "bytes", "detail", "doubt"]);
    let mut shown = head();
    let listed = letters
        .list(&arguments.filter.selection(), &tenant_and_kind, &mut |found| {
            if arguments.json {
                say_json!("{}", letter_json(&found));
                return;
            }
            shown.add_row(letter_row(&found));
            if shown.row_count() == ROWS {
                say!("{shown}");
                shown = head();
            }
        })
        .await?;
    if !arguments.json {
        say!("{shown}");
    }
    Ok(listed)
}

fn say_reasons(reasons: LetterCounts, json: bool) {
    let others = reasons.others();
    let mut shown = table(&["reason", "letters"]);
    for (reason, count) in reasons.most_first() {
        if json {
            say_json!("{}", json!({"reason": reason, "letters": count}));
        }
        shown.add_row([reason, count.to_string()]);
    }
    if others > 0 && json {
        say_json!("{}", json!({"reason": null, "letters": others}));
    } else if others > 0 {
        shown.add_row(["(more reasons)".to_owned(), others.to_string()]);
    }
    if !json {
        say!("{shown}");
    }
}

fn letter_json(found: &LetterSummary) -> serde_json::Value {
    let heading = &found.heading;
    json!({
        "position": found.position,
        "reason": heading.reason,
        "detail": heading.detail,
        "status": heading.status,
        "attempts": heading.attempts,
        "at": heading.at.map(|at| at.to_string()),
        "queue": heading.queue,
        "exchange": heading.exchange,
        "routing_key": heading.routing_key,
        "tenant": found.tenant.map(|tenant| tenant.to_string()),
        "kind": found.kind.map(Kind::as_str),
        "sha256": heading.sha256,
        "bytes": found.body_bytes,
        "left_out": heading.left_out,
        "doubt": found.doubt,
    })
}

fn letter_row(found: &LetterSummary) -> Vec<String> {
    let heading = &found.heading;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    vec![
        found.position.to_string(),
        heading.reason.clone(),
        heading.attempts.to_string(),
        or_dash(heading.at.map(|at| at.to_string())),
        or_dash(heading.queue.clone()),
        or_dash(found.tenant.map(|tenant| tenant.to_string())),
        or_dash(found.kind.map(|kind| kind.to_string())),
        found.body_bytes.to_string(),
        or_dash(heading.detail.clone()),
        found.doubt.clone().unwrap_or_default(),
    ]
}

async fn show(letters: &DeadLetters, arguments: &ShowArguments) -> Result<(), Failure> {
    let missing = || Failure::Other(format!("no letter at position {}", arguments.position));
    let shown = letters.show(arguments.position, &tenant_and_kind).await?.ok_or_else(missing)?;
    for (field, value) in letter_json(&shown.found).as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say!("{field}: {}", printable(&text));
    }
    say!("\nheaders and properties");
    for (name, value) in &shown.headers {
        say!("  {}: {}", printable(name), printable(value));
    }
    if arguments.reveal {
        say!("\nbody\n{}", String::from_utf8_lossy(&shown.body));
    } else {
        say!("\nbody, masked (--reveal prints it as it is)\n{}", masked(&shown.body));
    }
    Ok(())
}

async fn replay(letters: &DeadLetters, arguments: &ReplayArguments) -> Result<(), Failure> {
    let pace = ReplayPace { dry_run: !arguments.execute, rate: arguments.rate, limit: arguments.limit };
    let mut progress = |report: &ReplayReport| {
        if io::stderr().is_terminal() {
            overwrite(&format!("{} letters replayed", report.replayed));
        }
    };
    let report = letters.replay(&arguments.filter.selection(), pace, &tenant_and_kind, &mut progress).await?;
    if io::stderr().is_terminal() && report.replayed > 0 {
        complain!("");
    }
    say!("{} letters looked at, {} selected", report.walked, report.selected);
    if let Some((position, doubt)) = &report.doubt {
        let skipped = report.skipped;
        say!(
            "{skipped} are not to be replayed and stay (dlq list --letters --doubtful); the first, at {position}: {}",
            printable(doubt)
        );
    }
    if !arguments.execute {
        say!("{} would be replayed; nothing was changed (--execute does it)", report.selected - report.skipped);
        return Ok(());
    }
    say!("{} replayed", report.replayed);
    if report.refused > 0 {
        let named = report.complaints.iter().map(|(position, why)| format!("\n  at {position}: {}", printable(why)));
        let more = report.refused.saturating_sub(report.complaints.len() as u64);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        let named: String = named.collect();
        return Err(Failure::Other(format!("{} were not taken and stay:{named}{more}", report.refused)));
    }
    Ok(())
}

async fn purge(letters: &DeadLetters, arguments: &PurgeArguments) -> Result<(), Failure> {
    let selection = arguments.filter.selection();
    let selected = letters.list(&selection, &tenant_and_kind, &mut |_| {}).await?.selected;
    if selected == 0 {
        say!("no letter is selected");
        return Ok(());
    }
    if !arguments.yes {
        part(&format!("{selected} letters will be deleted for good. Type their number to go on: "));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != selected.to_string() {
            return Err(Failure::Other("nothing was deleted".into()));
        }
    }
    say!("{} letters deleted", letters.purge(&selection, &tenant_and_kind).await?);
    Ok(())
}
