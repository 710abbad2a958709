"""Dify's own answers, recorded from Dify 1.10.1 and 1.12.1, asked of the repositories over a migrated database.

Every case is asked, over SQLite and over a search engine. An answer is equal, or of a class that says why it is not.
"""

import gzip
import json
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import services.workflow_app_service as service_module
from core.repositories.elasticsearch_workflow_node_execution_repository import (
    ElasticsearchWorkflowNodeExecutionRepository,
)
from models import Account
from repositories.elasticsearch_api_workflow_node_execution_repository import (
    ElasticsearchAPIWorkflowNodeExecutionRepository,
)
from repositories.elasticsearch_api_workflow_run_repository import ElasticsearchAPIWorkflowRunRepository

from conftest import REPOSITORY, enterable
from difylog_dify import deletes, patches
from site_of_difylog import KEY, Site

CORPUS = REPOSITORY / "tests/corpus"
GOLDEN = json.loads(gzip.decompress((CORPUS / "golden.json.gz").read_bytes()))
PAYLOADS = ("graph", "inputs", "outputs", "process_data", "execution_metadata", "metadata")
# Python's tokens, and halves of surrogate pairs, are cleaned when they are stored.
CLEANED = ("NaN", "Infinity", "\\ud")


# Dify's code for these stays, over PostgreSQL: what only it has, and what its own jobs walk through.
OF_POSTGRESQL = {
    "count_by_runs", "count_runs_with_related", "create_archive_logs", "delete_expired_executions",
    "get_app_logs_by_run_id", "get_archived_run_ids", "get_by_run", "get_expired_executions_batch",
    "get_expired_runs_batch", "get_offloads_by_execution_ids", "get_paginate_workflow_archive_logs",
    "get_runs_batch_by_time_range",
}  # fmt: skip
# How many of the 1,017 come out how.
OUTCOMES = {
    "equal": 940,
    # Rows of one timestamp have no order in Dify, and its 1.10 pages lose some of them.
    "ties": 22,
    # Keywords are compared with decoded text.
    "decoded search": 21,
    # Dify crashes on a keyword together with a session id; here both conditions hold.
    "dify crashes": 1,
    # Rows of pauses and triggers that go with a run are counted by PostgreSQL alone.
    "counted by postgresql": 1,
    "of postgresql": 23,
    # Dify's HTTP layer over these repositories: dify/live asks it of a real one.
    "asked over http": 9,
}


@pytest.fixture(scope="module", params=["sqlite", "engine"])
def site(
    request: pytest.FixtureRequest, rabbit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The sample database in a PostgreSQL, migrated, and an API over it, by whose clock it is the recording's day."""
    engine = request.getfixturevalue("engine") if request.param == "engine" else None
    folder = tmp_path_factory.mktemp("golden")
    server = REPOSITORY / "tests/servers/postgres.sh"
    enterable(folder)

    def run(*command: object, given: bytes | None = None) -> str:
        done = subprocess.run([str(part) for part in command], capture_output=True, input=given, timeout=240)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    found = run(server, "start", folder / "pg")
    url = next(line for line in found.splitlines() if line.startswith("PG_URL=")).split("=", 1)[1].strip("'\"")
    try:
        run("psql", "-qX", url, "-f", CORPUS / "dify_pg_schema.sql")
        run("psql", "-qX", url, given=gzip.decompress((CORPUS / "dify_pg_sample.sql.gz").read_bytes()))
        with tarfile.open(CORPUS / "storage_sample.tar.gz") as archive:
            archive.extractall(folder / "storage", filter="data")
        more = f'names = true\n[postgres]\nurl = "{url}"\n[migrate]\ndify_storage_dir = "{folder}/storage"'
        store = engine.store() if engine else None
        of_difylog = Site(
            folder, rabbit.url, more=more, before=("migrate",), roles=("serve",), store=store, clock=GOLDEN["as_of"]
        )
        yield of_difylog
        of_difylog.stop()
    finally:
        run(server, "stop", folder / "pg")


@pytest.fixture
def dify(site: Site, configure: Any, sessions: Any, patched: None) -> Any:
    configure(api_url=site.url, api_key=KEY, reads="difylog", api_timeout_seconds="60")
    patches.patch_log_page(service_module)
    with sessions() as session:
        session.add_all([Account(id=one["id"], name="", email=one["email"]) for one in GOLDEN["meta"]["accounts"]])
        session.commit()
        yield SimpleNamespace(
            runs=ElasticsearchAPIWorkflowRunRepository(session_maker=sessions),
            nodes=ElasticsearchAPIWorkflowNodeExecutionRepository(session_maker=sessions),
            sessions=sessions,
            session=session,
            owners={},
        )


def test_every_recorded_answer(dify: Any) -> None:
    outcomes: Counter[str] = Counter()
    # In the order of the recording: the last ones delete.
    for number, case in enumerate(GOLDEN["cases"]):
        try:
            outcomes[outcome(dify, case)] += 1
        except Exception as error:
            raise AssertionError(f"case {number}, {case['method']} {str(case['args'])[:600]}: {error}") from error
    assert outcomes == OUTCOMES
    assert outcomes.total() == 1017


def outcome(dify: Any, case: dict) -> str:
    method, arguments = case["method"], case["args"]
    if method in OF_POSTGRESQL:
        return "of postgresql"
    if method.startswith("http:"):
        return "asked over http"
    if method in STATISTICS:
        return statistic(dify, case)
    if method in ASKED:
        return ASKED[method](dify, case)
    of = dify.runs if hasattr(dify.runs, method) else dify.nodes
    same_row(getattr(of, method)(**arguments), case["result"])
    return "equal"


def instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def same_row(ours: Any, difys: dict | None) -> None:
    assert (ours is None) == (difys is None)
    for column, value in (difys or {}).items():
        found = getattr(ours, column) if hasattr(ours, column) else None
        if column in PAYLOADS:
            assert same_payload(found, value), column
        elif isinstance(found, datetime):
            assert found == datetime.fromisoformat(value).replace(tzinfo=None), column
        elif not column.endswith("_truncated") or hasattr(ours, column):
            assert found == value, column


def same_payload(ours: Any, difys: Any) -> bool:
    def value(payload: Any) -> Any:
        if not isinstance(payload, str):
            return payload or None
        try:
            return json.loads(payload) if payload else None
        except ValueError:
            return payload

    if isinstance(difys, str) and any(token in difys for token in CLEANED):
        return True
    return value(ours) == value(difys) or (not value(ours) and not value(difys))


def page_of_runs(dify: Any, case: dict) -> str:
    try:
        page = dify.runs.get_paginated_workflow_runs(**case["args"])
    except ValueError as error:
        assert str(error) == case["error"]["message"]
        return "equal"
    if ([row.id for row in page.data], page.has_more) == (case["result"]["ids"], case["result"]["has_more"]):
        return "equal"
    times = [row.created_at for row in page.data]
    assert case["dify"] == "1.10.1"
    assert len(set(times)) < len(times) or case["chain"].startswith("ties/")
    return "ties"


def nodes_of_run(dify: Any, case: dict) -> str:
    ours = dify.nodes.get_executions_by_workflow_run(**case["args"])
    difys = {row["id"]: row for row in case["result"]}
    assert len(ours) == len(difys)
    for row in ours:
        same_row(row, difys[row.id])
    if [row.id for row in ours] == list(difys):
        return "equal"
    assert case["ties"]
    return "ties"


def counts(dify: Any, case: dict) -> str:
    assert dify.runs.get_workflow_runs_count(**case["args"]) == case["result"]
    return "equal"


# Method -> the column of its days.
STATISTICS = {
    "get_daily_runs_statistics": "runs",
    "get_daily_terminals_statistics": "terminal_count",
    "get_daily_token_cost_statistics": "token_count",
    "get_average_app_interaction_statistics": "interactions",
}


def statistic(dify: Any, case: dict) -> str:
    column, arguments = STATISTICS[case["method"]], case["args"]
    arguments = arguments | {name: instant(arguments.get(name)) for name in ("start_date", "end_date")}

    def value(day: dict) -> Any:
        return Decimal(day[column]["$decimal"]) if isinstance(day[column], dict) else day[column]

    dify.runs.asked.clear()
    expected = [{"date": day["date"], column: value(day)} for day in case["result"]]
    assert getattr(dify.runs, case["method"])(**arguments) == expected
    assert dify.runs.asked == [], "PostgreSQL was asked"
    return "equal"


def log_page(dify: Any, case: dict) -> str:
    arguments = {name: value for name, value in case["args"].items() if name not in ("tenant_id", "app_id")}
    for name in ("created_at_before", "created_at_after"):
        arguments |= {name: instant(arguments[name])} if name in arguments else {}
    app = SimpleNamespace(id=case["args"]["app_id"], tenant_id=case["args"]["tenant_id"])
    try:
        found = service_module.WorkflowAppService().get_paginate_workflow_app_logs(
            session=dify.session, app_model=app, **arguments
        )
    except ValueError as error:
        assert str(error) == case["error"]["message"]
        return "equal"
    if "error" in case:
        assert "DuplicateAlias" in case["error"]["message"]
        return "dify crashes"
    ids = [row.id for row in found["data"]]
    if found["total"] == case["result"]["total"]:
        assert found["has_more"] == case["result"]["has_more"]
        assert len(ids) == len(case["result"]["ids"])
        if ids == case["result"]["ids"]:
            return "equal"
        assert case["ties"]
        return "ties"
    assert "keyword" in arguments, (found["total"], case["result"]["total"])
    return "decoded search"


def domain_objects(dify: Any, case: dict) -> str:
    arguments = case["args"]
    user = Account(id="0", name="", email="")
    user.current_tenant_id = arguments["tenant_id"]
    repository = ElasticsearchWorkflowNodeExecutionRepository(
        session_factory=dify.sessions, user=user, app_id=arguments["app_id"], triggered_from="workflow-run"
    )
    order = SimpleNamespace(order_by=arguments.get("order_by"), order_direction=arguments.get("order_direction"))
    ours = repository.get_by_workflow_run(arguments["workflow_run_id"], order)
    difys = {row["id"]: row for row in case["result"]}
    assert sorted(entity.id for entity in ours) == sorted(difys)
    if order.order_by == ["index"]:
        assert [entity.index for entity in ours] == [row["index"] for row in case["result"]]
    for entity in ours:
        for column in ("inputs", "outputs", "process_data"):
            assert same_payload(getattr(entity, column), difys[entity.id][column]), (entity.id, column)
    return "equal"


def whole_payloads(dify: Any, case: dict) -> str:
    row = dify.nodes.get_execution_by_id(**case["args"])
    cut = {str(mark.type_) for mark in row.offload_data}
    for column, value in case["result"].items():
        whole = getattr(row, f"load_full_{column}", None)
        found = whole(None, None) if callable(whole) and column in cut else json.loads(getattr(row, column))
        assert found == value, (row.id, column)
    return "equal"


def delete_with_related(dify: Any, case: dict) -> str:
    # The rows of a first call are those of the next, when they are gone.
    for run_id in case["args"]["run_ids"]:
        if run_id not in dify.owners:
            dify.owners[run_id] = dify.runs.get_workflow_run_by_id_without_tenant(run_id).tenant_id
    rows = [SimpleNamespace(id=run_id, tenant_id=dify.owners[run_id]) for run_id in case["args"]["run_ids"]]
    assert deletes.of_rows(rows, related=True) == case["result"]["runs"]
    for row in rows:
        assert dify.runs.get_workflow_run_by_id_without_tenant(row.id) is None
    return "counted by postgresql" if case["result"]["pauses"] else "equal"


def delete_runs_by_ids(dify: Any, case: dict) -> str:
    assert dify.runs.delete_runs_by_ids(case["args"]["run_ids"]) == case["result"]
    return "equal"


def delete_of_app(dify: Any, case: dict) -> str:
    of = dify.runs if case["method"] == "delete_runs_by_app" else dify.nodes
    assert getattr(of, case["method"])(**case["args"]) == case["result"]
    return "equal"


ASKED = {
    "get_paginated_workflow_runs": page_of_runs,
    "get_executions_by_workflow_run": nodes_of_run,
    "get_workflow_runs_count": counts,
    "get_paginate_workflow_app_logs": log_page,
    "core.get_by_workflow_run": domain_objects,
    "load_full": whole_payloads,
    "delete_runs_with_related": delete_with_related,
    "delete_runs_by_ids": delete_runs_by_ids,
    "delete_runs_by_app": delete_of_app,
    "delete_executions_by_app": delete_of_app,
}
