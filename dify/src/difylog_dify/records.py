"""What difylog answers, checked column by column, and the rows that Dify's callers expect, made of it.

A record of another tenant, app or run than was asked for, a missing column or a wrong type makes the whole answer
unusable: it is never shown in part.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from difylog_dify.client import WrongAnswer

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MAX_TEXT = 255
Check = Callable[[Any], Any]


def _wrong(column: str) -> WrongAnswer:
    return WrongAnswer(f"a record's {column} is not what it must be")


def is_uuid(value: object) -> bool:
    """Returns whether `value` is the text of a UUID as PostgreSQL and difylog write it."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _uuid(value: Any) -> Any:
    return value if is_uuid(value) else _raise()


def _text(value: Any) -> Any:
    return value if isinstance(value, str) and len(value) <= MAX_TEXT else _raise()


def _long_text(value: Any) -> Any:
    return value if isinstance(value, str) else _raise()


def _integer(value: Any) -> Any:
    return value if type(value) is int else _raise()


def _seconds(value: Any) -> Any:
    return float(value) if type(value) in (int, float) else _raise()


def _instant(value: Any) -> datetime:
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError
    found = datetime.fromisoformat(value)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _payload(value: Any) -> str:
    # A text is a row that held no JSON; Dify's column has it as it is.
    return value if isinstance(value, str) else json.dumps(value)


def _raise() -> Any:
    raise ValueError


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


RUN: dict[str, Check] = {
    "id": _uuid, "app_id": _uuid, "workflow_id": _uuid, "type": _text, "triggered_from": _text, "version": _text,
    "status": _text, "elapsed_time": _seconds, "total_tokens": _integer, "total_steps": _integer,
    "created_by_role": _text, "created_by": _uuid, "created_at": _instant, "finished_at": _or_none(_instant),
    "exceptions_count": _integer,
}  # fmt: skip
NODE: dict[str, Check] = {
    "id": _uuid, "app_id": _uuid, "workflow_id": _uuid, "workflow_run_id": _or_none(_uuid), "triggered_from": _text,
    "index": _integer, "predecessor_node_id": _or_none(_text), "node_execution_id": _or_none(_text), "node_id": _text,
    "node_type": _text, "title": _text, "status": _text, "elapsed_time": _seconds, "created_by_role": _text,
    "created_by": _uuid, "created_at": _instant, "finished_at": _or_none(_instant),
}  # fmt: skip
WHOLE_RUN: dict[str, Check] = RUN | {
    "tenant_id": _uuid, "graph": _or_none(_payload), "inputs": _or_none(_payload), "outputs": _or_none(_payload),
    "error": _or_none(_long_text),
}  # fmt: skip
WHOLE_NODE: dict[str, Check] = NODE | {
    "tenant_id": _uuid, "inputs": _or_none(_payload), "process_data": _or_none(_payload),
    "outputs": _or_none(_payload), "execution_metadata": _or_none(_payload), "error": _or_none(_long_text),
}  # fmt: skip


def columns(answer: Any, checks: Mapping[str, Check], expected: Mapping[str, str | None]) -> dict[str, Any]:
    """Returns the columns of one record.

    `expected` names columns that must have certain values; None expects nothing. Raises WrongAnswer otherwise.
    """
    if not isinstance(answer, dict):
        raise WrongAnswer("a record is no object")
    record: dict[str, Any] = {}
    for column, check in checks.items():
        try:
            record[column] = check(answer.get(column))
        except (ValueError, OverflowError, RecursionError):
            raise _wrong(column) from None
    for column, value in expected.items():
        if value is not None and column in record and record[column] != value:
            raise _wrong(column)
    return record


def truncated_fields(answer: Any) -> set[str]:
    """Returns the payload columns of a record that difylog keeps in part."""
    marks = (answer.get("truncated") if isinstance(answer, dict) else None) or []
    if not isinstance(marks, list):
        raise _wrong("truncated")
    fields = {str(mark.get("field")) for mark in marks if isinstance(mark, dict)}
    return fields & {"graph", "inputs", "process_data", "outputs"}


def fill(row: Any, record: Mapping[str, Any]) -> Any:
    """Sets the columns of a transient row and returns it. Columns of an enum get its members, as rows of SQL do."""
    enums = enum_columns(row.__class__)
    for column, value in record.items():
        enum = enums.get(column)
        if enum is not None and value is not None:
            # Old rows hold values that this version does not know.
            with suppress(ValueError):
                value = enum(value)
        setattr(row, column, value)
    return row


@cache
def enum_columns(model: Any) -> dict[str, Any]:
    """Returns the columns of a mapped class whose type turns texts into members of an enum."""
    table = getattr(model, "__table__", None)
    found: dict[str, Any] = {}
    for column in table.columns if table is not None else ():
        enum = getattr(column.type, "_enum_class", None) or getattr(column.type, "enum_class", None)
        if isinstance(enum, type):
            found[column.key] = enum
    return found


def objects(answer: Any, name: str = "data") -> list[Any]:
    """Returns the list of an answer that has one. Raises WrongAnswer if there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise WrongAnswer(f"its answer has no list {name}")
    return found


def count(answer: Any, name: str) -> int:
    """Returns a non-negative integer of an answer."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if type(value) is not int or value < 0:
        raise WrongAnswer(f"its answer has no number {name}")
    return value
