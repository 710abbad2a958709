import json
from uuid import uuid4

from models import Account
from models.workflow import WorkflowNodeExecutionModel, WorkflowNodeExecutionOffload
from sqlalchemy import select

from core.entities import Status, WorkflowNodeExecution

LONG = 1000
PAYLOADS = ("inputs", "process_data", "outputs")
PLAIN = (
    "id", "workflow_id", "index", "predecessor_node_id", "node_execution_id", "node_id", "node_type", "title", "status",
    "error", "elapsed_time", "created_at", "finished_at",
)  # fmt: skip


class SQLAlchemyWorkflowNodeExecutionRepository:
    def __init__(self, session_factory, user, app_id, triggered_from):
        self._session_factory = session_factory
        self._tenant_id = user.current_tenant_id if isinstance(user, Account) else user.tenant_id
        self._app_id = app_id
        self._triggered_from = triggered_from
        self._creator_user_id = user.id
        self._creator_user_role = "account" if isinstance(user, Account) else "end_user"

    def _to_db_model(self, entity):
        row = WorkflowNodeExecutionModel()
        for name in PLAIN:
            setattr(row, name, getattr(entity, name))
        row.tenant_id, row.app_id, row.triggered_from = self._tenant_id, self._app_id, self._triggered_from
        row.workflow_run_id = entity.workflow_execution_id
        for name in PAYLOADS:
            value = getattr(entity, name)
            setattr(row, name, None if value is None else json.dumps(value, sort_keys=True))
        row.execution_metadata = json.dumps(entity.metadata) if entity.metadata else None
        row.created_by_role, row.created_by = self._creator_user_role, self._creator_user_id
        return row

    def _to_domain_model(self, row):
        values = {name: getattr(row, name) for name in PLAIN}
        values |= {name: json.loads(text) if (text := getattr(row, name)) else None for name in PAYLOADS}
        values |= {"status": Status(row.status), "workflow_execution_id": row.workflow_run_id}
        return WorkflowNodeExecution(metadata=row.execution_metadata_dict, **values)

    def save(self, execution):
        row = self._to_db_model(execution)
        with self._session_factory() as session:
            found = session.get(WorkflowNodeExecutionModel, row.id)
            if found:
                for key, value in row.__dict__.items():
                    if not key.startswith("_"):
                        setattr(found, key, value)
            else:
                session.add(row)
            session.commit()

    def save_execution_data(self, execution):
        with self._session_factory() as session:
            row = session.get(WorkflowNodeExecutionModel, execution.id)
            for name in PAYLOADS:
                value = getattr(execution, name)
                if value is None:
                    continue
                text = json.dumps(value)
                if len(text) > LONG:
                    text = json.dumps(dict.fromkeys(value, "..."))
                    session.add(
                        WorkflowNodeExecutionOffload(
                            tenant_id=self._tenant_id, app_id=self._app_id, node_execution_id=execution.id, type_=name,
                            file_id=str(uuid4()),
                        )
                    )  # fmt: skip
                setattr(row, name, text)
            session.commit()

    def get_by_workflow_run(self, workflow_run_id, order_config=None, triggered_from="workflow-run"):
        stmt = select(WorkflowNodeExecutionModel).where(
            WorkflowNodeExecutionModel.workflow_run_id == workflow_run_id,
            WorkflowNodeExecutionModel.tenant_id == self._tenant_id,
            WorkflowNodeExecutionModel.triggered_from == triggered_from,
        )
        with self._session_factory() as session:
            return [self._to_domain_model(row) for row in session.scalars(stmt).all()]
