"""SQLAlchemy session events: rows that Dify writes past its repositories are published once they are committed.

These are app logs, offload rows, and the runs that a trigger's failure leaves behind.
"""

import logging
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from difylog_dify import events, producer
from difylog_dify.host import writing
from difylog_dify.settings import current

logger = logging.getLogger(__name__)

# Snapshots of a session's new rows that wait for its commit.
_WAITING = "difylog_waiting"


class Listener:
    """Listens to every session. `start` and `stop` may be called again and again."""

    def __init__(self, models: ModuleType) -> None:
        self._kinds: tuple[tuple[type, str], ...] = (
            (models.WorkflowAppLog, events.APP_LOG),
            (models.WorkflowNodeExecutionOffload, events.OFFLOAD),
            (models.WorkflowRun, events.RUN),
        )
        self._handlers = (
            ("after_flush", self._after_flush), ("after_commit", self._after_commit),
            ("after_rollback", self._after_rollback),
        )  # fmt: skip

    def start(self) -> None:
        """Begins to listen."""
        for name, handler in self._handlers:
            if not event.contains(Session, name, handler):
                event.listen(Session, name, handler)

    def stop(self) -> None:
        """Listens no more."""
        for name, handler in self._handlers:
            if event.contains(Session, name, handler):
                event.remove(Session, name, handler)

    def _after_flush(self, session: Session, _context: object) -> None:
        try:
            if current().publishes:
                for row in session.new:
                    self._remember(session, row)
        except Exception:
            logger.exception("new rows of a session are not published")

    def _remember(self, session: Session, row: Any) -> None:
        kind = next((kind for model, kind in self._kinds if isinstance(row, model)), None)
        if kind is None:
            return
        if kind == events.RUN and (writing.get() or events.plain(row.__dict__.get("status")) in events._UNENDED):
            # The repositories publish the runs that they save.
            return
        # Only what is loaded: a look at an expired column would be a statement in the middle of the flush.
        columns = {name: value for name, value in row.__dict__.items() if not name.startswith("_")}
        if columns.get("created_at") is None:
            # MySQL does not say what its default was; it has whole seconds.
            columns["created_at"] = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        try:
            session.info.setdefault(_WAITING, []).append((row, events.snapshot(kind, SimpleNamespace(**columns))))
        except events.NoRecord as error:
            logger.warning("not published: %s", error)

    @staticmethod
    def _after_commit(session: Session) -> None:
        # The release of a savepoint is no commit.
        if _WAITING not in session.info or session.in_nested_transaction():
            return
        for row, snapshot in session.info.pop(_WAITING):
            # A savepoint that was rolled back took its rows out of the session.
            if inspect(row).persistent:
                producer.offer(snapshot)

    @staticmethod
    def _after_rollback(session: Session) -> None:
        if not session.in_nested_transaction():
            session.info.pop(_WAITING, None)
