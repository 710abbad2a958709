"""The log page in the newest versions of Dify, whose query takes ids and returns values instead of rows."""

from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from difylog_dify import log_page
from difylog_dify.records import is_uuid
from difylog_dify.settings import current


def paginate(module: ModuleType, repository: Any, sql: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Returns the page that `sql`, the repository's own method, would return.

    `module` has the classes of the values. A filter by account is Dify's own: it looks at memberships.
    """
    given = dict(arguments)
    tenant_id, app_id = str(given.get("tenant_id")), str(given.get("app_id"))
    is_askable = is_uuid(tenant_id) and is_uuid(app_id) and not given.get("created_by_account")
    if not current().asks_difylog or not is_askable:
        return sql(**arguments)

    def from_sql(**_: Any) -> Any:
        return sql(**arguments)

    filters = {name: value for name, value in given.items() if name not in ("tenant_id", "app_id")}
    # Details go through as the texts that they are in this version.
    service = SimpleNamespace(handle_trigger_metadata=lambda _tenant_id, metadata: metadata)
    app_model = SimpleNamespace(id=app_id, tenant_id=tenant_id)
    with repository._session_factory() as session:
        found = log_page.paginate(from_sql, service, session=session, app_model=app_model, **filters)
        if not isinstance(found, dict):
            return found
        items = tuple(_item(module, row) for row in found["data"])
    return module.WorkflowAppLogPage(**{**found, "data": items})


def _item(module: ModuleType, row: Any) -> Any:
    run, account, user = row.workflow_run, row.created_by_account, row.created_by_end_user
    return module.WorkflowAppLogItem(
        id=row.id,
        workflow_run=module.WorkflowAppLogRunSummary(**vars(run)) if run is not None else None,
        details=row.details,
        created_from=row.created_from,
        created_by_role=row.created_by_role,
        created_by_account=account
        and module.WorkflowAppLogAccount(id=str(account.id), name=account.name, email=account.email),
        created_by_end_user=user
        and module.WorkflowAppLogEndUser(
            id=str(user.id), type=str(user.type), is_anonymous=False, session_id=user.session_id
        ),
        created_at=row.created_at,
    )
