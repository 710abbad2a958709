"""`API_WORKFLOW_NODE_EXECUTION_REPOSITORY`: node executions are asked of difylog."""

import inspect
from collections.abc import Sequence
from typing import Any

from difylog_dify import deletes, nodes
from difylog_dify.host import accepted, answer, base_class
from difylog_dify.records import is_uuid
from difylog_dify.settings import current

__all__ = ["ElasticsearchAPIWorkflowNodeExecutionRepository"]

_Base: Any = base_class(
    "repositories.sqlalchemy_api_workflow_node_execution_repository:DifyAPISQLAlchemyWorkflowNodeExecutionRepository",
    "repositories.workflow.node_execution_repository:DifyAPISQLAlchemyWorkflowNodeExecutionRepository",
)
_SNAPSHOTS = "get_execution_snapshots_by_workflow_run"
# Dify 1.13 and later, which leave paused executions out of what follows a run.
HAS_SNAPSHOTS = hasattr(_Base, _SNAPSHOTS)


class ElasticsearchAPIWorkflowNodeExecutionRepository(_Base):  # type: ignore[misc]
    """Reads node executions from difylog or PostgreSQL, as DIFYLOG_READS says.

    Single steps are read right after they are written: PostgreSQL, which has them in every mode, is asked first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **accepted(_Base.__init__, kwargs))

    def get_node_last_execution(self, tenant_id: str, app_id: str, workflow_id: str, node_id: str) -> Any:
        """Returns the latest execution of a node, single steps included, or None."""
        base = super().get_node_last_execution

        def sql() -> Any:
            return base(tenant_id, app_id, workflow_id, node_id)

        def ask() -> Any:
            row = sql()
            if row is not None and not current().primary:
                return row
            found = nodes.last_of_node(tenant_id, app_id, workflow_id, node_id, paused=not HAS_SNAPSHOTS)
            return _later(row, found)

        return answer(ask, sql) if _askable(tenant_id, app_id, workflow_id) else sql()

    def get_executions_by_workflow_run(self, tenant_id: str, app_id: str, workflow_run_id: str) -> Sequence[Any]:
        """Returns every execution of the run, oldest start first."""
        base = super().get_executions_by_workflow_run

        def sql() -> Sequence[Any]:
            found: Sequence[Any] = base(tenant_id, app_id, workflow_run_id)
            return found

        def ask() -> Sequence[Any]:
            # RAG pipelines and rows that are on their way are in PostgreSQL.
            found = nodes.of_run(tenant_id, app_id, workflow_run_id)
            if found and not nodes.may_lack_some(found):
                return found
            rows = sql()
            return rows if len(rows) >= len(found) else found

        return answer(ask, sql) if _askable(tenant_id, app_id, workflow_run_id) else sql()

    def get_execution_by_id(self, execution_id: str, tenant_id: str | None = None) -> Any:
        """Returns one execution or None. Without a tenant the caller sees to isolation, as with Dify's own method."""
        base = super().get_execution_by_id

        def sql() -> Any:
            return base(execution_id, tenant_id)

        if not _askable(execution_id, tenant_id):
            return sql()
        return answer(lambda: sql() or nodes.by_id(execution_id, tenant_id), sql)

    def get_execution_snapshots_by_workflow_run(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the light rows of a run that is being replayed; PostgreSQL's while it has any."""
        base = getattr(super(), _SNAPSHOTS)

        def sql() -> Any:
            return base(*args, **kwargs)

        given = inspect.signature(base).bind(*args, **kwargs).arguments
        tenant_id, app_id, run_id = (given.get(name, "") for name in ("tenant_id", "app_id", "workflow_run_id"))

        def ask() -> Any:
            rows = sql()
            return rows or [nodes.light(row) for row in nodes.of_run(tenant_id, app_id, run_id)]

        return answer(ask, sql) if _askable(tenant_id, app_id, run_id) else sql()

    def delete_executions_by_app(self, tenant_id: str, app_id: str, batch_size: int = 1000) -> int:
        """Deletes the executions of an app from difylog and PostgreSQL; returns the larger of both counts."""
        deleted = deletes.of_app(tenant_id, app_id, "node-executions")
        return max(int(super().delete_executions_by_app(tenant_id, app_id, batch_size)), deleted)


def _askable(*ids: str | None) -> bool:
    return current().asks_difylog and all(value is None or is_uuid(value) for value in ids)


def _later(row: Any, found: Any) -> Any:
    if row is None or found is None:
        return row if found is None else found
    return found if found.created_at > row.created_at else row
