"""The whole way: saves in a stand-in Dify, RabbitMQ, a real `difylog worker`, and reads from a real `difylog serve`.

The program is `DIFYLOG_BINARY`, or what `cargo build` made of this repository.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import models.workflow
import pytest
import services.workflow_app_service as service_module
from core.entities import Status
from models import Account
from models.enums import WorkflowRunTriggeredFrom
from models.workflow import WorkflowAppLog
from repositories.elasticsearch_api_workflow_node_execution_repository import (
    ElasticsearchAPIWorkflowNodeExecutionRepository,
)
from repositories.elasticsearch_api_workflow_run_repository import ElasticsearchAPIWorkflowRunRepository

from conftest import APP, START, TENANT, USER, WORKFLOW, wait_for
from difylog_dify import events, patches, producer
from difylog_dify.sessions import Listener
from site_of_difylog import KEY, Site
from test_repositories import node, nodes, run, runs

APP_MODEL = SimpleNamespace(id=APP, tenant_id=TENANT)


@pytest.fixture
def site(rabbit: SimpleNamespace, tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path, rabbit.url)
    yield found
    found.stop()


@pytest.fixture
def dify(site: Site, configure: Callable[..., Any], sessions: Any, account: Any, patched: None) -> Iterator[Any]:
    """A stand-in Dify in a mode, with a tenant's app and an account in it."""

    def put(mode: str) -> None:
        configure(
            amqp_url=site_amqp, amqp_exchange=site.exchange, api_url=site.url, api_key=KEY, mode=mode, reads="difylog"
        )

    site_amqp = next(line.split('"')[1] for line in Path(site._command[2]).read_text().splitlines() if "urls" in line)
    put("shadow")
    with sessions() as session:
        session.add(Account(id=USER, name="A", email="a@example.com"))
        session.commit()
    listener = Listener(models.workflow)
    listener.start()
    patches.patch_log_page(service_module)
    yield SimpleNamespace(sessions=sessions, account=account, configure=put)
    listener.stop()


def execute(dify: Any, number: int) -> tuple[Any, list[Any]]:
    """A run of two nodes, saved as the engine saves it, and its app log."""
    execution = run()
    execution.started_at = START + timedelta(seconds=number // 3, microseconds=number // 3)
    execution.inputs = {"q": f'退款 {number} "quoted"', "nan": float("nan")}
    run_repository, node_repository = runs(dify.sessions, dify.account), nodes(dify.sessions, dify.account)
    run_repository.save(execution)
    with dify.sessions() as session:
        session.add(
            WorkflowAppLog(
                tenant_id=TENANT, app_id=APP, workflow_id=WORKFLOW, workflow_run_id=execution.id_,
                created_from="web-app", created_by_role="account", created_by=USER,
            )
        )  # fmt: skip
        session.commit()
    done = []
    for index in (1, 2):
        step = node(execution.id_, index=index, created_at=execution.started_at + timedelta(milliseconds=index))
        step.node_execution_id = step.id
        node_repository.save(step)
        step.status, step.outputs = Status.SUCCEEDED, {"text": "y" * (3000 if index == 2 else 3)}
        step.metadata, step.finished_at, step.elapsed_time = {"total_price": "0.01"}, step.created_at, 0.25
        node_repository.save(step)
        node_repository.save_execution_data(step)
        done.append(step)
    execution.status = Status.FAILED if number % 4 == 0 else Status.SUCCEEDED
    execution.error_message = "it broke" if number % 4 == 0 else ""
    execution.outputs, execution.total_tokens, execution.total_steps = {"r": number}, 3_000_000_000, 2
    execution.finished_at = execution.started_at + timedelta(seconds=1)
    run_repository.save(execution)
    return execution, done


def api(dify: Any) -> tuple[Any, Any]:
    return (
        ElasticsearchAPIWorkflowRunRepository(session_maker=dify.sessions),
        ElasticsearchAPIWorkflowNodeExecutionRepository(session_maker=dify.sessions),
    )


def test_what_difylog_answers_is_what_postgresql_has(dify: Any) -> None:
    from models.workflow import WorkflowRun

    executions = [execute(dify, number)[0] for number in range(30)]
    assert producer.producer().wait_until_idle(90)
    found_runs, found_nodes = api(dify)
    expected = sorted(((row.started_at, row.id_) for row in executions), reverse=True)
    wait_for(lambda: len(found_runs.get_paginated_workflow_runs(TENANT, APP, "app-run", 100).data) == 30)
    wait_for(lambda: found_runs.get_workflow_runs_count(TENANT, APP, "app-run")["running"] == 0)

    walked: list[str] = []
    page = found_runs.get_paginated_workflow_runs(TENANT, APP, WorkflowRunTriggeredFrom.APP_RUN, 7)
    while True:
        walked += [row.id for row in page.data]
        if not page.has_more:
            break
        page = found_runs.get_paginated_workflow_runs(TENANT, APP, "app-run", 7, walked[-1])
    assert walked == [run_id for _, run_id in expected]

    with dify.sessions() as session:
        for execution in executions:
            row = session.get(WorkflowRun, execution.id_)
            found = found_runs.get_workflow_run_by_id(TENANT, APP, execution.id_)
            for column in events.RUN_COLUMNS:
                if column != "inputs":
                    assert getattr(found, column) == getattr(row, column), column
            assert found.inputs_dict["q"] == row.inputs_dict["q"]
    assert found_runs.asked == []

    assert found_runs.get_workflow_runs_count(TENANT, APP, "app-run") == {
        "total": 30, "running": 0, "succeeded": 22, "failed": 8, "stopped": 0, "partial-succeeded": 0,
    }  # fmt: skip
    cost = found_runs.get_daily_token_cost_statistics(TENANT, APP, "app-run")
    assert [(day["date"], int(day["token_count"])) for day in cost] == [("2025-12-01", 90_000_000_000)]

    with dify.sessions() as session:
        ask = service_module.WorkflowAppService().get_paginate_workflow_app_logs
        logs = ask(session=session, app_model=APP_MODEL, keyword='退款 7 "', status=Status.SUCCEEDED)
    assert [row.workflow_run.id for row in logs["data"]] == [executions[7].id_]
    assert logs["data"][0].created_by_account.email == "a@example.com"

    of_run = found_nodes.get_executions_by_workflow_run(TENANT, APP, executions[0].id_)
    assert [(row.index, row.status, row.execution_metadata_dict) for row in of_run] == [
        (1, "succeeded", {"total_price": "0.01"}), (2, "succeeded", {"total_price": "0.01"}),
    ]  # fmt: skip
    # PostgreSQL has it cut.
    assert len(of_run[1].outputs) > 3000


def test_primary_mode_is_read_whole_from_difylog(dify: Any) -> None:
    dify.configure("primary")
    executions = [execute(dify, number) for number in range(3)]
    assert producer.producer().wait_until_idle(90)
    found_runs, found_nodes = api(dify)
    for execution, steps in executions:
        run_id = execution.id_
        wait_for(lambda run_id=run_id: found_runs.get_workflow_run_by_id(TENANT, APP, run_id).outputs)
        found = found_runs.get_workflow_run_by_id(TENANT, APP, run_id)
        assert (found.status, found.inputs_dict["q"]) == (execution.status, execution.inputs["q"])
        wait_for(
            lambda run_id=run_id: all(
                row.finished_at for row in found_nodes.get_executions_by_workflow_run(TENANT, APP, run_id)
            )
        )
        entities = nodes(dify.sessions, dify.account).get_by_workflow_run(
            run_id, SimpleNamespace(order_by=["index"], order_direction="desc")
        )
        assert [(entity.id, entity.outputs) for entity in entities] == [
            (step.id, step.outputs) for step in reversed(steps)
        ]
        assert found_nodes.get_execution_by_id(steps[0].id, TENANT).id == steps[0].id
    with dify.sessions() as session:
        from models.workflow import WorkflowNodeExecutionModel, WorkflowRun
        from sqlalchemy import func, select

        assert session.scalar(select(func.count(WorkflowNodeExecutionModel.id))) == 0
        assert session.scalars(select(WorkflowRun.inputs)).all() == [None] * 3


def test_a_broker_and_a_worker_that_are_killed_lose_nothing(dify: Any, site: Site, rabbit: SimpleNamespace) -> None:
    before, _ = execute(dify, 1)
    assert producer.producer().wait_until_idle(90)
    site.processes[0].kill()
    site.processes[0].wait()
    rabbit.run("kill")
    during = [execute(dify, number)[0] for number in range(2, 6)]
    wait_for(lambda: producer.producer().counts["spooled"] > 0)
    rabbit.run("restart")
    site.processes[0] = site.start("worker")
    assert producer.producer().wait_until_idle(90)
    found_runs, _ = api(dify)
    wait_for(
        lambda: (
            {(row.id, row.status) for row in found_runs.get_paginated_workflow_runs(TENANT, APP, "app-run", 100).data}
            == {(execution.id_, str(execution.status)) for execution in [before, *during]}
        ),
        60,
    )
