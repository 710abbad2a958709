"""Measures inside a Dify what the package adds to a save of a run, in the thread that saves: cost.py APP SAVES.

Prints one line of JSON: the median and the 99th percentile of what the package does, and of whole saves with the
package and, in turn, with Dify's own class.
"""

import json
import statistics
import sys
import time
from typing import Any
from uuid import uuid4

from app_factory import create_app
from core.repositories.sqlalchemy_workflow_execution_repository import (
    SQLAlchemyWorkflowExecutionRepository,
    WorkflowExecution,
    WorkflowType,
)
from extensions.ext_database import db
from libs.datetime_utils import naive_utc_now
from models import Account
from models.enums import WorkflowRunTriggeredFrom
from models.model import App
from models.workflow import Workflow
from sqlalchemy import select

from difylog_dify import events, producer


def main(app_id: str, saves: int) -> None:
    spent = 0.0

    def timed(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def outer(*arguments: Any, **named: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                spent += time.perf_counter() - began

        setattr(module, name, outer)

    timed(events, "snapshot")
    timed(producer, "offer")
    from core.repositories.factory import DifyCoreRepositoryFactory

    app = db.session.get(App, app_id)
    account = db.session.scalars(select(Account)).first()
    account.set_tenant_id(app.tenant_id)
    graph = db.session.get(Workflow, app.workflow_id).graph_dict
    arguments = {
        "session_factory": db.engine, "user": account, "app_id": app_id,
        "triggered_from": WorkflowRunTriggeredFrom.DEBUGGING,
    }  # fmt: skip
    with_package = DifyCoreRepositoryFactory.create_workflow_execution_repository(**arguments)
    without = SQLAlchemyWorkflowExecutionRepository(**arguments)
    assert isinstance(with_package, SQLAlchemyWorkflowExecutionRepository)
    assert type(with_package) is not type(without)
    own: list[float] = []
    whole: dict[Any, list[float]] = {with_package: [], without: []}
    for number in range(2 * saves):
        repository = (with_package, without)[number % 2]
        execution = WorkflowExecution.new(
            id_=str(uuid4()), workflow_id=app.workflow_id, workflow_type=WorkflowType.WORKFLOW,
            workflow_version="draft",
            graph=graph, inputs={"q": "a question " * 20}, started_at=naive_utc_now(),
        )  # fmt: skip
        spent, began = 0.0, time.perf_counter()
        repository.save(execution)
        whole[repository].append(time.perf_counter() - began)
        if repository is with_package:
            own.append(spent)
    producer.stop()
    answer = {}
    for name, seconds in (("", own), ("save_with_", whole[with_package]), ("save_without_", whole[without])):
        answer |= {
            f"{name}median_ms": statistics.median(seconds),
            f"{name}p99_ms": statistics.quantiles(seconds, n=100)[98],
        }
    sys.stdout.write(json.dumps({name: round(1000 * value, 3) for name, value in answer.items()}) + "\n")


flask = create_app()
with flask.app_context():
    main(sys.argv[1], int(sys.argv[2]))
