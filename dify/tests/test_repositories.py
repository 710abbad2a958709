"""Saves of runs and nodes in both modes, over the stand-in Dify."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from core.entities import Status, WorkflowExecution, WorkflowNodeExecution
from core.repositories.elasticsearch_workflow_execution_repository import ElasticsearchWorkflowExecutionRepository
from core.repositories.elasticsearch_workflow_node_execution_repository import (
    ElasticsearchWorkflowNodeExecutionRepository,
)
from models.enums import WorkflowRunTriggeredFrom
from models.workflow import WorkflowNodeExecutionModel, WorkflowNodeExecutionTriggeredFrom, WorkflowRun

from conftest import APP, START, TENANT, WORKFLOW, Collector
from difylog_dify import events, settings
from difylog_dify.capture import keep

URL = "amqp://127.0.0.1:1/"


def runs(sessions: Any, user: Any, triggered_from: Any = WorkflowRunTriggeredFrom.APP_RUN, **extra: Any) -> Any:
    return ElasticsearchWorkflowExecutionRepository(
        session_factory=sessions, user=user, app_id=APP, triggered_from=triggered_from, **extra
    )


def nodes(sessions: Any, user: Any, trigger: Any = WorkflowNodeExecutionTriggeredFrom.WORKFLOW_RUN) -> Any:
    return ElasticsearchWorkflowNodeExecutionRepository(
        session_factory=sessions, user=user, app_id=APP, triggered_from=trigger
    )


def run() -> WorkflowExecution:
    return WorkflowExecution(
        id_=str(uuid4()), workflow_id=WORKFLOW, started_at=START, graph={"nodes": [1]}, inputs={"q": "退款"}
    )


def node(run_id: str | None = None, **columns: Any) -> WorkflowNodeExecution:
    values = {"id": str(uuid4()), "workflow_id": WORKFLOW, "index": 1, "node_id": "17", "created_at": START}
    return WorkflowNodeExecution(**values | {"workflow_execution_id": run_id or str(uuid4())} | columns)


def stored(sessions: Any, model: Any) -> list[Any]:
    from sqlalchemy import select

    with sessions() as session:
        return list(session.scalars(select(model)).all())


def test_shadow_writes_postgresql_as_ever_and_the_same_row_as_an_event(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL)
    repository, execution = runs(sessions, account), run()
    repository.save(execution)
    execution.status, execution.outputs = Status.SUCCEEDED, {"a": 1}
    execution.finished_at = START + timedelta(seconds=2)
    repository.save(execution)
    row = stored(sessions, WorkflowRun)[0]
    assert [record["status"] for record in collector.records] == ["running", "succeeded"]
    assert {name: getattr(row, name) for name in events.RUN_COLUMNS} == collector.records[-1]
    assert row.graph == '{"nodes": [1]}'


def test_primary_keeps_a_control_row_and_the_event_has_everything(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    execution = run()
    runs(sessions, account).save(execution)
    row = stored(sessions, WorkflowRun)[0]
    assert (row.id, row.status, row.tenant_id) == (execution.id_, "running", TENANT)
    # `{}` is the column's default.
    assert (row.graph, row.inputs, row.outputs) == (None, None, "{}")
    assert json.loads(collector.records[0]["inputs"]) == {"q": "退款"}


def test_what_the_producer_refuses_is_kept_whole_in_postgresql(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    collector.full = True
    runs(sessions, account).save(run())
    nodes(sessions, account).save(node(inputs={"a": 1}))
    assert stored(sessions, WorkflowRun)[0].inputs == json.dumps({"q": "退款"})
    assert stored(sessions, WorkflowNodeExecutionModel)[0].inputs == '{"a": 1}'


def test_an_event_that_is_lost_later_completes_its_row_and_undoes_nothing(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    repository, execution = runs(sessions, account), run()
    repository.save(execution)
    first = collector.events[0]
    execution.status, execution.outputs = Status.SUCCEEDED, {"a": 1}
    repository.save(execution)
    second = collector.events[1]
    second.refused()
    first.refused()
    row = stored(sessions, WorkflowRun)[0]
    assert (row.status, row.outputs, row.inputs) == ("succeeded", '{"a": 1}', json.dumps({"q": "退款"}))
    # Neither does it touch another tenant's row of the same id.
    second.record["tenant_id"] = str(uuid4())
    second.record["outputs"] = '{"stolen": 1}'
    keep(sessions, WorkflowRun, second)
    assert stored(sessions, WorkflowRun)[0].outputs == '{"a": 1}'


def test_a_run_that_is_no_record_keeps_its_row_whole(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(amqp_url=URL, mode="primary")

    def refuse(*_: object) -> None:
        raise events.NoRecord("workflow_run: app_id is missing")

    monkeypatch.setattr(events, "snapshot", refuse)
    runs(sessions, account).save(run())
    assert stored(sessions, WorkflowRun)[0].inputs
    assert collector.events == []


def test_rag_pipelines_keep_their_rows_in_primary_mode(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    runs(sessions, account, WorkflowRunTriggeredFrom.RAG_PIPELINE_RUN).save(run())
    nodes(sessions, account, WorkflowRunTriggeredFrom.RAG_PIPELINE_RUN).save(node())
    assert stored(sessions, WorkflowRun)[0].inputs
    assert len(stored(sessions, WorkflowNodeExecutionModel)) == 1
    assert len(collector.events) == 2


def test_a_node_is_published_once_per_state_though_dify_saves_its_data_again(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL)
    repository, execution = nodes(sessions, account), node()
    repository.save(execution)
    execution.status, execution.outputs = Status.SUCCEEDED, {"text": "x" * 2000}
    repository.save(execution)
    repository.save_execution_data(execution)
    assert [record["status"] for record in collector.records] == ["running", "succeeded"]
    # PostgreSQL has it cut, the event has it whole.
    assert json.loads(stored(sessions, WorkflowNodeExecutionModel)[0].outputs) == {"text": "..."}
    assert json.loads(collector.records[1]["outputs"]) == execution.outputs


def test_data_that_comes_only_with_the_second_save_is_published(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL)
    repository, execution = nodes(sessions, account), node()
    repository.save(execution)
    execution.outputs = {"late": True}
    repository.save_execution_data(execution)
    assert [record["outputs"] for record in collector.records] == [None, '{"late": true}']


def test_primary_writes_nodes_to_postgresql_only_for_single_steps(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    in_run, single = node(), node()
    single.workflow_execution_id = None
    for trigger, execution in (("workflow-run", in_run), ("single-step", single)):
        repository = nodes(sessions, account, WorkflowNodeExecutionTriggeredFrom(trigger))
        repository.save(execution)
        repository.save_execution_data(execution)
    assert [row.id for row in stored(sessions, WorkflowNodeExecutionModel)] == [single.id]
    assert [record["id"] for record in collector.records] == [in_run.id, single.id]


def test_a_save_that_must_be_in_sql_is(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    repository = nodes(sessions, account)
    repository.save_synchronously(node())
    assert len(stored(sessions, WorkflowNodeExecutionModel)) == len(collector.events) == 1
    repository.save(node())
    assert len(stored(sessions, WorkflowNodeExecutionModel)) == 1


def test_a_payload_that_changes_after_the_save_does_not_change_the_event(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any
) -> None:
    configure(amqp_url=URL, mode="primary")
    inputs: dict[str, Any] = {"deep": {"list": [1]}}
    nodes(sessions, account).save(node(inputs=inputs))
    inputs["deep"]["list"].append(2)
    assert json.loads(collector.records[0]["inputs"]) == {"deep": {"list": [1]}}


def test_an_id_that_dify_replaces_is_the_event_s_id(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(amqp_url=URL)
    repository, execution, other = nodes(sessions, account), node(), str(uuid4())
    base = type(repository).__mro__[2]
    original = base.save

    def taken(self: Any, entity: Any) -> None:
        original(self, entity)
        entity.id = other

    monkeypatch.setattr(base, "save", taken)
    repository.save(execution)
    assert collector.records[0]["id"] == other


def test_what_postgresql_raises_is_raised_and_nothing_is_published(
    configure: Callable[..., Any], collector: Collector, account: Any, tmp_path: Any
) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.orm import sessionmaker

    configure(amqp_url=URL)
    without_tables = sessionmaker(bind=create_engine(f"sqlite:///{tmp_path / 'empty.db'}"))
    with pytest.raises(OperationalError):
        runs(without_tables, account).save(run())
    assert collector.events == []


@pytest.mark.parametrize("variables", [{}, {"enabled": "false", "amqp_url": URL, "mode": "primary"}])
def test_without_a_broker_or_disabled_it_is_dify_s_own_class(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any, variables: dict[str, str]
) -> None:
    configure(**variables)
    runs(sessions, account).save(run())
    repository, execution = nodes(sessions, account), node(inputs={"a": 1})
    repository.save(execution)
    repository.save_execution_data(execution)
    assert stored(sessions, WorkflowRun)[0].inputs
    assert stored(sessions, WorkflowNodeExecutionModel)[0].inputs
    assert collector.events == []


def test_factories_of_other_versions_may_pass_more(sessions: Any, account: Any) -> None:
    settings.replace(settings.Settings())
    assert runs(sessions, account, tenant_id=TENANT)._tenant_id == TENANT


def test_end_users_and_users_without_a_workspace(sessions: Any, account: Any) -> None:
    from models import EndUser

    assert runs(sessions, EndUser(id=str(uuid4()), tenant_id=TENANT))._creator_user_role == "end_user"
    account.current_tenant_id = None
    with pytest.raises(ValueError, match="tenant_id"):
        runs(sessions, account)


def test_a_version_that_makes_rows_otherwise_is_said_and_left_alone(
    configure: Callable[..., Any], collector: Collector, sessions: Any, account: Any,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    configure(amqp_url=URL, mode="primary")
    repository = runs(sessions, account)
    base = type(repository).__mro__[2]
    make = base._to_db_model

    def save(self: Any, execution: Any) -> None:
        with self._session_factory() as session:
            session.merge(make(self, execution))
            session.commit()

    monkeypatch.delattr(base, "_to_db_model")
    monkeypatch.setattr(base, "save", save)
    repository.save(run())
    assert stored(sessions, WorkflowRun)[0].inputs
    assert collector.events == []
    assert "nothing is published" in caplog.text
