"""The HTTP client: bounds, the breaker, and answers that open no door."""

import os
import time
from typing import Any

import pytest

from conftest import TENANT, Scripted
from difylog_dify import client
from difylog_dify.client import DifylogUnavailable, Forbidden, Refused, WrongAnswer
from difylog_dify.client import client as found_client

PATH = f"/v1/tenants/{TENANT}/runs"


def test_it_sends_the_key_and_encodes_parameters(api: Scripted) -> None:
    seen: dict[str, str] = {}

    def answer(request: Any) -> tuple[int, Any]:
        seen.update(request.headers)
        return 200, {"data": []}

    api.answers[PATH] = answer
    assert found_client().get(PATH, {"q": "退款 & more=1#", "none": None}) == {"data": []}
    assert seen["authorization"] == "Bearer the-secret-key"
    assert seen["accept-encoding"] == "identity"
    assert api.requests[0][1] == f"{PATH}?q=%E9%80%80%E6%AC%BE+%26+more%3D1%23"


def test_absent_is_none(api: Scripted) -> None:
    assert found_client().get(f"{PATH}/x") is None


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"code": "invalid_param", "detail": "secret-detail"}, Refused),
        (401, {"code": "unauthorized"}, Forbidden),
        (403, {"code": "forbidden"}, Forbidden),
        (429, {"code": "too_many_requests"}, DifylogUnavailable),
        (500, b"<html>secret-detail</html>", DifylogUnavailable),
        (503, {"code": "<script>secret-detail"}, DifylogUnavailable),
        (302, b"", DifylogUnavailable),
        (200, b"{no json", WrongAnswer),
        (200, b"[" * 100_000, WrongAnswer),
    ],
)
def test_what_is_no_answer_raises_and_repeats_nothing_of_it(
    api: Scripted, status: int, body: Any, error: type[Exception]
) -> None:
    api.answers[PATH] = (status, body)
    with pytest.raises(error) as caught:
        found_client().get(PATH)
    assert "secret-detail" not in str(caught.value)
    assert "the-secret-key" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_another_server_says_is_neither_absence_nor_a_refusal(api: Scripted, status: int) -> None:
    api.answers[PATH] = (status, b'{"code": "not_found", "status": 404}')
    with pytest.raises(DifylogUnavailable, match="DIFYLOG_API_URL") as caught:
        found_client().get(PATH)
    assert not isinstance(caught.value, Forbidden)


def test_a_redirect_is_not_followed(api: Scripted) -> None:
    def redirect(request: Any) -> None:
        request.send_response(302)
        request.send_header("location", f"{api.url}/elsewhere")
        request.send_header("content-length", "0")
        request.end_headers()

    api.answers[PATH] = redirect
    with pytest.raises(DifylogUnavailable):
        found_client().get(PATH)
    assert [path for _, path, _ in api.requests] == [PATH]


def test_an_answer_without_end_is_cut_off(api: Scripted, configure: Any) -> None:
    configure(api_url=api.url, api_key="k", api_bytes=str(1 << 16))

    def endless(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(10_000):
                request.wfile.write(b"x" * 10_000)
        except OSError:
            pass
        request.close_connection = True

    api.answers[PATH] = endless
    with pytest.raises(WrongAnswer, match="DIFYLOG_API_BYTES"):
        found_client().get(PATH)


def test_an_answer_that_drips_is_given_up(api: Scripted, configure: Any) -> None:
    configure(api_url=api.url, api_key="k", api_timeout_seconds="0.5")

    def drip(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(600):
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
        request.close_connection = True

    api.answers[PATH] = drip
    with pytest.raises(DifylogUnavailable, match="DIFYLOG_API_TIMEOUT_SECONDS"):
        found_client().get(PATH)


def test_an_export_that_breaks_off_is_no_export(api: Scripted) -> None:
    def half(request: Any) -> None:
        request.send_response(200)
        request.send_header("content-length", "1000")
        request.end_headers()
        request.wfile.write(b'{"a": 1}\n{"a"')
        request.wfile.flush()
        request.close_connection = True

    api.answers[PATH] = half
    with pytest.raises(DifylogUnavailable):
        list(found_client().lines(PATH, {}))


def test_lines_that_come_in_pieces(api: Scripted) -> None:
    def pieces(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        for piece in (b'{"a"', b": 1}\n", b'\n{"a": 2}', b'\n{"a": 3}\n'):
            request.wfile.write(piece)
            request.wfile.flush()
        request.close_connection = True

    api.answers[PATH] = pieces
    assert [line["a"] for line in found_client().lines(PATH, {})] == [1, 2, 3]


def test_the_breaker_opens_and_lets_one_request_probe(api: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    api.answers[PATH] = (503, {"code": "store_unavailable"})
    for _ in range(10):
        with pytest.raises(DifylogUnavailable):
            found_client().get(PATH)
    assert len(api.requests) == client.FAILURES_TO_OPEN
    now[0] += client.OPEN_SECONDS
    with pytest.raises(DifylogUnavailable):
        found_client().get(PATH)
    with pytest.raises(DifylogUnavailable, match="left alone"):
        found_client().get(PATH)
    assert len(api.requests) == client.FAILURES_TO_OPEN + 1
    now[0] += client.OPEN_SECONDS
    api.answers[PATH] = (200, {})
    assert found_client().get(PATH) == {}
    assert found_client().get(PATH) == {}


def test_refusals_and_absence_do_not_open_the_breaker(api: Scripted) -> None:
    api.answers[PATH] = (400, {"code": "invalid_param"})
    for _ in range(client.FAILURES_TO_OPEN * 2):
        with pytest.raises(Refused):
            found_client().get(PATH)
        assert found_client().get("/absent") is None
    assert not found_client().breaker.open


def test_a_forked_child_has_a_client_of_its_own(api: Scripted) -> None:
    api.answers[PATH] = (200, {"pid": 1})
    assert found_client().get(PATH)
    parent = id(found_client())
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if found_client().get(PATH) and id(found_client()) != parent else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found_client().get(PATH)


def test_no_key_and_no_parameter_reaches_a_log(api: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    api.answers[PATH] = (503, {"code": "store_unavailable"})
    for _ in range(client.FAILURES_TO_OPEN):
        with pytest.raises(DifylogUnavailable):
            found_client().get(PATH, {"q": "private-words"})
    assert "left alone" in caplog.text
    assert "private-words" not in caplog.text
    assert "the-secret-key" not in caplog.text


def test_an_unavailable_store_is_dify_s_503() -> None:
    assert DifylogUnavailable("x").code == 503
