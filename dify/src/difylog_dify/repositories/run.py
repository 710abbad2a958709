"""`CORE_WORKFLOW_EXECUTION_REPOSITORY`: saves of runs become events."""

from typing import Any

from difylog_dify import events
from difylog_dify.capture import Capturing, keep
from difylog_dify.host import accepted, base_class
from difylog_dify.settings import current

__all__ = ["ElasticsearchWorkflowExecutionRepository"]

_Base: Any = base_class(
    "core.repositories.sqlalchemy_workflow_execution_repository:SQLAlchemyWorkflowExecutionRepository",
    "repositories.workflow.execution_writer:SQLAlchemyWorkflowExecutionRepository",
)


class ElasticsearchWorkflowExecutionRepository(Capturing, _Base):  # type: ignore[misc]
    """Writes PostgreSQL as Dify's own class does, and publishes each snapshot.

    In primary mode PostgreSQL keeps a control row without graph, inputs and outputs: pauses, archives and fallbacks
    need it. What PostgreSQL raises is raised; what the broker does never is.
    """

    kind = events.RUN
    control_without = ("graph", "inputs", "outputs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **accepted(_Base.__init__, kwargs))

    def save(self, execution: Any) -> None:
        """Saves a complete snapshot of a run; returns when PostgreSQL has its row."""
        if not self._publishes:
            super().save(execution)
            return
        control_only = current().primary and not self._is_rag
        with self._capturing(strip=control_only):
            super().save(execution)
        event = self._event
        # Dify 1.13 and later keep a run's first start when it is resumed. While the run goes on, the event keeps the
        # start of the resumption, by which it is newer than the pause. An expired attribute is not read: that would be
        # a query.
        first_start = getattr(self._row, "__dict__", {}).get("created_at")
        if event is not None and not event.transient and first_start is not None:
            event.record["created_at"] = first_start
        self._row = None
        if not self._publish(_model(), keep=control_only) and control_only and event is not None:
            keep(self._session_factory, _model(), event)


def _model() -> Any:
    from models.workflow import WorkflowRun

    return WorkflowRun
