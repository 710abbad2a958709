"""`CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY`: saves of node executions become events."""

from collections.abc import Sequence
from typing import Any

from difylog_dify import events, nodes
from difylog_dify.capture import Capturing, complain_once
from difylog_dify.host import accepted, answer, base_class
from difylog_dify.settings import current

__all__ = ["ElasticsearchWorkflowNodeExecutionRepository"]

_Base: Any = base_class(
    "core.repositories.sqlalchemy_workflow_node_execution_repository:SQLAlchemyWorkflowNodeExecutionRepository",
    "repositories.workflow.node_execution_writer:SQLAlchemyWorkflowNodeExecutionRepository",
    # A version between them, which compares the class itself: it gets it, and nothing is published of nodes.
    "core.repositories.sqlalchemy_workflow_node_execution_write_repository:SQLAlchemyWorkflowNodeExecutionWriteRepository",
)

_BY_EXECUTION = "get_by_workflow_execution"


class ElasticsearchWorkflowNodeExecutionRepository(Capturing, _Base):  # type: ignore[misc]
    """Writes PostgreSQL as Dify's own class does, and publishes each snapshot.

    In primary mode PostgreSQL gets the executions of single steps and of RAG pipelines only: Dify reads those with SQL
    right after they are written.
    """

    kind = events.NODE
    _always_sql = False
    _published: tuple[Any, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **accepted(_Base.__init__, kwargs))

    def save(self, execution: Any) -> None:
        """Saves a complete snapshot of a node execution."""
        if not self._publishes:
            super().save(execution)
            return
        in_sql = self._in_sql(execution)
        with self._capturing(strip=False):
            if in_sql:
                super().save(execution)
            else:
                self._to_db_model(execution)
        if self._event is not None:
            # Dify gives an execution another id if its own is taken.
            self._event.record["id"] = execution.id
        self._published = _payloads(execution)
        if not self._publish(_model(), keep=not in_sql) and not in_sql:
            super().save(execution)

    def save_execution_data(self, execution: Any) -> None:
        """Saves the payloads: truncated in PostgreSQL, whole in the event unless the last save had them."""
        if not self._publishes:
            super().save_execution_data(execution)
            return
        in_sql = self._in_sql(execution)
        with self._capturing(strip=False):
            if in_sql:
                super().save_execution_data(execution)
            if _same(self._published, _payloads(execution)):
                return
            self._to_db_model(execution)
        self._published = _payloads(execution)
        if not self._publish(_model(), keep=not in_sql) and not in_sql:
            super().save_execution_data(execution)

    def save_synchronously(self, execution: Any) -> None:
        """Saves the row to PostgreSQL in every mode, and publishes it."""
        self._always_sql = True
        try:
            base = getattr(super(), "save_synchronously", None)
            if base is None:
                self.save(execution)
                return
            with self._capturing(strip=False):
                base(execution)
            if self._event is not None:
                self._publish(_model(), keep=False)
        finally:
            self._always_sql = False

    def get_by_workflow_run(self, workflow_run_id: str, order_config: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the run's executions as domain objects with whole payloads.

        While PostgreSQL has them, they come from there: they are read right after the run, by another process.
        """
        base = getattr(super(), "get_by_workflow_run", None) or getattr(super(), _BY_EXECUTION)
        return self._by_run(base, workflow_run_id, order_config, *args, **kwargs)

    def get_by_workflow_execution(self, workflow_execution_id: str, order_config: Any = None, **kwargs: Any) -> Any:
        """As `get_by_workflow_run`; paused executions are left out where Dify's own class does so."""
        base = getattr(super(), _BY_EXECUTION, None) or super().get_by_workflow_run
        return self._by_run(base, workflow_execution_id, order_config, **kwargs)

    def _by_run(self, base: Any, run_id: str, order_config: Any, *args: Any, **kwargs: Any) -> Sequence[Any]:
        def sql() -> Sequence[Any]:
            found: Sequence[Any] = base(run_id, order_config, *args, **kwargs)
            return found

        def ask() -> Sequence[Any]:
            if (not current().primary or self._is_rag) and (found := sql()):
                return found
            trigger = events.plain((args or (kwargs.get("triggered_from"),))[0] or "workflow-run")
            rows = nodes.of_run(self._tenant_id, self._app_id, run_id, triggered_from=trigger, whole=True)
            if _leaves_paused_out():
                rows = [row for row in rows if events.plain(row.status) != "paused"]
            return [self._to_domain_model(row) for row in nodes.ordered(rows, order_config)]

        return answer(ask, sql) if hasattr(_Base, "_to_domain_model") else sql()

    def _in_sql(self, execution: Any) -> bool:
        is_single_step = not execution.workflow_execution_id or events.plain(self._triggered_from) == "single-step"
        return self._always_sql or is_single_step or self._is_rag or not current().primary


def _leaves_paused_out() -> bool:
    """Whether this version's own class returns no paused rows: those do whose API repository has snapshots."""
    # Imported here: Dify's factory of API repositories imports this module's factory.
    from difylog_dify.repositories import api_node

    return hasattr(_Base, _BY_EXECUTION) or api_node.HAS_SNAPSHOTS


def _payloads(execution: Any) -> tuple[Any, ...]:
    # The objects themselves are held: an id alone could be used again.
    return (execution.id, execution.status, execution.inputs, execution.process_data, execution.outputs)


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return bool(before) and before[:2] == now[:2] and all(x is y for x, y in zip(before[2:], now[2:], strict=True))


def _model() -> Any:
    from models.workflow import WorkflowNodeExecutionModel

    return WorkflowNodeExecutionModel


if _Base.__name__.endswith("WriteRepository"):
    complain_once(_Base.__name__)
    ElasticsearchWorkflowNodeExecutionRepository = _Base  # type: ignore[misc]
