"""Deletes that go to difylog as well, before PostgreSQL's own: a delete that fails can be tried again as a whole."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from difylog_dify import records
from difylog_dify.client import client
from difylog_dify.settings import current

MAX_IDS = 10_000


def _wanted() -> bool:
    settings = current()
    return settings.enabled and bool(settings.api_url) and settings.deletes == "both"


def of_app(tenant_id: str, app_id: str, what: str) -> int:
    """Deletes `workflow-runs` or `node-executions` of an app; returns how many. Raises DifylogUnavailable."""
    if not _wanted() or not records.is_uuid(tenant_id) or not records.is_uuid(app_id):
        return 0
    found = client().delete(f"/v1/tenants/{tenant_id}/apps/{app_id}/{what}")
    return 0 if found is None else records.count(found, "deleted")


def of_rows(rows: Iterable[Any], *, related: bool) -> int:
    """Deletes the runs that `rows` stand for; returns how many. Raises DifylogUnavailable."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_tenant[str(row.tenant_id)].append(str(row.id))
    if not _wanted():
        return 0
    deleted = 0
    for tenant_id, ids in by_tenant.items():
        for start in range(0, len(ids), MAX_IDS):
            body = {"run_ids": ids[start : start + MAX_IDS], "related": related}
            found = client().post(f"/v1/tenants/{tenant_id}/deletions", body)
            deleted += 0 if found is None else records.count(found, "runs")
    return deleted


def runs(session_maker: Any, run_ids: Sequence[str], *, related: bool) -> int:
    """Deletes the runs of which PostgreSQL still has the row, which names the tenant; returns how many."""
    if not run_ids or not _wanted():
        return 0
    from models.workflow import WorkflowRun
    from sqlalchemy import select

    with session_maker() as session:
        stmt = select(WorkflowRun.id, WorkflowRun.tenant_id).where(WorkflowRun.id.in_(run_ids))
        rows = list(session.execute(stmt).all())
    return of_rows(rows, related=related)
