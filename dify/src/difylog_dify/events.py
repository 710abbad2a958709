"""Native events: a snapshot of one row, taken in the caller's thread, and its JSON.

A snapshot copies columns only. Payloads are the JSON texts that Dify made for its own row, which nothing mutates, so
that taking one costs microseconds. The producer makes the JSON.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

RUN, NODE, APP_LOG, OFFLOAD = "workflow_run", "node_execution", "app_log", "offload"

RUN_COLUMNS = (
    "id", "tenant_id", "app_id", "workflow_id", "type", "triggered_from", "version", "graph", "inputs", "status",
    "outputs", "error", "elapsed_time", "total_tokens", "total_steps", "created_by_role", "created_by", "created_at",
    "finished_at", "exceptions_count",
)  # fmt: skip
NODE_COLUMNS = (
    "id", "tenant_id", "app_id", "workflow_id", "triggered_from", "workflow_run_id", "index", "predecessor_node_id",
    "node_execution_id", "node_id", "node_type", "title", "inputs", "process_data", "outputs", "status", "error",
    "elapsed_time", "execution_metadata", "created_at", "created_by_role", "created_by", "finished_at",
)  # fmt: skip
APP_LOG_COLUMNS = (
    "id", "tenant_id", "app_id", "workflow_id", "workflow_run_id", "created_from", "created_by_role", "created_by",
    "created_at",
)  # fmt: skip
OFFLOAD_COLUMNS = ("id", "tenant_id", "app_id", "node_execution_id", "type", "file_id", "created_at")

COLUMNS = {RUN: RUN_COLUMNS, NODE: NODE_COLUMNS, APP_LOG: APP_LOG_COLUMNS, OFFLOAD: OFFLOAD_COLUMNS}

# The columns whose texts are JSON, and those whose values the event needs to be a record.
PAYLOADS = ("graph", "inputs", "process_data", "outputs", "execution_metadata")
_UNENDED = ("scheduled", "pending", "running", "retry", "paused")
_IDS = ("id", "tenant_id", "app_id")

# What is drained first after an outage: what lists and statistics need, then the nodes, then what a later snapshot
# replaces.
NEED_ENDED, NEED_NODE, NEED_TRANSIENT = 0, 1, 2


class NoRecord(ValueError):
    """A row that cannot be a record; the text names the column."""


@dataclass(slots=True)
class Event:
    """One snapshot on its way."""

    kind: str
    record: dict[str, Any]
    # About what its JSON takes, in bytes.
    size: int
    need: int
    # Told with False if neither the broker nor the spool could take it. Called in the producer's thread.
    refused: Callable[[], None] | None = None

    @property
    def id(self) -> str:
        """The record's id."""
        return str(self.record["id"])

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        return str(self.record["tenant_id"])

    @property
    def transient(self) -> bool:
        """Whether a later snapshot of the same record is expected."""
        return self.need == NEED_TRANSIENT


def plain(value: Any) -> Any:
    """Returns an enum's value, a UUID's text, and anything else as it is."""
    if isinstance(value, UUID):
        return str(value)
    return getattr(value, "value", value)


def snapshot(kind: str, row: object, overrides: Mapping[str, Any] | None = None) -> Event:
    """Returns an event of `row`, an object with the columns of its table as attributes.

    Costs some microseconds and copies no payload. Raises NoRecord if an id is missing.
    """
    columns = COLUMNS[kind]
    overrides = overrides or {}
    record: dict[str, Any] = {}
    size = 400
    for column in columns:
        name = "type_" if column == "type" and kind == OFFLOAD else column
        value = overrides[column] if column in overrides else plain(getattr(row, name, None))
        record[column] = value
        if type(value) is str:
            size += len(value)
    for column in _IDS:
        if not record[column]:
            raise NoRecord(f"{kind}: {column} is missing")
    return Event(kind, record, size, need(kind, record))


def need(kind: str, record: Mapping[str, Any]) -> int:
    """Returns when a record is drained after an outage: the lower, the sooner."""
    if record.get("status") in _UNENDED:
        return NEED_TRANSIENT
    return NEED_NODE if kind == NODE else NEED_ENDED


def _json_value(column: str, value: Any) -> Any:
    if value is None or type(value) in (bool, int):
        return value
    if isinstance(value, str):
        # UTF-8 has no lone surrogates, and PostgreSQL no NUL; both would make the whole event unreadable.
        return value if value.isascii() and "\0" not in value else _clean(value)
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    raise NoRecord(f"{column}: {type(value).__name__} is no column's value")


def _clean(value: str) -> str:
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def timestamp(value: datetime) -> str:
    """Returns ISO 8601 in UTC without an offset, microseconds kept. Naive values are UTC already."""
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat()


def encode(event: Event) -> bytes:
    """Returns the event as one JSON object, ASCII only.

    Raises NoRecord if a column holds what JSON cannot.
    """
    record = {column: _json_value(column, value) for column, value in event.record.items()}
    document = {"v": 1, "kind": event.kind, "record": record}
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
