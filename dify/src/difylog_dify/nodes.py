"""Reads of node executions, and the transient rows made of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

from difylog_dify import records
from difylog_dify.client import WrongAnswer, client

# Longer than any `refresh_interval` in use: what is older is in every list.
_FRESH = timedelta(seconds=60)
PLACEHOLDER_FILE = "00000000-0000-0000-0000-000000000000"


def of_run(
    tenant_id: str, app_id: str | None, run_id: str, *, triggered_from: str | None = None, whole: bool = False
) -> list[Any]:
    """Returns every node execution of a run, oldest start first, as transient rows. At most `refresh_interval` late.

    With `whole`, payloads that difylog keeps in part come in full. Raises DifylogUnavailable.
    """
    params = {
        "workflow_run_id": run_id, "app_id": app_id or None, "triggered_from": triggered_from, "order": "asc",
        "full": "true" if whole else None,
    }  # fmt: skip
    expected = {"tenant_id": tenant_id, "app_id": app_id or None, "workflow_run_id": run_id}
    lines = client().lines(f"/v1/tenants/{tenant_id}/export/nodes", params)
    return [_row(line, expected | {"triggered_from": triggered_from}) for line in lines]


def may_lack_some(rows: Sequence[Any]) -> bool:
    """Returns whether executions that followed these may not be in lists yet: one still runs, or ended too lately."""
    fresh = datetime.now(UTC).replace(tzinfo=None) - _FRESH
    return any(row.finished_at is None or row.finished_at > fresh for row in rows)


def by_id(execution_id: str, tenant_id: str | None) -> Any | None:
    """Returns one node execution, or None. Sees every write that the store has confirmed.

    Without a tenant the key must be an admin's. Raises DifylogUnavailable.
    """
    path = f"/v1/tenants/{tenant_id}/nodes/{execution_id}" if tenant_id else f"/v1/admin/nodes/{execution_id}"
    found = client().get(path)
    return None if found is None else _row(found, {"id": execution_id, "tenant_id": tenant_id})


def last_of_node(tenant_id: str, app_id: str, workflow_id: str, node_id: str, *, paused: bool) -> Any | None:
    """Returns the latest execution of a node of any trigger, or None. At most `refresh_interval` late."""
    params = {
        "app_id": app_id, "workflow_id": workflow_id, "node_id": node_id, "limit": 1 if paused else 20,
        "sort": "created_at", "order": "desc",
    }  # fmt: skip
    found = client().get(f"/v1/tenants/{tenant_id}/nodes", params)
    if found is None:
        raise WrongAnswer("it does not know the tenant")
    expected = {"app_id": app_id, "workflow_id": workflow_id, "node_id": node_id}
    for item in records.objects(found):
        row = records.columns(item.get("row") if isinstance(item, dict) else None, records.NODE, expected)
        if paused or row["status"] != "paused":
            return by_id(row["id"], tenant_id)
    return None


def light(row: Any) -> Any:
    """Returns what a replayed stream needs of an execution."""
    metadata = row.execution_metadata_dict
    names = ("node_id", "node_type", "title", "index", "status", "elapsed_time", "created_at", "finished_at")
    return SimpleNamespace(
        execution_id=row.node_execution_id or row.id, iteration_id=metadata.get("iteration_id"),
        loop_id=metadata.get("loop_id"), **{name: getattr(row, name) for name in names},
    )  # fmt: skip


def ordered(rows: Sequence[Any], order_config: Any) -> list[Any]:
    """Returns the rows in the order of Dify's `OrderConfig`; NULLs as PostgreSQL has them."""
    found = list(rows)
    fields = [name for name in (getattr(order_config, "order_by", None) or []) if name in records.WHOLE_NODE]
    descending = getattr(order_config, "order_direction", None) == "desc"
    for name in reversed(fields):
        found.sort(key=lambda row, name=name: _sortable(getattr(row, name)), reverse=descending)
    return found


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)


def _row(answer: Any, expected: dict[str, str | None]) -> Any:
    from models.workflow import WorkflowNodeExecutionModel

    record = records.columns(answer, records.WHOLE_NODE, expected)
    row = records.fill(WorkflowNodeExecutionModel(), record)
    cut = records.truncated_fields(answer) - {"graph"}
    row.offload_data = [_mark(row, field) for field in sorted(cut)]
    for field in cut:
        # Dify would look for the rest in its own file storage.
        setattr(row, f"load_full_{field}", partial(_load_full, row.tenant_id, row.id, field))
    return row


def _mark(row: Any, field: str) -> Any:
    """Returns a transient offload row: it is how Dify knows that a payload is shown in part."""
    from models.workflow import WorkflowNodeExecutionOffload

    mark = WorkflowNodeExecutionOffload(
        tenant_id=row.tenant_id, app_id=row.app_id, node_execution_id=row.id, type_=_offload_type(field),
        file_id=PLACEHOLDER_FILE,
    )  # fmt: skip
    mark.created_at = row.created_at
    return mark


def _offload_type(field: str) -> Any:
    from models.enums import ExecutionOffLoadType

    return ExecutionOffLoadType(field)


def _load_full(tenant_id: str, execution_id: str, field: str, *_: Any, **__: Any) -> Any:
    import json

    found = client().get(f"/v1/tenants/{tenant_id}/nodes/{execution_id}", {"full": "true"})
    if found is None:
        return None
    record = records.columns(found, records.WHOLE_NODE, {"id": execution_id, "tenant_id": tenant_id})
    return json.loads(record[field]) if record[field] else None
