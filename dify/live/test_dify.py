"""difylog beside a real Dify: what it writes, what it is answered, and what it notices of a broker that is away."""

import contextlib
import datetime
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg2
import pytest

import console as pages
from console import App, Console
from installation import Installation, answers, wait_for

AT_ONCE = 200
# Longest time from the end of a run to its place in the store; more for a machine that is busy otherwise.
FRESH_SECONDS = float(os.environ.get("DIFYLOG_LIVE_FRESH_SECONDS", "2"))


@pytest.fixture(scope="session")
def scene(installation: Installation) -> SimpleNamespace:
    """A workspace with a workflow app and a chat app, and another one with an app, in a Dify that publishes and reads
    PostgreSQL."""
    installation.start_dify(mode="shadow", reads="sql")
    owner = pages.first_console(installation)
    workflow, chat = owner.app("workflow", pages.WORKFLOW), owner.app("advanced-chat", pages.CHAT)
    theirs = pages.stranger(installation).app("workflow", pages.WORKFLOW)
    return SimpleNamespace(owner=owner, workflow=workflow, chat=chat, theirs=theirs, runs=[], cleaned="2001-01-01")


def rows(installation: Installation, statement: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(installation.postgres) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def ended_in_the_store(installation: Installation, app: App) -> int:
    """How many runs of an app have ended, as difylog tells."""
    path = f"tenants/{app.tenant}/apps/{app.id}/workflow-runs/count"
    answer = installation.stored(path, triggered_from="app-run")
    counts = answer.json() if answer.status_code == 200 else {}
    return sum(counts.get(status, 0) for status in ("succeeded", "failed", "stopped"))


def text(number: int) -> str:
    return f'number {number} 退款 "quoted"' + (" fail" if number % 5 == 0 else "")


def run_many(app: App, numbers: range, at_once: int) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda number: app.run(text(number), f"user-{number % 7}"), numbers))


def test_runs_are_in_the_store_within_two_seconds_and_equal_the_rows(
    installation: Installation, scene: SimpleNamespace
) -> None:
    done = run_many(scene.workflow, range(AT_ONCE), AT_ONCE)
    wait_for(lambda: ended_in_the_store(installation, scene.workflow) == AT_ONCE, FRESH_SECONDS)
    assert {run["status"] for run in done} == {"succeeded", "failed"}
    scene.runs = [run["id"] for run in done]
    # A single step, and its last run; a debugging run from the canvas; a chat.
    path = f"/apps/{scene.workflow.id}"
    step = scene.owner.post(f"{path}/workflows/draft/nodes/start/run", {"inputs": {"q": "a step"}})
    assert step["status"] == "succeeded"
    assert scene.owner.get(f"{path}/workflows/draft/nodes/start/last-run").json()["id"] == step["id"]
    scene.owner.post(f"{path}/workflows/draft/run", {"inputs": {"q": "from the canvas"}})
    for number in range(5):
        assert scene.chat.say(f"hello {number}", f"user-{number}")["answer"] == f"You said hello {number}"
    started = rows(installation, "SELECT status, count(*) FROM workflow_runs GROUP BY 1 ORDER BY 1")
    assert dict(started) == {"succeeded": 160 + 1 + 5, "failed": 40}
    retried = rows(installation, "SELECT max(index) FROM workflow_node_executions WHERE node_type = 'http-request'")
    assert retried[0][0] > 3, "a retry has an index of its own"
    wait_for(lambda: ended_in_the_store(installation, scene.chat) == 5, FRESH_SECONDS)
    wait_for(lambda: validates(installation), 60, every=1)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat()


def validates(installation: Installation, since: str = "2001-01-01", tenant: str = "") -> bool:
    """Whether `flask elasticsearch validate` finds PostgreSQL and the store equal, from an instant on."""
    report = str(installation.folder / "report.json")
    of_tenant = ["--tenant-id", tenant] if tenant else []
    try:
        installation.elasticsearch("validate", "--from", since, "--report", report, *of_tenant)
    except AssertionError:
        return False
    return True


def test_every_answer_is_the_same_after_cleanup(installation: Installation, scene: SimpleNamespace) -> None:
    scene.chat_runs = [row[0] for row in rows(installation, "SELECT id::text FROM workflow_runs WHERE type = 'chat'")]
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    some = [*scene.runs[:8], *[row[0] for row in rows(
        installation, "SELECT id::text FROM workflow_runs WHERE triggered_from = 'debugging'")]]  # fmt: skip

    def everything(console: Console, base: str) -> dict[str, Any]:
        found = {f"workflow {question}": answer for question, answer in
                 pages.questions(scene.workflow, console, some, day).items()}  # fmt: skip
        found |= {f"chat {question}": answer for question, answer in
                  pages.chat_questions(scene.chat, console, scene.chat_runs).items()}  # fmt: skip
        asked = pages.service_questions(scene.workflow, base, some)
        return found | {f"service API {question}": answer for question, answer in asked.items()}

    installation.start_dify()
    recorded = everything(scene.owner, installation.dify)
    assert sum(status == 200 for status, *_ in recorded.values()) > 100
    # SQLite has one writer; the broker keeps the worker's messages.
    installation.stop("worker")
    installation.elasticsearch("migrate")
    report = str(installation.folder / "report.json")
    before = now()
    installation.elasticsearch("validate", "--report", report)
    installation.elasticsearch("cleanup-pg", "--report", report, "--before", before, "--execute")
    left = rows(installation, "SELECT count(*) FROM workflow_runs WHERE type <> 'chat'")
    assert left == [(0,)]
    installation.start_worker()
    # Dify with the package.
    installation.start_dify(mode="shadow", reads="difylog", api_url=installation.difylog, api_key="key-of-the-tests")
    same(recorded, everything(scene.owner, installation.dify))
    # A plain Dify behind nginx and the bridge.
    installation.start_dify()
    installation.start_nginx()
    same(recorded, everything(scene.owner.at(installation.nginx), installation.nginx))


def same(recorded: dict[str, Any], found: dict[str, Any]) -> None:
    differing = [question for question in recorded if recorded[question] != found.get(question)]
    shown = "\n".join(
        f"{question}\n  was {recorded[question]!r:.900}\n  is  {found.get(question)!r:.900}"
        for question in differing[:12]
    )
    assert not differing, f"{len(differing)} of {len(recorded)} answers differ:\n{shown}"
    assert len(found) == len(recorded)


OUTAGE_SECONDS = 60
# At least so many runs, half of them before the broker goes.
RUNS_OVER_AN_OUTAGE = 1000
# How much longer a run may take with the package than beside it without; more for a machine that is busy otherwise.
MOST_MORE_SECONDS = float(os.environ.get("DIFYLOG_LIVE_MOST_MORE_SECONDS", "0.05"))


def spooled(installation: Installation) -> set[str]:
    """The runs whose end lies in the spool."""
    path = installation.spool / "events.db"
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT record_id FROM events WHERE kind = 'workflow_run' AND need = 0").fetchall()
    return {row[0] for row in found}


@dataclass(frozen=True)
class Pair:
    """One run with the package and one without, one after the other: when they began, and what each took in seconds."""

    began: float
    published: float
    plain: float


def one_pair(published: App, plain: App, number: int) -> Pair:
    began, took = time.monotonic(), {}
    apps = (published, plain) if number % 2 else (plain, published)
    for app in apps:
        done = app.run(f"number {number}", f"user-{number % 7}")
        assert done["status"] == "succeeded", done
        took[app] = done["elapsed_time"]
    return Pair(began, took[published], took[plain])


def told(pairs: list[Pair]) -> tuple[str, tuple[float, float]]:
    """What pairs took in a line, and by how much more with the package: median and 95th percentile, in seconds."""
    ranks = {}
    for name in ("published", "plain"):
        points = statistics.quantiles([getattr(pair, name) for pair in pairs], n=20)
        ranks[name] = (points[9], points[18])
    more = (ranks["published"][0] - ranks["plain"][0], ranks["published"][1] - ranks["plain"][1])
    shown = {name: " / ".join(f"{1000 * value:.1f}" for value in values) for name, values in ranks.items()}
    return f"{len(pairs)} pairs: {shown['published']} ms with the package, {shown['plain']} ms without", more


def test_a_broker_that_is_away_costs_no_run_anything_and_no_event(
    installation: Installation, scene: SimpleNamespace
) -> None:
    # Rows before it were cleaned up.
    since = scene.cleaned = now()
    installation.start_dify(mode="shadow", reads="sql")
    installation.start_plain_dify()
    published, plain = scene.workflow, scene.theirs.at(installation.plain)
    for number in range(4):
        one_pair(published, plain, number)  # what is made once per process
    span: list[float] = []

    def outage() -> None:
        installation.rabbit("kill")
        span.append(time.monotonic())
        time.sleep(OUTAGE_SECONDS)
        # The node takes the machine for itself while it starts.
        span.append(time.monotonic())
        installation.rabbit("start")

    def many(pool: ThreadPoolExecutor, numbers: range) -> list[Pair]:
        return list(pool.map(lambda number: one_pair(published, plain, number), numbers))

    with ThreadPoolExecutor(2) as pool:
        before = many(pool, range(RUNS_OVER_AN_OUTAGE // 2))
        away = threading.Thread(target=outage)
        away.start()
        during: list[Pair] = []
        while away.is_alive() or len(during) < RUNS_OVER_AN_OUTAGE // 2:
            during += many(pool, range(20))
        away.join()
    installation.stop("plain")
    without = [pair for pair in during if span[0] < pair.began < span[1] - 1]
    assert len(without) > 20, "too few runs fell into the outage"
    for name, pairs in (("before the outage", before), ("without a broker", without)):
        line, more = told(pairs)
        print(f"\n{name}, median / 95th percentile of {line}; load {os.getloadavg()[0]:.1f}")
        assert max(more) < MOST_MORE_SECONDS
    expected = dict(rows(installation, "SELECT status, count(*) FROM workflow_runs WHERE type <> 'chat' GROUP BY 1"))
    assert set(expected) == {"succeeded"}
    wait_for(lambda: not spooled(installation), 120, every=0.5)
    wait_for(lambda: validates(installation, since, scene.workflow.tenant), 300, every=1)


def test_what_lies_in_the_spool_survives_the_death_of_its_process(
    installation: Installation, scene: SimpleNamespace
) -> None:
    installation.rabbit("kill")
    ids = {run["id"] for run in run_many(scene.workflow, range(1, 31), 5)}
    wait_for(lambda: ids <= spooled(installation), 60)
    for worker in installation.dify_workers():
        os.kill(worker, signal.SIGKILL)
    installation.rabbit("start")
    # gunicorn has made another process; it drains the spool once it publishes anything.
    wait_for(lambda: answers(f"{installation.dify}/health"), 240)
    run_many(scene.workflow, range(1, 2), 1)
    wait_for(lambda: not spooled(installation), 120, every=0.5)
    wait_for(lambda: validates(installation, scene.cleaned, scene.workflow.tenant), 120, every=1)


def test_a_save_costs_dify_little(installation: Installation, scene: SimpleNamespace) -> None:
    done = subprocess.run(
        [installation.python, str(Path(__file__).with_name("cost.py")), scene.workflow.id, "500"],
        env=os.environ | installation.environment(mode="shadow", reads="sql") | {"PYTHONPATH": str(installation.api)},
        cwd=installation.api,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\ncost of a save in Dify's thread: {found}")
    assert found["median_ms"] < 0.3


def test_the_bridge_shows_nobody_another_workspaces_logs(installation: Installation, scene: SimpleNamespace) -> None:
    installation.start_dify(mode="shadow", reads="sql")
    owner, theirs = scene.owner.at(installation.nginx), scene.theirs
    run = theirs.run("a secret of theirs", "user-1")["id"]
    wait_for(lambda: ended_in_the_store(installation, theirs) == 1, FRESH_SECONDS)
    expired = owner.at(installation.nginx)
    # In the place of the valid one: beside it, Dify would take that.
    expired.client.cookies = httpx.Cookies(dict(owner.client.cookies) | {"access_token": "expired"})
    tails = (
        "workflow-runs?triggered_from=app-run", "workflow-runs/count?triggered_from=app-run", f"workflow-runs/{run}",
        f"workflow-runs/{run}/node-executions", "workflow-app-logs", "workflow/statistics/daily-conversations",
    )  # fmt: skip
    rng = random.Random(7)
    requests = int(os.environ.get("DIFYLOG_LIVE_STRANGERS", "1000"))
    for number in range(requests):
        if number == requests // 2:
            installation.stop("serve")
        app, asker = rng.choice((scene.workflow, theirs)), rng.choice((owner, expired))
        tail = rng.choice(tails)
        answer = asker.get(f"/apps/{app.id}/{tail}")
        assert "a secret of theirs" not in answer.text
        assert run not in answer.text
        expected = 401 if asker is expired else 404 if app is theirs else 200
        assert answer.status_code == expected, f"request {number}: {tail}: {answer.status_code}"
