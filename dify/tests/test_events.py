"""Events: their shape against the schema of the repository, and values that no JSON reader takes."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator

from conftest import APP, REPOSITORY, START, TENANT, USER, WORKFLOW
from difylog_dify import events

SCHEMA = Draft202012Validator(json.loads((REPOSITORY / "config/event.schema.json").read_text()))


def row(**columns: object) -> SimpleNamespace:
    values = {
        "id": str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW, "type": "workflow",
        "type_": "inputs", "file_id": str(uuid4()), "created_from": "web-app", "workflow_run_id": str(uuid4()),
        "triggered_from": "app-run", "version": "draft", "status": "running", "created_by_role": "account",
        "created_by": USER, "created_at": START, "index": 1, "node_id": "1", "node_type": "code", "title": "t",
        "graph": "{}", "inputs": '{"q": "\\u9000"}', "elapsed_time": 0.0, "total_tokens": 3_000_000_000,
    } | columns  # fmt: skip
    return SimpleNamespace(**values)


@pytest.mark.parametrize("kind", list(events.COLUMNS))
def test_every_kind_fits_the_schema(kind: str) -> None:
    document = json.loads(events.encode(events.snapshot(kind, row())))
    SCHEMA.validate(document)
    assert document["kind"] == kind
    # The oneOf of kinds must not pass by way of the wrong branch.
    assert set(document["record"]) == set(events.COLUMNS[kind])


def test_payload_texts_go_through_as_they_are() -> None:
    document = json.loads(events.encode(events.snapshot(events.RUN, row(inputs='{"x": NaN, "s": "\\ud83d"}'))))
    assert document["record"]["inputs"] == '{"x": NaN, "s": "\\ud83d"}'


@pytest.mark.parametrize(("given", "sent"), [("a\ud83db", "a?b"), ("a\0b", "ab"), ("退款😀", "退款😀")])
def test_texts_that_utf_8_or_postgresql_cannot_hold_are_cleaned(given: str, sent: str) -> None:
    body = events.encode(events.snapshot(events.NODE, row(title=given)))
    assert json.loads(body)["record"]["title"] == sent


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_duration_that_is_no_number_is_zero(value: float) -> None:
    assert (
        json.loads(events.encode(events.snapshot(events.RUN, row(elapsed_time=value))))["record"]["elapsed_time"] == 0
    )


def test_times_are_utc_with_microseconds() -> None:
    aware = datetime(2025, 12, 1, 17, 30, 11, 123456, tzinfo=UTC)
    assert events.timestamp(aware) == "2025-12-01T17:30:11.123456"
    assert events.timestamp(START) == "2025-12-01T09:30:11.123456"


def test_enums_and_uuids_become_texts() -> None:
    from models.enums import WorkflowRunTriggeredFrom

    found = events.snapshot(events.RUN, row(id=UUID(WORKFLOW), triggered_from=WorkflowRunTriggeredFrom.APP_RUN))
    assert found.record["id"] == WORKFLOW
    assert type(found.record["triggered_from"]) is str or found.record["triggered_from"] == "app-run"
    assert json.loads(events.encode(found))["record"]["triggered_from"] == "app-run"


@pytest.mark.parametrize("column", ["id", "tenant_id", "app_id"])
def test_a_row_without_an_owner_is_no_record(column: str) -> None:
    with pytest.raises(events.NoRecord, match=column):
        events.snapshot(events.RUN, row(**{column: ""}))


def test_a_snapshot_does_not_change_with_its_row() -> None:
    source = row()
    found = events.snapshot(events.RUN, source)
    source.status = "succeeded"
    assert found.record["status"] == "running"


def test_ended_runs_and_logs_are_needed_first() -> None:
    def need(kind: str, **columns: object) -> int:
        return events.snapshot(kind, row(**columns)).need

    assert need(events.RUN, status="failed") == need(events.APP_LOG) < need(events.NODE, status="succeeded")
    assert (
        need(events.NODE, status="succeeded") < need(events.RUN, status="running") == need(events.NODE, status="retry")
    )
