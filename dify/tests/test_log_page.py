"""The log page: Dify's shape out of difylog's answer, with names out of Dify's database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import services.workflow_app_service as service_module
from core.entities import Status
from models import Account, EndUser
from models.trigger import WorkflowTriggerLog

from conftest import APP, OTHER_TENANT, START, TENANT, USER, Scripted
from difylog_dify import patches
from difylog_dify.client import DifylogUnavailable, WrongAnswer

PATH = f"/v1/tenants/{TENANT}/apps/{APP}/workflow-app-logs"
APP_MODEL = SimpleNamespace(id=APP, tenant_id=TENANT)
END_USER = "66666666-6666-4666-8666-666666666666"


def log(run_id: str | None = None, **columns: Any) -> dict[str, Any]:
    run = {
        "id": run_id or str(uuid4()), "version": "1", "status": "failed", "triggered_from": "app-run", "error": None,
        "elapsed_time": 1.5, "total_tokens": 3, "total_steps": 2, "created_at": 1764581411, "finished_at": 1764581412,
        "exceptions_count": 0,
    }  # fmt: skip
    return {
        "id": str(uuid4()), "workflow_run": run, "details": None, "created_from": "web-app",
        "created_by_role": "account", "created_by_account": {"id": USER, "name": None, "email": None},
        "created_by_end_user": None, "created_at": 1764581411,
    } | columns  # fmt: skip


def answer(*rows: dict[str, Any], total: int | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"page": 1, "limit": 20, "total": len(rows) if total is None else total, "data": list(rows)} | more


@pytest.fixture
def ask(api: Scripted, patched: None, sessions: Any) -> Iterator[Callable[..., Any]]:
    patches.patch_log_page(service_module)
    with sessions() as session:
        yield lambda **arguments: service_module.WorkflowAppService().get_paginate_workflow_app_logs(
            session=session, app_model=APP_MODEL, **arguments
        )


def test_rows_have_dify_s_accounts_and_end_users_and_the_errors_of_runs_that_postgresql_has_no_more(
    api: Scripted, ask: Any, sessions: Any
) -> None:
    run_id = str(uuid4())
    with sessions() as session:
        session.add_all([
            Account(id=USER, name="A", email="a@example.com"), EndUser(id=END_USER, tenant_id=TENANT, session_id="s"),
        ])  # fmt: skip
        session.commit()
    by_user = {"created_by_account": None, "created_by_end_user": {"id": END_USER}, "created_by_role": "end_user"}
    failed = log(run_id)
    failed["workflow_run"]["error"] = "it broke"
    api.answers[PATH] = answer(failed, log(**by_user), log(workflow_run=None), total=41)
    found = ask(page=2, limit=20)
    assert (found["page"], found["limit"], found["total"], found["has_more"]) == (2, 20, 41, True)
    first, second, third = found["data"]
    assert (first.created_by_account.email, first.created_by_end_user, first.details) == ("a@example.com", None, None)
    assert (first.workflow_run.error, first.workflow_run.status) == ("it broke", "failed")
    assert first.created_at == START.replace(microsecond=0)
    assert (second.created_by_end_user.session_id, second.workflow_run.error) == ("s", None)
    assert third.workflow_run is None
    assert "errors=true" in api.requests[-1][1]


def test_an_end_user_of_another_tenant_is_not_shown(api: Scripted, ask: Any, sessions: Any) -> None:
    with sessions() as session:
        session.add(EndUser(id=END_USER, tenant_id=OTHER_TENANT, session_id="s"))
        session.commit()
    api.answers[PATH] = answer(log(created_by_account=None, created_by_end_user={"id": END_USER}))
    assert ask()["data"][0].created_by_end_user is None


def test_conditions_are_passed_on(api: Scripted, ask: Any, sessions: Any) -> None:
    with sessions() as session:
        session.add(Account(id=USER, name="A", email="a@example.com"))
        session.commit()
    api.answers[PATH] = answer()
    before = datetime(2025, 12, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    ask(keyword="a&b", status=Status.FAILED, created_at_before=before, created_by_account="a@example.com")
    query = api.requests[0][1]
    for part in ("keyword=a%26b", "status=failed", "created_at__before=2025-12-01T00%3A00%3A00Z", "a%40example.com"):
        assert part in query


def test_an_unknown_account_is_dify_s_error(api: Scripted, ask: Any) -> None:
    with pytest.raises(ValueError, match="Account not found"):
        ask(created_by_account="nobody@example.com")


def test_details_come_from_dify_s_triggers(api: Scripted, ask: Any, sessions: Any) -> None:
    run_id = str(uuid4())
    with sessions() as session:
        for tenant, metadata in ((TENANT, '{"type": "x"}'), (OTHER_TENANT, '{"type": "stolen"}')):
            session.add(
                WorkflowTriggerLog(tenant_id=tenant, app_id=APP, workflow_run_id=run_id, trigger_metadata=metadata)
            )
        session.commit()
    api.answers[PATH] = answer(log(run_id), log())
    found = ask(detail=True)["data"]
    assert [row.details for row in found] == [{"trigger_metadata": {"type": "x"}}, {"trigger_metadata": {}}]


@pytest.mark.parametrize(
    "rows",
    [
        [log(id="x")], [log(created_at="now")], [log(workflow_run={"id": "x"})], ["no object"], [log()] * 21,
        [log(created_by_account={"id": 5})], [log(created_at=10**20)],
    ],
)  # fmt: skip
def test_rows_that_are_none_are_refused(api: Scripted, ask: Any, rows: list[Any]) -> None:
    api.answers[PATH] = answer(*rows)
    with pytest.raises(WrongAnswer):
        ask()


@pytest.mark.parametrize("found", [[], "text", {"data": []}, {"total": -1, "data": []}, {"total": 1, "data": None}])
def test_an_answer_of_another_shape_is_refused(api: Scripted, ask: Any, found: Any) -> None:
    api.answers[PATH] = (200, found)
    with pytest.raises(WrongAnswer):
        ask()


def test_it_falls_back_only_if_it_is_told_to(api: Scripted, ask: Any, configure: Callable[..., Any]) -> None:
    api.answers[PATH] = (503, {"code": "store_unavailable"})
    with pytest.raises(DifylogUnavailable):
        ask()
    configure(api_url=api.url, api_key="k", reads="difylog-then-sql")
    assert ask()["by"] == "sql"
    api.answers[PATH] = answer(incomplete=True)
    assert ask(created_by_end_user_session_id="s")["by"] == "sql"
    configure(reads="sql")
    assert ask()["by"] == "sql"


def test_pages_that_difylog_has_not_are_dify_s(api: Scripted, ask: Any) -> None:
    for arguments in ({"limit": 1000}, {"limit": 0}, {"page": 100_000}):
        assert ask(**arguments)["by"] == "sql"
    assert api.requests == []


def test_utc_is_what_dify_s_timestamps_are() -> None:
    from difylog_dify.log_page import _seconds

    assert _seconds(1764581411).replace(tzinfo=UTC).timestamp() == 1764581411
