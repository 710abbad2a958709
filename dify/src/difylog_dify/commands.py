"""`flask elasticsearch …`: the migration of existing rows, with the settings of the Dify it runs in.

The work is done by the program `difylog`; its options are `difylog migrate --help` and so on. Exit codes are its own.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from difylog_dify import binary

Command = TypeVar("Command", bound=Callable[..., Any])

KINDS = {
    "runs": "runs", "nodes": "nodes", "app-logs": "app-logs", "offloads": "offloads",
    "workflow_runs": "runs", "node_executions": "nodes", "app_logs": "app-logs",
}  # fmt: skip


def instant(value: str) -> str:
    """Returns a day or an instant (UTC) as ISO 8601 without an offset."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value}: expected such as 2025-12-01 or 2025-12-01T00:00:00") from None
    if found.tzinfo is not None:
        raise click.BadParameter("give UTC, without an offset")
    return found.isoformat()


def _options(*, tables: bool) -> Callable[[Command], Command]:
    shared = [
        click.option("--tenant-id", "tenants", multiple=True, type=click.UUID, help="Only this tenant; repeatable."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    ]
    if tables:
        shared += [
            click.option("--from", "--start-date", "start", type=instant, help="Only rows created then or later."),
            click.option("--to", "--end-date", "end", type=instant, help="Only rows created before."),
            click.option("--kind", "--data-type", "kinds", multiple=True, type=click.Choice(list(KINDS)),
                         help="Which tables; all without it. Repeatable."),
        ]  # fmt: skip

    def add(command: Command) -> Command:
        for option in reversed(shared):
            command = option(command)
        return command

    return add


def _shared(tenants: Sequence[Any], as_json: bool, start: str | None = None, end: str | None = None,
            kinds: Sequence[str] = ()) -> list[str]:  # fmt: skip
    arguments = [part for tenant in tenants for part in ("--tenant-id", str(tenant))]
    arguments += ["--from", start] if start else []
    arguments += ["--to", end] if end else []
    if names := sorted({KINDS[kind] for kind in kinds}):
        arguments += ["--kind", ",".join(names)]
    return arguments + (["--json"] if as_json else [])


@click.group()
def elasticsearch() -> None:
    """Workflow logs in difylog: copy, compare, clean up, look."""


@elasticsearch.command()
@_options(tables=True)
@click.option("--dry-run", is_flag=True, help="Count and check everything; write nothing.")
@click.option("--batch-size", type=click.IntRange(1, 100_000), help="Rows of a chunk.")
@click.option("--rate", type=click.IntRange(min=1), help="Rows a second at most.")
@click.option("--restart", is_flag=True, help="Begin with the first row again.")
@click.option("--follow", is_flag=True, help="Then go on with what is new, until stopped.")
def migrate(
    dry_run: bool, batch_size: int | None, rate: int | None, restart: bool, follow: bool, **shared: Any
) -> None:
    """Copies the rows of Dify's PostgreSQL. Goes on where it ended."""
    flags = {"--dry-run": dry_run, "--restart": restart, "--follow": follow}
    arguments = ["migrate", *_shared(**shared), *(flag for flag, is_set in flags.items() if is_set)]
    arguments += ["--batch-size", str(batch_size)] if batch_size else []
    arguments += ["--rate", str(rate)] if rate else []
    binary.execute(arguments)


@elasticsearch.command()
@_options(tables=True)
@click.option("--sample", type=click.IntRange(1, 1_000_000), help="Only so many rows of each table, at random.")
@click.option("--report", default="difylog-validation.json", show_default=True, help="File for the report.")
def validate(sample: int | None, report: str, **shared: Any) -> None:
    """Compares PostgreSQL with difylog. Exit code 1: they differ."""
    arguments = ["validate", *_shared(**shared), "--report", report]
    arguments += ["--sample", str(sample)] if sample else []
    binary.execute(arguments)


@elasticsearch.command("cleanup-pg")
@_options(tables=False)
@click.option("--report", default="difylog-validation.json", show_default=True, help="A fresh report of `validate`.")
@click.option("--before", "--end-date", "before", type=instant, required=True, help="Only runs created before.")
@click.option("--batch-size", type=click.IntRange(1, 100_000), help="Runs of a transaction.")
@click.option("--rate", type=click.IntRange(min=1), help="Rows a second at most.")
@click.option("--execute/--dry-run", default=False, help="Delete, or say what would be deleted (the default).")
def cleanup_pg(
    report: str, before: str, batch_size: int | None, rate: int | None, execute: bool, **shared: Any
) -> None:
    """Deletes from PostgreSQL what the report has proved to be in difylog."""
    arguments = ["cleanup-pg", *_shared(**shared), "--report", report, "--before", before]
    arguments += ["--batch-size", str(batch_size)] if batch_size else []
    arguments += ["--rate", str(rate)] if rate else []
    binary.execute([*arguments, *(["--execute"] if execute else [])])


@elasticsearch.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Shows what is stored, the migrations and the queues. `difylog-dify doctor` looks at Dify's side."""
    binary.execute(["status", *(["--json"] if as_json else [])])
