"""Rows that Dify writes with a session of its own: published once they are committed, never before, never if not."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import models.workflow
import pytest
from models.workflow import WorkflowAppLog, WorkflowNodeExecutionOffload, WorkflowRun

from conftest import APP, TENANT, USER, WORKFLOW, Collector
from difylog_dify import events
from difylog_dify.sessions import Listener


@pytest.fixture(autouse=True)
def listening(configure: Callable[..., Any]) -> Iterator[None]:
    configure(amqp_url="amqp://127.0.0.1:1/")
    listener = Listener(models.workflow)
    listener.start()
    listener.start()
    yield
    listener.stop()


def log() -> Any:
    return WorkflowAppLog(
        tenant_id=TENANT, app_id=APP, workflow_id=WORKFLOW, workflow_run_id=str(uuid4()), created_from="web-app",
        created_by_role="account", created_by=USER,
    )  # fmt: skip


def test_a_committed_log_is_published_with_what_the_database_made_of_it(collector: Collector, sessions: Any) -> None:
    row = log()
    with sessions() as session, session.begin():
        session.add(row)
        session.flush()
        assert collector.events == []
    assert len(collector.events) == 1
    assert collector.records[0] == {name: getattr(row, name) for name in events.APP_LOG_COLUMNS}
    assert collector.records[0]["created_at"]


def test_a_transaction_that_fails_publishes_nothing(collector: Collector, sessions: Any) -> None:
    with sessions() as session:
        session.add(log())
        session.flush()
        session.rollback()
        session.commit()
    with pytest.raises(RuntimeError), sessions() as session, session.begin():
        session.add(log())
        session.flush()
        raise RuntimeError
    assert collector.events == []


def test_savepoints_neither_publish_early_nor_what_they_took_back(collector: Collector, sessions: Any) -> None:
    kept, inner, undone = log(), log(), log()
    with sessions() as session, session.begin():
        session.add(kept)
        with session.begin_nested():
            session.add(inner)
        assert collector.events == []
        nested = session.begin_nested()
        session.add(undone)
        session.flush()
        nested.rollback()
    assert {record["id"] for record in collector.records} == {kept.id, inner.id}


def test_a_session_that_is_used_again_publishes_each_row_once(collector: Collector, sessions: Any) -> None:
    with sessions() as session:
        for _ in range(3):
            session.add(log())
            session.commit()
    assert len({record["id"] for record in collector.records}) == len(collector.events) == 3


def test_offloads_are_published(collector: Collector, sessions: Any) -> None:
    with sessions() as session:
        session.add(
            WorkflowNodeExecutionOffload(
                tenant_id=TENANT, app_id=APP, node_execution_id=str(uuid4()), type_="inputs", file_id=str(uuid4())
            )
        )
        session.commit()
    assert [(event.kind, event.record["type"]) for event in collector.events] == [(events.OFFLOAD, "inputs")]


@pytest.mark.parametrize(("status", "published"), [("failed", 1), ("running", 0)])
def test_a_run_that_a_trigger_s_failure_leaves_is_published_and_no_half_run(
    collector: Collector, sessions: Any, status: str, published: int
) -> None:
    with sessions() as session:
        session.add(
            WorkflowRun(
                tenant_id=TENANT, app_id=APP, workflow_id=WORKFLOW, type="workflow", triggered_from="plugin",
                version="1", status=status, created_by_role="end_user", created_by=USER,
            )
        )  # fmt: skip
        session.commit()
    assert len(collector.events) == published


def test_what_the_repositories_write_is_not_published_twice(collector: Collector, sessions: Any, account: Any) -> None:
    from test_repositories import Status, run, runs

    execution = run()
    execution.status = Status.FAILED
    runs(sessions, account).save(execution)
    assert len(collector.events) == 1


def test_other_rows_and_faults_of_the_package_do_not_matter_to_a_commit(
    collector: Collector, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "snapshot", lambda *_: 1 / 0)
    with sessions() as session:
        session.add_all([log(), account])
        session.commit()
    assert collector.events == []
