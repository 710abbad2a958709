import json

from models import Account
from models.workflow import WorkflowRun


class SQLAlchemyWorkflowExecutionRepository:
    def __init__(self, session_factory, user, app_id, triggered_from):
        self._session_factory = session_factory
        self._tenant_id = user.current_tenant_id if isinstance(user, Account) else user.tenant_id
        if not self._tenant_id:
            raise ValueError("User must have a tenant_id or current_tenant_id")
        self._app_id = app_id
        self._triggered_from = triggered_from
        self._creator_user_id = user.id
        self._creator_user_role = "account" if isinstance(user, Account) else "end_user"

    def _to_db_model(self, entity):
        row = WorkflowRun()
        row.id, row.tenant_id, row.app_id, row.workflow_id = (
            entity.id_,
            self._tenant_id,
            self._app_id,
            entity.workflow_id,
        )
        row.triggered_from, row.type, row.version = self._triggered_from, entity.workflow_type, entity.workflow_version
        for name in ("graph", "inputs", "outputs"):
            value = getattr(entity, name)
            setattr(row, name, json.dumps(value) if value else None)
        row.status, row.error = entity.status, entity.error_message or None
        row.total_tokens, row.total_steps = entity.total_tokens, entity.total_steps
        row.exceptions_count = entity.exceptions_count
        row.created_by_role, row.created_by = self._creator_user_role, self._creator_user_id
        row.created_at, row.finished_at = entity.started_at, entity.finished_at
        ended = entity.finished_at
        row.elapsed_time = (ended - entity.started_at).total_seconds() if ended else 0
        return row

    def save(self, execution):
        row = self._to_db_model(execution)
        with self._session_factory() as session:
            session.merge(row)
            session.commit()
