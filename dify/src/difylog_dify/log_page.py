"""The log page of a workflow app, answered by difylog in the shape of `WorkflowAppService`."""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from difylog_dify import records
from difylog_dify.client import WrongAnswer, client
from difylog_dify.events import plain, timestamp
from difylog_dify.host import answer
from difylog_dify.records import is_uuid
from difylog_dify.settings import current

logger = logging.getLogger(__name__)

MAX_PAGE, MAX_LIMIT, MAX_KEYWORD = 99_999, 100, 1000


def paginate(
    sql: Callable[..., Any], service: Any, *, session: Any, app_model: Any, page: int = 1, limit: int = 20,
    detail: bool = False, **filters: Any,
) -> Any:  # fmt: skip
    """Returns what Dify's own method returns: page, limit, total, has_more and the rows.

    `sql` is that method; it answers where difylog cannot. Names of accounts and end users and trigger details come from
    Dify's database, in one statement each. Raises ValueError for an unknown account, as Dify does.
    """

    def from_sql() -> Any:
        return sql(session=session, app_model=app_model, page=page, limit=limit, detail=detail, **filters)

    ids = (str(app_model.tenant_id), str(app_model.id))
    is_page = 1 <= page <= MAX_PAGE and 1 <= limit <= MAX_LIMIT
    if not current().asks_difylog or not is_page or not all(is_uuid(value) for value in ids):
        return from_sql()
    _check_account(session, filters.get("created_by_account"))

    def ask() -> Any:
        path = f"/v1/tenants/{ids[0]}/apps/{ids[1]}/workflow-app-logs"
        found = client().get(path, _conditions(filters) | {"page": page, "limit": limit, "errors": "true"})
        if found is None:
            raise WrongAnswer("it does not know the tenant")
        total, items = records.count(found, "total"), records.objects(found)
        if found.get("incomplete"):
            logger.warning(
                "difylog cannot find every log by session id or e-mail: set serve.names = true and [postgres] there"
            )
            if current().falls_back:
                return from_sql()
        rows = [_row(item) for item in items]
        if len(rows) > limit:
            raise WrongAnswer("it answers more rows than were asked for")
        _complete(session, ids[0], rows)
        if detail:
            _add_details(session, service, app_model, rows)
        return {"page": page, "limit": limit, "total": total, "has_more": total > page * limit, "data": rows}

    return answer(ask, from_sql)


def _conditions(filters: dict[str, Any]) -> dict[str, str | int | None]:
    def instant(value: datetime | None) -> str | None:
        return f"{timestamp(value)}Z" if value else None

    return {
        "keyword": (filters.get("keyword") or "")[:MAX_KEYWORD] or None,
        "status": plain(filters.get("status")) or None,
        "created_at__before": instant(filters.get("created_at_before")),
        "created_at__after": instant(filters.get("created_at_after")),
        "created_by_end_user_session_id": filters.get("created_by_end_user_session_id") or None,
        "created_by_account": filters.get("created_by_account") or None,
    }


def _check_account(session: Any, email: str | None) -> None:
    if not email:
        return
    from models import Account
    from sqlalchemy import select

    if session.scalar(select(Account.id).where(Account.email == email)) is None:
        raise ValueError(f"Account not found: {email}")


def _seconds(value: Any) -> datetime:
    if type(value) is not int:
        raise ValueError
    return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)


_TEXT, _ID = records.RUN["version"], records.RUN["id"]
_LOG = {"id": _ID, "created_from": _TEXT, "created_by_role": _TEXT, "created_at": _seconds}
_RUN = {
    name: records.WHOLE_RUN[name]
    for name in (
        "id", "version", "status", "triggered_from", "error", "elapsed_time", "total_tokens", "total_steps",
        "exceptions_count",
    )
} | {"created_at": _seconds, "finished_at": lambda value: None if value is None else _seconds(value)}  # fmt: skip


def _row(item: Any) -> SimpleNamespace:
    row = SimpleNamespace(**records.columns(item, _LOG, {}), details=None)
    run = item.get("workflow_run")
    row.workflow_run = None if run is None else SimpleNamespace(**records.columns(run, _RUN, {}))
    for name in ("created_by_account", "created_by_end_user"):
        creator = item.get(name)
        setattr(row, name, None if creator is None else records.columns(creator, {"id": _ID}, {})["id"])
    return row


def _complete(session: Any, tenant_id: str, rows: Iterable[SimpleNamespace]) -> None:
    """Puts Dify's own accounts and end users in the place of their ids."""
    from models import Account, EndUser
    from sqlalchemy import select

    rows = list(rows)
    wanted = {
        name: {getattr(row, name) for row in rows} - {None} for name in ("created_by_account", "created_by_end_user")
    }
    accounts: dict[str, Any] = {}
    if ids := wanted["created_by_account"]:
        found = session.scalars(select(Account).where(Account.id.in_(ids))).all()
        accounts = {str(account.id): account for account in found}
    users: dict[str, Any] = {}
    if ids := wanted["created_by_end_user"]:
        stmt = select(EndUser).where(EndUser.id.in_(ids), EndUser.tenant_id == tenant_id)
        users = {str(user.id): user for user in session.scalars(stmt).all()}
    for row in rows:
        row.created_by_account = accounts.get(row.created_by_account)
        row.created_by_end_user = users.get(row.created_by_end_user)


def _add_details(session: Any, service: Any, app_model: Any, rows: Iterable[SimpleNamespace]) -> None:
    from models.trigger import WorkflowTriggerLog
    from sqlalchemy import select

    rows = list(rows)
    ids = [row.workflow_run.id for row in rows if row.workflow_run is not None]
    stmt = select(WorkflowTriggerLog.workflow_run_id, WorkflowTriggerLog.trigger_metadata).where(
        WorkflowTriggerLog.tenant_id == app_model.tenant_id,
        WorkflowTriggerLog.app_id == app_model.id,
        WorkflowTriggerLog.workflow_run_id.in_(ids),
    )
    found = {str(run_id): metadata for run_id, metadata in (session.execute(stmt).all() if ids else [])}
    for row in rows:
        metadata = found.get(row.workflow_run.id) if row.workflow_run is not None else None
        row.details = {"trigger_metadata": service.handle_trigger_metadata(app_model.tenant_id, metadata)}
