"""Reads of runs, and the transient rows made of them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from difylog_dify import records
from difylog_dify.client import WrongAnswer, client

PAGE = 100
_TIME_RANGE = re.compile(r"[0-9]+[dhms]")
COUNTED = ("running", "succeeded", "failed", "stopped", "partial-succeeded")


def by_id(run_id: str, tenant_id: str | None, app_id: str | None = None) -> Any | None:
    """Returns one run with graph and payloads in full, or None. Sees every write that the store has confirmed.

    Without a tenant the key must be an admin's. Raises DifylogUnavailable.
    """
    if tenant_id is None:
        found = client().get(f"/v1/admin/runs/{run_id}")
        if found is not None and records.truncated_fields(found):
            tenant_id = records.columns(found, {"tenant_id": records.WHOLE_RUN["tenant_id"]}, {})["tenant_id"]
    if tenant_id is not None:
        found = client().get(f"/v1/tenants/{tenant_id}/runs/{run_id}", {"full": "true"})
    if found is None:
        return None
    record = records.columns(found, records.WHOLE_RUN, {"id": run_id, "tenant_id": tenant_id})
    if app_id is not None and record["app_id"] != app_id:
        # As in SQL: a run of another app is not there.
        return None
    return records.fill(_model(), record)


def page(
    tenant_id: str, app_id: str, triggered_from: Sequence[str], status: str | None, limit: int, last_id: str | None
) -> tuple[list[Any], bool]:
    """Returns the runs after `last_id`, newest first, ties by descending id, without payloads; and whether more follow.

    At most `refresh_interval` late. Raises ValueError if the last run is not in this list, and DifylogUnavailable.
    """
    expected: dict[str, str | None] = {"app_id": app_id, "status": status or None}
    params: dict[str, str | int | None] = {
        "app_id": app_id, "status": status or None, "triggered_from": ",".join(triggered_from) or None,
        "sort": "created_at", "order": "desc",
    }  # fmt: skip
    after: tuple[datetime, str] | None = None
    if last_id:
        last = by_id(last_id, tenant_id, app_id)
        if last is None or (triggered_from and last.triggered_from not in triggered_from) or status not in (
            None, "", last.status,
        ):  # fmt: skip
            raise ValueError("Last workflow run not exists")
        after = (last.created_at, last.id)
        params["created_at_until"] = (last.created_at + timedelta(microseconds=1)).isoformat()
    rows: list[Any] = []
    cursor: str | None = None
    while True:
        found = client().get(
            f"/v1/tenants/{tenant_id}/runs", params | {"cursor": cursor, "limit": min(limit + 1 - len(rows), PAGE)}
        )
        if found is None:
            raise WrongAnswer("it does not know the tenant")
        for item in records.objects(found):
            record = records.columns(item.get("row") if isinstance(item, dict) else None, records.RUN, expected)
            if triggered_from and record["triggered_from"] not in triggered_from:
                raise WrongAnswer("a record's triggered_from is not what was asked for")
            if after is None or (record["created_at"], record["id"]) < after:
                rows.append(records.fill(_model(), record | {"tenant_id": tenant_id}))
        following = found.get("next")
        if len(rows) > limit or following is None:
            return rows[:limit], len(rows) > limit
        if not isinstance(following, str) or following == cursor:
            raise WrongAnswer("its cursor is not what it must be")
        cursor = following


def counts(
    tenant_id: str, app_id: str, triggered_from: str, status: str | None, time_range: str | None
) -> dict[str, int]:
    """Returns the number of runs by status, as Dify's own method. At most `refresh_interval` late."""
    # Dify takes a range that it cannot read for none.
    is_range = bool(time_range and _TIME_RANGE.fullmatch(time_range.lower()))
    params = {
        "triggered_from": triggered_from, "status": status or None,
        "time_range": time_range.lower() if is_range and time_range else None,
    }  # fmt: skip
    found = client().get(f"/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs/count", params)
    if found is None:
        raise WrongAnswer("it does not know the tenant")
    return {"total": records.count(found, "total")} | {
        name: records.count(found, name.replace("-", "_")) for name in COUNTED
    }


def daily(
    statistic: str, tenant_id: str, app_id: str, triggered_from: str, bounds: Mapping[str, str | None], timezone: str
) -> list[dict[str, Any]]:
    """Returns the days of a statistic as difylog answers them, oldest first."""
    params = {**bounds, "timezone": timezone, "triggered_from": triggered_from}
    found = client().get(f"/v1/tenants/{tenant_id}/apps/{app_id}/workflow/statistics/{statistic}", params)
    if found is None:
        raise WrongAnswer("it does not know the tenant")
    days = records.objects(found)
    for day in days:
        if not isinstance(day, dict) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", str(day.get("date"))):
            raise WrongAnswer("a day has no date")
    return days


def local_minute(instant: datetime | None, timezone: str) -> str | None:
    """Returns an instant as the local minute that difylog's statistics take.

    Raises ValueError where that loses something: seconds, or the first of two equal hours when the clock goes back.
    """
    from zoneinfo import ZoneInfo

    if not instant:
        return None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    local = aware.astimezone(ZoneInfo(timezone))
    is_first_of_two = local.fold == 0 and local.replace(fold=1).utcoffset() != local.utcoffset()
    if local.second or local.microsecond or is_first_of_two:
        raise ValueError("not a local minute")
    return local.strftime("%Y-%m-%d %H:%M")


def _model() -> Any:
    from models.workflow import WorkflowRun

    return WorkflowRun()
