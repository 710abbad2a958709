"""Versions of Dify without class paths: their modules are patched where they are as known."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from core.entities import Status
from core.repositories.sqlalchemy_workflow_execution_repository import SQLAlchemyWorkflowExecutionRepository
from models.workflow import WorkflowRun

from conftest import APP, START, TENANT, Collector, Scripted, node_answer
from difylog_dify import patches, records
from difylog_dify.repositories import api_node
from test_log_page import PATH, answer, log
from test_reads import lines
from test_repositories import URL, nodes, run, runs, stored

pytestmark = pytest.mark.usefixtures("patched")

WRITERS = """
from core.repositories.sqlalchemy_workflow_execution_repository import SQLAlchemyWorkflowExecutionRepository
from core.repositories.sqlalchemy_workflow_node_execution_repository import SQLAlchemyWorkflowNodeExecutionRepository

def create_workflow_execution_repository(session_factory, tenant_id, user, app_id, triggered_from):
    return SQLAlchemyWorkflowExecutionRepository(session_factory, user, app_id, triggered_from)

def create_workflow_node_execution_repository(session_factory, tenant_id, user, app_id, triggered_from):
    return SQLAlchemyWorkflowNodeExecutionRepository(session_factory, user, app_id, triggered_from)
"""
STORAGE = """
from repositories.sqlalchemy_api_workflow_node_execution_repository import (
    DifyAPISQLAlchemyWorkflowNodeExecutionRepository,
)
from repositories.sqlalchemy_api_workflow_run_repository import DifyAPISQLAlchemyWorkflowRunRepository

def create_api_workflow_run_repository(session_maker):
    return DifyAPISQLAlchemyWorkflowRunRepository(session_maker)

def create_api_workflow_node_execution_repository(session_maker):
    return DifyAPISQLAlchemyWorkflowNodeExecutionRepository(session_maker)
"""


def module(source: str) -> ModuleType:
    found = ModuleType("stand_in")
    exec(source, vars(found))  # noqa: S102 - the text above
    return found


def test_the_relational_storage_becomes_the_package_s(
    configure: Callable[..., Any], sessions: Any, account: Any
) -> None:
    writers, storage = module(WRITERS), module(STORAGE)
    configure(enabled="true")
    patches.patch_writers(writers)
    patches.patch_storage(storage)
    made = [
        writers.create_workflow_execution_repository(sessions, TENANT, account, APP, "app-run"),
        writers.create_workflow_node_execution_repository(sessions, TENANT, account, APP, "workflow-run"),
        storage.create_api_workflow_run_repository(sessions),
        storage.create_api_workflow_node_execution_repository(sessions),
    ]
    assert all(type(one).__name__.startswith("Elasticsearch") for one in made)
    assert set(patches.outcomes.values()) == {"patched"}
    patches.undo()
    assert type(storage.create_api_workflow_run_repository(sessions)).__name__.startswith("DifyAPI")


def test_nothing_is_patched_unasked(configure: Callable[..., Any]) -> None:
    writers = module(WRITERS)
    configure()
    patches.patch_writers(writers)
    assert writers.SQLAlchemyWorkflowExecutionRepository is SQLAlchemyWorkflowExecutionRepository


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(session_factory, tenant_id, user, app_id, triggered_from):", "(context):"),
        ("SQLAlchemyWorkflow", "Renamed"),
        ("def create", "async def other_create"),
    ],
)
def test_what_is_otherwise_is_left_alone(configure: Callable[..., Any], old: str, new: str) -> None:
    source = WRITERS.split("from core.repositories.sqlalchemy_workflow_node")[0] + WRITERS.split("\n\n", 1)[1]
    writers = module(source.replace(old, new) if old != "SQLAlchemyWorkflow" else "class Renamed: pass")
    configure(enabled="true")
    patches.patch_writers(writers)
    assert all(outcome.startswith("left alone") for outcome in patches.outcomes.values())


def test_a_class_that_is_not_the_known_one_is_left_alone(configure: Callable[..., Any]) -> None:
    writers = module(WRITERS + "\nclass SQLAlchemyWorkflowExecutionRepository: pass\n")
    configure(enabled="true")
    patches.patch_writers(writers)
    assert patches.outcomes["SQLAlchemyWorkflowExecutionRepository"].startswith("left alone")
    assert patches.outcomes["SQLAlchemyWorkflowNodeExecutionRepository"] == "patched"


def test_a_row_without_payloads_is_no_snapshot(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(amqp_url=URL)
    make = SQLAlchemyWorkflowExecutionRepository._to_db_model

    def to_db_model(self: Any, entity: Any, *, include_payload: bool = True) -> Any:
        row = make(self, entity)
        if not include_payload:
            row.graph = row.inputs = None
        return row

    def save(self: Any, entity: Any) -> None:
        self._to_db_model(entity, include_payload=True)
        self._to_db_model(entity, include_payload=False)

    monkeypatch.setattr(SQLAlchemyWorkflowExecutionRepository, "_to_db_model", to_db_model)
    monkeypatch.setattr(SQLAlchemyWorkflowExecutionRepository, "save", save)
    runs(sessions, account).save(run())
    assert [bool(record["inputs"]) for record in collector.records] == [True]


def test_a_resumed_run_ends_with_the_start_that_its_row_has(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(amqp_url=URL)

    def save(self: Any, entity: Any) -> None:
        row = self._to_db_model(entity)
        with self._session_factory() as session:
            if existing := session.get(WorkflowRun, row.id):
                row.created_at = existing.created_at
            session.merge(row)
            session.commit()

    monkeypatch.setattr(SQLAlchemyWorkflowExecutionRepository, "save", save)
    execution, resumed_at = run(), START + timedelta(days=40)
    for status, started_at in (
        (Status.RUNNING, START), (Status.PAUSED, START), (Status.RUNNING, resumed_at), (Status.SUCCEEDED, resumed_at),
    ):  # fmt: skip
        execution.status, execution.started_at = status, started_at
        runs(sessions, account).save(execution)
    assert [record["created_at"] for record in collector.records] == [START, START, resumed_at, START]
    assert stored(sessions, WorkflowRun)[0].created_at == START


@pytest.mark.parametrize(("has_snapshots", "seen"), [(False, ["paused", "succeeded"]), (True, ["succeeded"])])
def test_paused_executions_are_left_out_where_dify_does_so(
    api: Scripted, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch, has_snapshots: bool, seen: list[str]
) -> None:
    monkeypatch.setattr(api_node, "HAS_SNAPSHOTS", has_snapshots)
    run_id = str(uuid4())
    answers = [node_answer(workflow_run_id=run_id, status=status) for status in ("paused", "succeeded")]
    api.answers[f"/v1/tenants/{TENANT}/export/nodes"] = lines(*answers)
    assert [entity.status for entity in nodes(sessions, account).get_by_workflow_run(run_id)] == seen


def test_a_version_that_compares_the_class_itself_gets_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "core/repositories"
    folder.mkdir(parents=True)
    for package in (tmp_path / "core", folder):
        (package / "__init__.py").touch()
    name = "sqlalchemy_workflow_node_execution_write_repository"
    (folder / f"{name}.py").write_text("class SQLAlchemyWorkflowNodeExecutionWriteRepository: pass\n")
    code = (
        "from core.repositories.elasticsearch_workflow_node_execution_repository import *\n"
        f"from core.repositories.{name} import SQLAlchemyWorkflowNodeExecutionWriteRepository as own\n"
        "print(ElasticsearchWorkflowNodeExecutionRepository is own)"
    )
    env = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=240)
    assert done.stdout == "True\n", done.stderr
    assert "nothing is published" in done.stderr


class Colour(StrEnum):
    RED = "red"


def test_columns_of_an_enum_get_its_members() -> None:
    column = SimpleNamespace(key="status", type=SimpleNamespace(_enum_class=Colour))

    class Row:
        __table__ = SimpleNamespace(columns=[column])

    assert records.fill(Row(), {"status": "red"}).status is Colour.RED
    assert records.fill(Row(), {"status": "unknown to this version"}).status == "unknown to this version"


@dataclass
class WorkflowAppLogAccount:
    id: str
    name: str
    email: str


@dataclass
class WorkflowAppLogEndUser:
    id: str
    type: str
    is_anonymous: bool
    session_id: str


@dataclass
class WorkflowAppLogRunSummary:
    id: str
    version: str
    status: str
    triggered_from: str
    error: str | None
    elapsed_time: float
    total_tokens: int
    total_steps: int
    created_at: datetime
    finished_at: datetime | None
    exceptions_count: int


@dataclass
class WorkflowAppLogItem:
    id: str
    workflow_run: Any
    details: Any
    created_from: str
    created_by_role: str
    created_by_account: Any
    created_by_end_user: Any
    created_at: datetime


@dataclass
class WorkflowAppLogPage:
    page: int
    limit: int
    total: int
    has_more: bool
    data: tuple[Any, ...]


def test_the_log_page_returns_the_values_of_the_version(
    api: Scripted, configure: Callable[..., Any], sessions: Any
) -> None:
    class WorkflowAppLogRepository:
        def __init__(self, *, session_factory: Any) -> None:
            self._session_factory = session_factory

        def get_paginated(
            self, *, tenant_id, app_id, keyword=None, status=None, created_at_before=None, created_at_after=None,
            page=1, limit=20, detail=False, created_by_end_user_session_id=None, created_by_account=None,
        ):  # fmt: skip
            return "sql"

    values = (
        WorkflowAppLogAccount, WorkflowAppLogEndUser, WorkflowAppLogRunSummary, WorkflowAppLogItem, WorkflowAppLogPage,
        WorkflowAppLogRepository,
    )  # fmt: skip
    found = ModuleType("stand_in")
    vars(found).update({value.__name__: value for value in values})
    patches.patch_log_query(found)
    assert patches.outcomes["log page"] == "difylog"
    repository = WorkflowAppLogRepository(session_factory=sessions)
    api.answers[PATH] = answer(log(str(uuid4())), log(workflow_run=None), total=2)
    page = repository.get_paginated(tenant_id=TENANT, app_id=APP, detail=True)
    assert (page.total, page.has_more, len(page.data)) == (2, False, 2)
    assert page.data[0].workflow_run.status == "failed"
    assert page.data[1].workflow_run is None
    # Memberships are Dify's to know.
    assert repository.get_paginated(tenant_id=TENANT, app_id=APP, created_by_account="a@example.com") == "sql"
    configure(api_url=api.url, api_key="k", reads="difylog-then-sql")
    api.answers[PATH] = (503, {})
    assert repository.get_paginated(tenant_id=TENANT, app_id=APP) == "sql"
