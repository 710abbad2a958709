"""Dify's own answers, recorded from Dify 1.10.1 and 1.12.1, asked of the repositories over a migrated database.

Every case whose answer comes from difylog is asked. An answer is equal, or differs for one of the reasons that the
repository's README names: rows of one timestamp, and keywords, which are compared with decoded text.
"""

import gzip
import json
import os
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
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

from conftest import REPOSITORY
from difylog_dify import patches, settings
from site_of_difylog import KEY, Site

CORPUS = REPOSITORY / "tests/corpus"
GOLDEN = json.loads(gzip.decompress((CORPUS / "golden.json.gz").read_bytes()))
PAYLOADS = ("graph", "inputs", "outputs", "process_data", "execution_metadata", "metadata")
# Python's tokens, and halves of surrogate pairs, are cleaned when they are stored.
CLEANED = ("NaN", "Infinity", "\\ud")


def cases(method: str) -> list[dict]:
    return [case for case in GOLDEN["cases"] if case["method"] == method]


@pytest.fixture(scope="module")
def site(rabbit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The sample database in a PostgreSQL, migrated, and an API over it."""
    folder = tmp_path_factory.mktemp("golden")
    server = REPOSITORY / "tests/servers/postgres.sh"
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)

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
        of_difylog = Site(folder, rabbit.url, more=more, before=("migrate",), roles=("serve",))
        yield of_difylog
        of_difylog.stop()
    finally:
        run(server, "stop", folder / "pg")


@pytest.fixture
def dify(site: Site, configure: Any, sessions: Any, patched: None) -> Any:
    configure(api_url=site.url, api_key=KEY, reads="difylog")
    patches.patch_log_page(service_module)
    return SimpleNamespace(
        runs=ElasticsearchAPIWorkflowRunRepository(session_maker=sessions),
        nodes=ElasticsearchAPIWorkflowNodeExecutionRepository(session_maker=sessions),
        sessions=sessions,
    )


def instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def assert_same_row(ours: Any, difys: dict | None, case: dict) -> None:
    if difys is None:
        assert ours is None, case["args"]
        return
    assert ours is not None, case["args"]
    for column, value in difys.items():
        found = getattr(ours, column) if hasattr(ours, column) else None
        if column in PAYLOADS:
            assert same_payload(found, value), (case["args"], column, found, value)
        elif isinstance(found, datetime):
            assert found == datetime.fromisoformat(value).replace(tzinfo=None), (case["args"], column)
        elif not column.endswith("_truncated") or hasattr(ours, column):
            assert found == value, (case["args"], column)


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


def test_pages_of_runs(dify: Any) -> None:
    outcomes: Counter[str] = Counter()
    for case in cases("get_paginated_workflow_runs"):
        try:
            page = dify.runs.get_paginated_workflow_runs(**case["args"])
        except ValueError as error:
            assert str(error) == case["error"]["message"]
            outcomes["error"] += 1
            continue
        ids = [row.id for row in page.data]
        if (ids, page.has_more) == (case["result"]["ids"], case["result"]["has_more"]):
            outcomes["equal"] += 1
        else:
            times = [row.created_at for row in page.data]
            assert case["dify"] == "1.10.1", case["args"]
            assert len(set(times)) < len(times) or case["chain"].startswith("ties/")
            outcomes["ties"] += 1
    assert outcomes["error"] == 3
    assert outcomes["equal"] > outcomes["ties"]


@pytest.mark.parametrize("method", ["get_workflow_run_by_id", "get_workflow_run_by_id_without_tenant"])
def test_single_runs(dify: Any, method: str) -> None:
    for case in cases(method):
        assert_same_row(getattr(dify.runs, method)(**case["args"]), case["result"], case)


@pytest.mark.parametrize("method", ["get_execution_by_id", "get_node_last_execution"])
def test_single_nodes(dify: Any, method: str) -> None:
    for case in cases(method):
        assert_same_row(getattr(dify.nodes, method)(**case["args"]), case["result"], case)


def test_the_nodes_of_a_run(dify: Any) -> None:
    for case in cases("get_executions_by_workflow_run"):
        ours = dify.nodes.get_executions_by_workflow_run(**case["args"])
        assert len(ours) == len(case["result"])
        difys = {row["id"]: row for row in case["result"]}
        if not case["ties"]:
            assert [row.id for row in ours] == list(difys)
        for row in ours:
            assert_same_row(row, difys[row.id], case)


def test_counts(dify: Any) -> None:
    asked = 0
    for case in cases("get_workflow_runs_count"):
        # The others count from the instant of the recording on.
        if case["args"]["time_range"] in (None, "", "bogus", "0s"):
            assert dify.runs.get_workflow_runs_count(**case["args"]) == case["result"], case["args"]
            asked += 1
    assert asked > 80


@pytest.mark.parametrize(
    ("method", "column"),
    [
        ("get_daily_runs_statistics", "runs"),
        ("get_daily_terminals_statistics", "terminal_count"),
        ("get_daily_token_cost_statistics", "token_count"),
        ("get_average_app_interaction_statistics", "interactions"),
    ],
)
def test_statistics(dify: Any, method: str, column: str) -> None:
    for case in cases(method):
        arguments = case["args"] | {name: instant(case["args"].get(name)) for name in ("start_date", "end_date")}
        expected = [
            {
                "date": day["date"],
                column: Decimal(day[column]["$decimal"]) if isinstance(day[column], dict) else day[column],
            }
            for day in case["result"]
        ]
        assert getattr(dify.runs, method)(**arguments) == expected, case["args"]
    assert dify.runs.asked == []


def test_the_log_page(dify: Any) -> None:
    outcomes: Counter[str] = Counter()
    with dify.sessions() as session:
        session.add_all([Account(id=one["id"], name="", email=one["email"]) for one in GOLDEN["meta"]["accounts"]])
        session.commit()
        for case in cases("get_paginate_workflow_app_logs"):
            outcomes[log_page_outcome(session, case)] += 1
    assert outcomes["equal"] > 120, outcomes
    assert outcomes["error"] == 3


def log_page_outcome(session: Any, case: dict) -> str:
    arguments = {name: value for name, value in case["args"].items() if name not in ("tenant_id", "app_id")}
    for name in ("created_at_before", "created_at_after"):
        arguments |= {name: instant(arguments[name])} if name in arguments else {}
    app = SimpleNamespace(id=case["args"]["app_id"], tenant_id=case["args"]["tenant_id"])
    try:
        found = service_module.WorkflowAppService().get_paginate_workflow_app_logs(
            session=session, app_model=app, **arguments
        )
    except ValueError as error:
        assert str(error) == case["error"]["message"]
        return "error"
    if "error" in case:
        # Where Dify crashes, both conditions hold.
        assert "DuplicateAlias" in case["error"]["message"]
        return "dify crashes"
    ids = [row.id for row in found["data"]]
    if found["total"] == case["result"]["total"]:
        assert found["has_more"] == case["result"]["has_more"]
        assert len(ids) == len(case["result"]["ids"])
        if ids == case["result"]["ids"]:
            return "equal"
        assert case["ties"], case["args"]
        return "ties"
    assert "keyword" in arguments, (case["args"], found["total"], case["result"]["total"])
    return "decoded search"


def test_domain_objects(dify: Any) -> None:
    for case in cases("core.get_by_workflow_run"):
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
    assert settings.current().asks_difylog


def test_whole_payloads(dify: Any) -> None:
    for case in cases("load_full"):
        row = dify.nodes.get_execution_by_id(**case["args"])
        for column, value in case["result"].items():
            whole = getattr(row, f"load_full_{column}", None)
            found = whole(None, None) if callable(whole) and column in _cut(row) else json.loads(getattr(row, column))
            assert found == value, (row.id, column)


def _cut(row: Any) -> set[str]:
    return {str(mark.type_) for mark in row.offload_data}


def test_the_corpus_is_where_it_was() -> None:
    assert Path(CORPUS / "golden.json.gz").exists()
    assert len(GOLDEN["cases"]) == 1017
