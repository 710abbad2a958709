"""What an operator reads who has set something wrong: each fault names the setting to look at."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Scripted
from difylog_dify import doctor

LIST = f"/v1/tenants/{doctor.NOBODY}/runs"
DELETIONS = f"/v1/tenants/{doctor.NOBODY}/deletions"


def api_findings() -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in doctor._api_finding()]


def test_a_key_that_may_do_all_is_well_and_nothing_is_deleted(api: Scripted) -> None:
    api.answers |= {LIST: (200, {"data": []}), DELETIONS: (200, {"runs": 0})}
    assert [state for state, _ in api_findings()] == [doctor.OK]
    assert [body for method, _, body in api.requests if method == "POST"] == ['{"run_ids": [], "dry_run": true}']


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        # Another server, or a proxy, at this address.
        ({"/": (404, b"<html>")}, "DIFYLOG_API_URL"),
        ({"/": (200, b"<html>")}, "DIFYLOG_API_URL"),
        ({"/": (302, b"")}, "DIFYLOG_API_URL"),
        # A path that is not the API's.
        ({"/": (404, {"code": "not_found"})}, "before /v1"),
        ({"/": (401, {"code": "unauthorized"})}, "DIFYLOG_API_KEY"),
        ({"/": (403, {"code": "forbidden"})}, "must be an admin's"),
        ({"/": (503, {"code": "store_unavailable"})}, "store_unavailable"),
        ({LIST: (200, {"data": []}), DELETIONS: (403, {"code": "forbidden"})}, "DIFYLOG_DELETES"),
    ],
)
def test_each_fault_of_the_api_names_the_setting(api: Scripted, answers: dict[str, Any], names: str) -> None:
    api.answers |= answers
    state, text = api_findings()[-1]
    assert state == doctor.FAULT
    assert names in text
    assert "the-secret-key" not in text


def test_an_api_that_is_away(configure: Callable[..., Any]) -> None:
    configure(api_url="http://127.0.0.1:1", api_key="k")
    assert [(state, "ConnectError" in text) for state, text in api_findings()] == [(doctor.FAULT, True)]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("guest:guest", "guest:hunter2"), "user and password"),
        (("/%2f", "/nowhere"), "virtual host"),
        (("", ""), "difylog setup"),
    ],
)
def test_each_fault_of_the_broker_names_what_to_look_at(
    configure: Callable[..., Any], rabbit: SimpleNamespace, change: tuple[str, str], names: str
) -> None:
    configure(amqp_url=rabbit.url.replace(*change), amqp_exchange="of-nobody")
    [finding] = doctor._broker_finding()
    assert finding.state == doctor.FAULT
    assert names in finding.text
    assert "hunter2" not in finding.text


@pytest.mark.parametrize(
    ("version", "state"),
    [("1.10.1", doctor.OK), ("1.16.0-rc1", doctor.OK), ("2.0.0", doctor.OK), ("1.9.2", doctor.FAULT),
     ("0.15.3", doctor.FAULT), ("nightly", doctor.NOTE)],
)  # fmt: skip
def test_versions(version: str, state: str) -> None:
    assert doctor._version_finding(version).state == state
