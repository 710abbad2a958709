"""App logs, for code that asks for this repository by its promised name. Dify itself has no setting for it."""

from typing import Any

from difylog_dify import events, log_page, producer
from difylog_dify.settings import current

__all__ = ["ElasticsearchWorkflowAppLogRepository"]


class ElasticsearchWorkflowAppLogRepository:
    """Publishes app logs and answers their list."""

    def __init__(self, session_maker: Any = None, **kwargs: Any) -> None:
        self._session_maker: Any = session_maker or kwargs.get("session_factory")

    def save(self, app_log: Any) -> bool:
        """Publishes an app log that is committed; returns whether it was taken. Never waits."""
        return current().publishes and producer.offer(events.snapshot(events.APP_LOG, app_log))

    def get_paginated(self, app_model: Any, **arguments: Any) -> Any:
        """Returns a page as `WorkflowAppService.get_paginate_workflow_app_logs` does."""
        from services.workflow_app_service import WorkflowAppService

        service = WorkflowAppService()
        with self._session_maker() as session:
            original = WorkflowAppService.get_paginate_workflow_app_logs
            original = getattr(original, "__wrapped__", original)
            return log_page.paginate(
                original.__get__(service), service, session=session, app_model=app_model, **arguments
            )
