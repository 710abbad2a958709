"""Measures inside a Dify what the package adds to a save of a run, in the thread that saves: cost.py APP SAVES.

Prints one line of JSON: the median and the 99th percentile of what the package does, and the median of the whole save.
"""

import json
import statistics
import sys
import time
from typing import Any
from uuid import uuid4

from app_factory import create_app
from core.workflow.entities import WorkflowExecution
from core.workflow.enums import WorkflowType
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
    repository = DifyCoreRepositoryFactory.create_workflow_execution_repository(
        session_factory=db.engine, user=account, app_id=app_id, triggered_from=WorkflowRunTriggeredFrom.DEBUGGING
    )
    own, whole = [], []
    for _ in range(saves):
        execution = WorkflowExecution.new(
            id_=str(uuid4()), workflow_id=app.workflow_id, workflow_type=WorkflowType.WORKFLOW,
            workflow_version="draft",
            graph=graph, inputs={"q": "a question " * 20}, started_at=naive_utc_now(),
        )  # fmt: skip
        spent, began = 0.0, time.perf_counter()
        repository.save(execution)
        whole.append(time.perf_counter() - began)
        own.append(spent)
    producer.stop()
    answer = {
        "median_ms": statistics.median(own),
        "p99_ms": statistics.quantiles(own, n=100)[98],
        "save_ms": statistics.median(whole),
    }
    sys.stdout.write(json.dumps({name: round(1000 * value, 3) for name, value in answer.items()}) + "\n")


flask = create_app()
with flask.app_context():
    main(sys.argv[1], int(sys.argv[2]))
