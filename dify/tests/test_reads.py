"""Reads through the API repositories: what is asked, what callers get, and answers that are refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from core.entities import Status
from models.enums import WorkflowRunTriggeredFrom
from models.workflow import WorkflowNodeExecutionModel, WorkflowRun
from repositories.elasticsearch_api_workflow_node_execution_repository import (
    ElasticsearchAPIWorkflowNodeExecutionRepository,
)
from repositories.elasticsearch_api_workflow_run_repository import ElasticsearchAPIWorkflowRunRepository

from conftest import APP, OTHER_TENANT, START, TENANT, USER, WORKFLOW, Scripted, node_answer, run_answer
from difylog_dify import runs as run_reads
from difylog_dify.client import DifylogUnavailable, WrongAnswer

T = f"/v1/tenants/{TENANT}"
A = f"{T}/apps/{APP}"


@pytest.fixture
def runs(sessions: Any) -> Any:
    return ElasticsearchAPIWorkflowRunRepository(session_maker=sessions)


@pytest.fixture
def nodes(sessions: Any) -> Any:
    return ElasticsearchAPIWorkflowNodeExecutionRepository(session_maker=sessions)


def page(rows: list[dict], following: str | None = None) -> tuple[int, dict]:
    light = [{key: value for key, value in row.items() if key not in ("tenant_id", "graph")} for row in rows]
    return 200, {"data": [{"row": row, "snippets": []} for row in light], "next": following}


def add(sessions: Any, row: Any) -> Any:
    with sessions() as session:
        session.add(row)
        session.commit()
    return row


def sql_run(run_id: str, **columns: Any) -> WorkflowRun:
    values = {
        "id": run_id, "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW, "type": "workflow",
        "triggered_from": "app-run", "version": "1", "status": "succeeded", "created_by_role": "account",
        "created_by": USER, "created_at": START,
    } | columns  # fmt: skip
    return WorkflowRun(**values)


def sql_node(**columns: Any) -> WorkflowNodeExecutionModel:
    values = {
        "id": str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW, "index": 1, "node_id": "1733",
        "triggered_from": "single-step", "node_type": "code", "title": "t", "status": "succeeded", "created_at": START,
        "created_by_role": "account", "created_by": USER,
    } | columns  # fmt: skip
    return WorkflowNodeExecutionModel(**values)


def test_a_run_has_the_columns_of_its_row(api: Scripted, runs: Any) -> None:
    answer = run_answer()
    api.answers[f"{T}/runs/{answer['id']}"] = (200, answer)
    found = runs.get_workflow_run_by_id(tenant_id=TENANT, app_id=APP, run_id=answer["id"])
    assert isinstance(found, WorkflowRun)
    assert (found.id, found.tenant_id, found.created_at) == (answer["id"], TENANT, START)
    assert (found.inputs_dict, found.inputs, found.outputs) == ({"q": "退款"}, '{"q": "\\u9000\\u6b3e"}', None)
    assert runs.asked == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant_id": OTHER_TENANT}, {"tenant_id": None}, {"id": str(uuid4())}, {"id": "../../x"}, {"status": 5},
        {"created_at": "yesterday"}, {"created_at": 5}, {"total_tokens": "7"}, {"total_tokens": True},
        {"version": "x" * 300}, {"created_by": None}, {"error": {"a": 1}}, {"elapsed_time": "1"},
    ],
)  # fmt: skip
def test_a_record_that_is_not_what_was_asked_for_is_refused(api: Scripted, runs: Any, wrong: dict[str, Any]) -> None:
    run_id = str(uuid4())
    api.answers[f"{T}/runs/{run_id}"] = (200, run_answer(**{"id": run_id} | wrong))
    with pytest.raises(WrongAnswer):
        runs.get_workflow_run_by_id(TENANT, APP, run_id)


def test_a_run_of_another_app_is_not_there(api: Scripted, runs: Any) -> None:
    answer = run_answer(app_id=str(uuid4()))
    api.answers[f"{T}/runs/{answer['id']}"] = (200, answer)
    assert runs.get_workflow_run_by_id(TENANT, APP, answer["id"]) is None


def test_what_difylog_does_not_know_yet_postgresql_answers(api: Scripted, runs: Any, sessions: Any) -> None:
    run_id = add(sessions, sql_run(str(uuid4()))).id
    assert runs.get_workflow_run_by_id(TENANT, APP, run_id).version == "1"
    assert runs.get_workflow_run_by_id_without_tenant(run_id).version == "1"


def test_postgresql_knows_first_that_a_run_has_ended(api: Scripted, runs: Any, sessions: Any) -> None:
    answer = run_answer(status="running", finished_at=None)
    add(sessions, sql_run(answer["id"], status="succeeded", total_steps=9))
    api.answers[f"{T}/runs/{answer['id']}"] = (200, answer)
    assert runs.get_workflow_run_by_id(TENANT, APP, answer["id"]).status == "succeeded"


def test_in_primary_mode_only_the_state_comes_from_the_control_row(
    api: Scripted, runs: Any, sessions: Any, configure: Callable[..., Any]
) -> None:
    configure(api_url=api.url, api_key="k", mode="primary", amqp_url="amqp://127.0.0.1:1/")
    answer = run_answer(status="running", finished_at=None)
    add(sessions, sql_run(answer["id"], status="paused", total_steps=9))
    api.answers[f"{T}/runs/{answer['id']}"] = (200, answer)
    found = runs.get_workflow_run_by_id(TENANT, APP, answer["id"])
    assert (found.status, found.total_steps, found.inputs_dict) == ("paused", 9, {"q": "退款"})


def test_without_a_tenant_an_admin_s_key_is_used_or_else_the_row_s_tenant(
    api: Scripted, runs: Any, sessions: Any
) -> None:
    answer = run_answer()
    api.answers[f"/v1/admin/runs/{answer['id']}"] = (200, answer)
    assert runs.get_workflow_run_by_id_without_tenant(answer["id"]).tenant_id == TENANT
    other = run_answer()
    add(sessions, sql_run(other["id"]))
    api.answers["/v1/admin/"] = (403, {"code": "forbidden"})
    api.answers[f"{T}/runs/{other['id']}"] = (200, other)
    assert runs.get_workflow_run_by_id_without_tenant(other["id"]).version == "draft"


def test_an_id_that_is_none_never_gets_into_a_path(api: Scripted, runs: Any, nodes: Any) -> None:
    for bad in ("../../../admin/runs/x", "", "x?full=true", str(uuid4()).upper(), "0" * 32, f"{uuid4()}\n"):
        assert runs.get_workflow_run_by_id(TENANT, APP, bad) is None
        runs.get_workflow_run_by_id(bad, APP, str(uuid4()))
        runs.get_paginated_workflow_runs(bad, APP, "debugging")
        nodes.get_execution_by_id(bad, TENANT)
        nodes.get_executions_by_workflow_run(TENANT, APP, bad)
    assert api.requests == []


def test_pages_are_exact_and_no_tie_is_lost(api: Scripted, runs: Any) -> None:
    ids = sorted((str(uuid4()) for _ in range(5)), reverse=True)
    rows = [run_answer(id=run_id) for run_id in ids]
    api.answers[f"{T}/runs"] = page(rows[:3])
    first = runs.get_paginated_workflow_runs(
        tenant_id=TENANT, app_id=APP, triggered_from=WorkflowRunTriggeredFrom.APP_RUN, limit=2
    )
    assert ([row.id for row in first.data], first.has_more, first.limit) == (ids[:2], True, 2)
    assert "triggered_from=app-run" in api.requests[0][1]
    assert "limit=3" in api.requests[0][1]
    # All five have one timestamp: the second page is asked for from that instant on, and begins after the cursor.
    api.answers[f"{T}/runs/{ids[1]}"] = (200, rows[1])
    api.answers[f"{T}/runs"] = page(rows)
    second = runs.get_paginated_workflow_runs(TENANT, APP, ["app-run"], 2, ids[1], None)
    assert ([row.id for row in second.data], second.has_more) == (ids[2:4], True)
    assert "created_at_until=2025-12-01T09%3A30%3A11.123457" in api.requests[-1][1]


def test_a_page_goes_on_where_difylog_s_page_ends(api: Scripted, runs: Any) -> None:
    rows = [run_answer(created_at=(START - timedelta(seconds=number)).isoformat()) for number in range(4)]

    def answer(request: Any) -> tuple[int, dict]:
        return page(rows[2:]) if "cursor=c1" in request.path else page(rows[:2], "c1")

    api.answers[f"{T}/runs"] = answer
    found = runs.get_paginated_workflow_runs(TENANT, APP, [], 20)
    assert [row.id for row in found.data] == [row["id"] for row in rows]
    assert not found.has_more


@pytest.mark.parametrize("in_list", [{"status": "failed"}, {"triggered_from": "debugging"}, {"app_id": str(uuid4())}])
def test_a_last_run_that_is_not_in_the_list_is_dify_s_error(api: Scripted, runs: Any, in_list: dict[str, str]) -> None:
    last = run_answer(**in_list)
    api.answers[f"{T}/runs/{last['id']}"] = (200, last)
    with pytest.raises(ValueError, match="Last workflow run not exists"):
        runs.get_paginated_workflow_runs(TENANT, APP, "app-run", 20, last["id"], "succeeded")


@pytest.mark.parametrize("wrong", [{"app_id": str(uuid4())}, {"triggered_from": "debugging"}, {"status": "failed"}])
def test_a_list_with_rows_of_others_is_refused(api: Scripted, runs: Any, wrong: dict[str, str]) -> None:
    api.answers[f"{T}/runs"] = page([run_answer(), run_answer(**wrong)])
    with pytest.raises(WrongAnswer):
        runs.get_paginated_workflow_runs(TENANT, APP, "app-run", 20, None, "succeeded")


def test_a_cursor_that_does_not_move_is_refused(api: Scripted, runs: Any) -> None:
    api.answers[f"{T}/runs"] = page([], "same")
    with pytest.raises(WrongAnswer):
        runs.get_paginated_workflow_runs(TENANT, APP, "app-run")


def test_counts_have_dify_s_keys(api: Scripted, runs: Any) -> None:
    counts = {"total": 9, "running": 1, "succeeded": 2, "failed": 3, "stopped": 0, "partial_succeeded": 1}
    api.answers[f"{A}/workflow-runs/count"] = (200, counts)
    found = runs.get_workflow_runs_count(TENANT, APP, "app-run", None, "7D")
    assert found == {"total": 9, "running": 1, "succeeded": 2, "failed": 3, "stopped": 0, "partial-succeeded": 1}
    assert "time_range=7d" in api.requests[0][1]
    # What Dify cannot read it takes for no range.
    runs.get_workflow_runs_count(TENANT, APP, "app-run", "failed", "soon")
    assert "time_range" not in api.requests[1][1]
    runs.get_workflow_runs_count(TENANT, APP, "app-run", None, "1000000s")
    assert "time_range=1000000s" in api.requests[2][1]


def test_statistics_have_dify_s_types(api: Scripted, runs: Any) -> None:
    day = {"date": "2025-12-01", "runs": 5, "terminal_count": 2, "token_count": "3000000000", "interactions": 2.5}
    api.answers[f"{A}/workflow/statistics/"] = (200, {"data": [day]})
    start = datetime(2025, 11, 30, 16, tzinfo=UTC)
    arguments = {"tenant_id": TENANT, "app_id": APP, "triggered_from": "app-run", "timezone": "Asia/Shanghai"}
    assert runs.get_daily_runs_statistics(**arguments, start_date=start) == [{"date": "2025-12-01", "runs": 5}]
    assert runs.get_daily_terminals_statistics(**arguments) == [{"date": "2025-12-01", "terminal_count": 2}]
    cost = runs.get_daily_token_cost_statistics(**arguments)
    assert cost == [{"date": "2025-12-01", "token_count": Decimal(3_000_000_000)}]
    assert runs.get_average_app_interaction_statistics(**arguments) == [{"date": "2025-12-01", "interactions": 2.5}]
    assert "start=2025-12-01+00%3A00" in api.requests[0][1]
    assert "timezone=Asia%2FShanghai" in api.requests[0][1]


@pytest.mark.parametrize(
    ("instant", "zone", "minute"),
    [
        (datetime(2025, 12, 1, 0, 0), "UTC", "2025-12-01 00:00"),
        (datetime(2025, 7, 1, 4, 30, tzinfo=UTC), "America/New_York", "2025-07-01 00:30"),
        # The second of two equal hours is standard time, as difylog reads it.
        (datetime(2025, 11, 2, 6, 30, tzinfo=UTC), "America/New_York", "2025-11-02 01:30"),
        (None, "UTC", None),
    ],
)
def test_an_instant_as_a_local_minute(instant: datetime | None, zone: str, minute: str | None) -> None:
    assert run_reads.local_minute(instant, zone) == minute


@pytest.mark.parametrize(
    ("instant", "zone"),
    [
        (datetime(2025, 12, 1, 0, 0, 1), "UTC"),
        (datetime(2025, 11, 2, 5, 30, tzinfo=UTC), "America/New_York"),
        (datetime(2025, 12, 1), "Not/AZone"),
    ],
)
def test_what_no_local_minute_says_is_asked_of_sql(api: Scripted, runs: Any, instant: datetime, zone: str) -> None:
    assert runs.get_daily_runs_statistics(TENANT, APP, "app-run", instant, None, zone)[0]["date"] == "sql"
    assert api.requests == []


def test_reads_fall_back_only_if_they_are_told_to(
    api: Scripted, runs: Any, nodes: Any, configure: Callable[..., Any]
) -> None:
    api.answers["/"] = (503, {"code": "store_unavailable"})
    with pytest.raises(DifylogUnavailable):
        runs.get_paginated_workflow_runs(TENANT, APP, "app-run")
    configure(api_url=api.url, api_key="k", reads="difylog-then-sql")
    assert runs.get_paginated_workflow_runs(TENANT, APP, "app-run").data == []
    assert runs.get_workflow_run_by_id(TENANT, APP, str(uuid4())) is None
    assert runs.get_workflow_runs_count(TENANT, APP, "app-run") == {"total": 0}
    assert nodes.get_executions_by_workflow_run(TENANT, APP, str(uuid4())) == []
    api.answers[f"{A}/workflow-runs/count"] = (400, {"code": "invalid_param"})
    assert runs.get_workflow_runs_count(TENANT, APP, "app-run") == {"total": 0}
    configure(api_url=api.url, api_key="k", reads="sql")
    before = len(api.requests)
    runs.get_paginated_workflow_runs(TENANT, APP, "app-run")
    assert len(api.requests) == before


def test_pauses_are_dify_s_own(api: Scripted, runs: Any, sessions: Any) -> None:
    row = add(sessions, sql_run(str(uuid4()), status="running"))
    assert runs.create_workflow_pause(row.id, USER, "{}", []) == "running"
    assert api.requests == []


def lines(*answers: dict) -> tuple[int, bytes]:
    import json

    return 200, b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


def test_the_nodes_of_a_run_come_whole_and_in_order(api: Scripted, nodes: Any) -> None:
    run_id = str(uuid4())
    answers = [node_answer(workflow_run_id=run_id, index=number) for number in range(1, 1203)]
    api.answers[f"{T}/export/nodes"] = lines(*answers)
    found = nodes.get_executions_by_workflow_run(TENANT, APP, run_id)
    assert [row.id for row in found] == [answer["id"] for answer in answers]
    assert "order=asc" in api.requests[0][1]


def test_a_run_that_has_just_ended_has_the_nodes_of_who_knows_more(api: Scripted, nodes: Any, sessions: Any) -> None:
    run_id, now = str(uuid4()), datetime.now(UTC).replace(tzinfo=None)
    # The list of the engine has been refreshed between the first node and the second.
    first = node_answer(workflow_run_id=run_id, created_at=now.isoformat(), finished_at=now.isoformat())
    api.answers[f"{T}/export/nodes"] = lines(first)
    assert [row.id for row in nodes.get_executions_by_workflow_run(TENANT, APP, run_id)] == [first["id"]]
    columns = {"workflow_run_id": run_id, "triggered_from": "workflow-run", "created_at": now}
    rows = {add(sessions, sql_node(id=one, **columns)).id for one in (first["id"], str(uuid4()))}
    assert {row.id for row in nodes.get_executions_by_workflow_run(TENANT, APP, run_id)} == rows
    longer = [first, *(first | {"id": str(uuid4()), "index": number} for number in (2, 3))]
    api.answers[f"{T}/export/nodes"] = lines(*longer)
    assert len(nodes.get_executions_by_workflow_run(TENANT, APP, run_id)) == 3


def test_a_node_that_still_runs_has_others_after_it_whenever_it_began(api: Scripted, nodes: Any, sessions: Any) -> None:
    run_id, begun = str(uuid4()), datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    columns = {"workflow_run_id": run_id, "created_at": begun.isoformat()}
    ended = node_answer(**columns, finished_at=begun.isoformat())
    # As of some seconds ago: in PostgreSQL it has ended, and so has its follower.
    running = node_answer(**columns, finished_at=None, status="running", index=2)
    sql = {"workflow_run_id": run_id, "triggered_from": "workflow-run", "created_at": begun}
    rows = {add(sessions, sql_node(id=one, **sql)).id for one in (ended["id"], running["id"], str(uuid4()))}
    api.answers[f"{T}/export/nodes"] = lines(ended, running)
    assert {row.id for row in nodes.get_executions_by_workflow_run(TENANT, APP, run_id)} == rows
    api.answers[f"{T}/export/nodes"] = lines(ended)
    assert [row.id for row in nodes.get_executions_by_workflow_run(TENANT, APP, run_id)] == [ended["id"]]


@pytest.mark.parametrize("answer", [[], "text", 5, True, {"data": {}}, {"data": [5]}, {"data": [{"row": 5}]}])
def test_an_answer_of_another_shape_is_refused_everywhere(api: Scripted, runs: Any, nodes: Any, answer: Any) -> None:
    api.answers["/"] = (200, answer)
    a_run = str(uuid4())
    for ask in (
        lambda: runs.get_workflow_run_by_id(TENANT, APP, a_run),
        lambda: runs.get_workflow_run_by_id_without_tenant(a_run),
        lambda: runs.get_paginated_workflow_runs(TENANT, APP, "app-run"),
        lambda: runs.get_workflow_runs_count(TENANT, APP, "app-run"),
        lambda: runs.get_daily_token_cost_statistics(TENANT, APP, "app-run"),
        lambda: runs.delete_runs_by_app(TENANT, APP),
        lambda: nodes.get_execution_by_id(a_run, TENANT),
        lambda: nodes.get_node_last_execution(TENANT, APP, WORKFLOW, "1"),
        lambda: nodes.get_executions_by_workflow_run(TENANT, APP, a_run),
    ):
        with pytest.raises(WrongAnswer):
            ask()


@pytest.mark.parametrize("wrong", [{"tenant_id": OTHER_TENANT}, {"app_id": str(uuid4())}, {"workflow_run_id": None}])
def test_one_node_of_another_owner_spoils_the_list(api: Scripted, nodes: Any, wrong: dict[str, Any]) -> None:
    run_id = str(uuid4())
    good = node_answer(workflow_run_id=run_id)
    api.answers[f"{T}/export/nodes"] = lines(good, good | {"id": str(uuid4())} | wrong)
    with pytest.raises(WrongAnswer):
        nodes.get_executions_by_workflow_run(TENANT, APP, run_id)


def test_a_payload_that_is_kept_in_part_says_so_and_is_loaded_from_difylog(api: Scripted, nodes: Any) -> None:
    mark = {"field": "inputs", "original_bytes": 2_000_000, "sha256": "0" * 64}
    answer = node_answer(inputs={"text": "..."}, truncated=[mark])

    def by_id(request: Any) -> tuple[int, dict]:
        return 200, answer | {"inputs": {"text": "whole"}} if "full=true" in request.path else answer

    api.answers[f"{T}/nodes/{answer['id']}"] = by_id
    found = nodes.get_execution_by_id(answer["id"], TENANT)
    assert found.inputs_truncated
    assert found.load_full_inputs(None, None) == {"text": "whole"}


def test_a_single_step_is_read_from_postgresql_right_after_it_is_written(
    api: Scripted, nodes: Any, sessions: Any
) -> None:
    row = add(sessions, sql_node())
    assert nodes.get_execution_by_id(row.id).id == row.id
    assert nodes.get_node_last_execution(TENANT, APP, WORKFLOW, "1733").id == row.id
    assert api.requests == []


def test_in_primary_mode_the_last_run_of_a_node_is_the_later_of_both(
    api: Scripted, nodes: Any, sessions: Any, configure: Callable[..., Any]
) -> None:
    configure(api_url=api.url, api_key="k", mode="primary", amqp_url="amqp://127.0.0.1:1/")
    row = add(sessions, sql_node())
    later = node_answer(created_at=(START + timedelta(seconds=1)).isoformat())
    api.answers[f"{T}/nodes"] = page([later])
    api.answers[f"{T}/nodes/{later['id']}"] = (200, later)
    assert nodes.get_node_last_execution(TENANT, APP, WORKFLOW, "1733").id == later["id"]
    earlier = node_answer(created_at=(START - timedelta(seconds=1)).isoformat())
    api.answers[f"{T}/nodes"] = page([earlier])
    api.answers[f"{T}/nodes/{earlier['id']}"] = (200, earlier)
    assert nodes.get_node_last_execution(TENANT, APP, WORKFLOW, "1733").id == row.id


def test_domain_objects_have_whole_payloads_in_the_asked_order(api: Scripted, sessions: Any, account: Any) -> None:
    from types import SimpleNamespace

    from test_repositories import nodes as core_nodes

    run_id = str(uuid4())
    answers = [node_answer(workflow_run_id=run_id, index=index) for index in (2, 1, 3)]
    api.answers[f"{T}/export/nodes"] = lines(*answers)
    order = SimpleNamespace(order_by=["nonsense", "index"], order_direction="desc")
    found = core_nodes(sessions, account).get_by_workflow_run(run_id, order)
    assert [(entity.index, entity.status, entity.inputs) for entity in found] == [
        (3, Status.SUCCEEDED, {"a": 1}), (2, Status.SUCCEEDED, {"a": 1}), (1, Status.SUCCEEDED, {"a": 1}),
    ]  # fmt: skip
    assert "full=true" in api.requests[0][1]
    assert core_nodes(sessions, account).get_by_workflow_execution(run_id)


def test_deletes_reach_difylog_first_and_fail_as_a_whole(api: Scripted, runs: Any, nodes: Any, sessions: Any) -> None:
    row = add(sessions, sql_run(str(uuid4())))
    api.answers[f"{T}/deletions"] = (503, {"code": "store_unavailable"})
    with pytest.raises(DifylogUnavailable):
        runs.delete_runs_by_ids([row.id])
    api.answers[f"{T}/deletions"] = (200, {"runs": 1, "node_executions": 0, "offloads": 0, "app_logs": 0})
    assert runs.delete_runs_by_ids([row.id]) == 1
    assert row.id in api.requests[-1][2]
    assert runs.delete_runs_by_ids([]) == 0
    api.answers[f"{A}/workflow-runs"] = (200, {"deleted": 12})
    api.answers[f"{A}/node-executions"] = (200, {"deleted": 30})
    assert runs.delete_runs_by_app(TENANT, APP) == 12
    assert nodes.delete_executions_by_app(TENANT, APP) == 30


def test_deletes_can_be_kept_from_difylog(api: Scripted, runs: Any, configure: Callable[..., Any]) -> None:
    configure(api_url=api.url, api_key="k", deletes="postgres")
    assert runs.delete_runs_by_app(TENANT, APP) == 0
    assert api.requests == []
