"""How a repository learns which row Dify's own class makes of an entity, without making it a second time.

Dify's SQLAlchemy repositories turn an entity into a row in `_to_db_model`, payloads into JSON texts. The subclasses
here look at that row, so that the event holds the very texts that PostgreSQL gets, and in primary mode leave the
payloads out of what is written.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from difylog_dify import events, producer
from difylog_dify.events import Event, NoRecord
from difylog_dify.host import writing
from difylog_dify.settings import current

logger = logging.getLogger(__name__)

# Dify reads the rows of these runs with its SQL class, whatever is configured.
RAG_TRIGGERS = ("rag-pipeline-run", "rag-pipeline-debugging")


class Capturing:
    """What the two core repositories have in common. `_event` is the snapshot of the row that is being written."""

    kind: str
    # Columns that a control row goes without.
    control_without: tuple[str, ...] = ()

    _session_factory: Any
    _triggered_from: Any
    _event: Event | None = None
    _row: Any = None
    _strip = False

    def _to_db_model(self, domain_model: Any, *args: Any, **kwargs: Any) -> Any:
        row = self._row = super()._to_db_model(domain_model, *args, **kwargs)  # type: ignore[misc]
        # Later versions make rows without payloads, too; those are no snapshots.
        if current().publishes and kwargs.get("include_payload", True):
            try:
                self._event = events.snapshot(self.kind, row)
            except NoRecord as error:
                # Without a tenant or an app it is nobody's record: PostgreSQL decides what becomes of it.
                logger.warning("not published: %s", error)
                self._event = None
            if self._strip and self._event is not None:
                for column in self.control_without:
                    setattr(row, column, None)
        return row

    @contextmanager
    def _capturing(self, *, strip: bool) -> Iterator[None]:
        self._event, self._strip = None, strip
        token = writing.set(True)
        try:
            yield
        finally:
            writing.reset(token)
            self._strip = False

    @property
    def _publishes(self) -> bool:
        """Whether saves are published. A version of Dify that makes its rows otherwise writes PostgreSQL only."""
        if not current().publishes:
            return False
        if not hasattr(super(), "_to_db_model"):
            complain_once(type(self).__name__)
            return False
        return True

    @property
    def _is_rag(self) -> bool:
        return events.plain(self._triggered_from) in RAG_TRIGGERS

    def _publish(self, model: Any, *, keep: bool) -> bool:
        """Hands the captured event over; returns whether it was taken.

        With `keep`, PostgreSQL gets the whole row if it turns out later that nothing else could take the event.
        """
        event, self._event = self._event, None
        if event is None:
            return False
        if keep:
            event.refused = _Keeper(self._session_factory, model, event)
        return producer.offer(event)


@cache
def complain_once(name: str) -> None:
    """Says once that this version of Dify is not known."""
    logger.error("%s: this version of Dify makes its rows in another way: nothing is published; see `doctor`", name)


class _Keeper:
    """Writes the whole row of an event to PostgreSQL, in the producer's thread."""

    def __init__(self, session_factory: Any, model: Any, event: Event) -> None:
        self._session_factory = session_factory
        self._model = model
        self._event = event

    def __call__(self) -> None:
        token = writing.set(True)
        try:
            keep(self._session_factory, self._model, self._event)
        finally:
            writing.reset(token)


def keep(session_factory: Any, model: Any, event: Event) -> None:
    """Writes an event as a whole row. Payloads complete a control row; a row of a later state keeps its state."""
    record = event.record
    with session_factory() as session:
        row = session.get(model, record["id"])
        if row is None:
            row = model()
            session.add(row)
            for column, value in record.items():
                setattr(row, column, value)
        elif str(row.tenant_id) == event.tenant_id:
            is_newer = events.need(event.kind, {"status": events.plain(row.status)}) == events.NEED_TRANSIENT
            for column, value in record.items():
                if is_newer or (column in events.PAYLOADS and value is not None):
                    setattr(row, column, value)
        session.commit()
