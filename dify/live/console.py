"""What people do with Dify over HTTP: sign in, build and publish apps, run them, and look at their logs."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx

from installation import Installation

EMAIL, PASSWORD = "owner@example.com", "a-Password-1"

# No node needs the sandbox: start, a condition, and an end; or a request that is refused, twice tried again.
REFUSED = "http://127.0.0.1:1/"


def _node(node_id: str, kind: str, **data: Any) -> dict[str, Any]:
    data = {"type": kind, "title": kind, "desc": "", **data}
    return {"id": node_id, "type": "custom", "data": data, "position": {"x": 0, "y": 0}}


def _edge(source: str, target: str, handle: str = "source") -> dict[str, Any]:
    return {
        "id": f"{source}-{handle}-{target}",
        "source": source,
        "sourceHandle": handle,
        "target": target,
        "targetHandle": "target",
    }


START = _node("start", "start", variables=[
    {"variable": "q", "label": "q", "type": "paragraph", "required": True, "max_length": 200_000, "options": []},
])  # fmt: skip


def _condition(selector: list[str]) -> dict[str, Any]:
    condition = {
        "id": "1",
        "variable_selector": selector,
        "comparison_operator": "contains",
        "value": "fail",
        "varType": "string",
    }
    return _node(
        "condition", "if-else", cases=[{"case_id": "true", "logical_operator": "and", "conditions": [condition]}]
    )


HTTP = _node(
    "http", "http-request", method="get", url=REFUSED, authorization={"type": "no-auth", "config": None}, headers="",
    params="", body={"type": "none", "data": []}, timeout={"connect": 2, "read": 2, "write": 2},
    retry_config={"retry_enabled": True, "max_retries": 2, "retry_interval": 100},
)  # fmt: skip
END = _node("end", "end", outputs=[{"variable": "answer", "value_selector": ["start", "q"], "value_type": "string"}])
WORKFLOW = {
    "nodes": [START, _condition(["start", "q"]), HTTP, END],
    "edges": [
        _edge("start", "condition"), _edge("condition", "http", "true"), _edge("condition", "end", "false"),
        _edge("http", "end"),
    ],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}  # fmt: skip
CHAT = {
    "nodes": [_node("start", "start", variables=[]), _node("answer", "answer", answer="You said {{#sys.query#}}")],
    "edges": [_edge("start", "answer")],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}


class Console:
    """Somebody who signed in to Dify's console."""

    def __init__(self, base: str, email: str, password: str) -> None:
        self.client = httpx.Client(base_url=base, timeout=120, limits=httpx.Limits(max_connections=300))
        # Later versions take the password in Base64.
        for word in (password, base64.b64encode(password.encode()).decode()):
            form = {"email": email, "password": word, "remember_me": True}
            signed = self.client.post("/console/api/login", json=form)
            if signed.json().get("result") == "success":
                break
        assert signed.json().get("result") == "success", signed.text
        self.client.headers["x-csrf-token"] = self.client.cookies["csrf_token"]

    def at(self, base: str) -> "Console":
        """The same session, asked of another address: cookies know no port."""
        found = object.__new__(Console)
        found.client = httpx.Client(
            base_url=base, timeout=120, cookies=self.client.cookies, headers=self.client.headers
        )
        return found

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.client.get(f"/console/api{path}", params=parameters)

    def post(self, path: str, body: Any = None) -> Any:
        done = self.client.post(f"/console/api{path}", json=body or {})
        assert done.status_code < 300, f"{path}: {done.text}"
        return done.json() if done.headers["content-type"].startswith("application/json") else done.text

    def app(self, mode: str, graph: dict[str, Any]) -> "App":
        """Makes an app, publishes its workflow, and a key for it."""
        made = self.post("/apps", {"name": f"an app of mode {mode}", "mode": mode, "icon_type": "emoji", "icon": "x"})
        path = f"/apps/{made['id']}"
        draft = {"graph": graph, "features": {}, "environment_variables": [], "conversation_variables": []}
        self.post(f"{path}/workflows/draft", draft)
        self.post(f"{path}/workflows/publish", {"marked_name": "", "marked_comment": ""})
        self.post(f"{path}/api-enable", {"enable_api": True})
        return App(self, made["id"], self.post(f"{path}/api-keys")["token"])


class App:
    """An app of Dify with a key of the service API."""

    def __init__(self, console: Console, app_id: str, key: str) -> None:
        self.console, self.id, self.key = console, app_id, key
        base = str(console.client.base_url)
        headers, limits = {"authorization": f"Bearer {key}"}, httpx.Limits(max_connections=300)
        self.client = httpx.Client(base_url=base, timeout=180, headers=headers, limits=limits)
        current = console.get("/workspaces").json()["workspaces"]
        self.tenant = next(workspace["id"] for workspace in current if workspace["current"])

    def at(self, base: str) -> "App":
        """The same app and key, asked of another address."""
        found = object.__new__(App)
        found.__dict__ |= self.__dict__
        limits = httpx.Limits(max_connections=300)
        found.client = httpx.Client(base_url=base, timeout=180, headers=self.client.headers, limits=limits)
        return found

    def run(self, text: str, user: str) -> dict[str, Any]:
        """Runs the workflow; returns the data of the answer, which has come when the run has ended."""
        body = {"inputs": {"q": text}, "response_mode": "blocking", "user": user}
        done = self.client.post("/v1/workflows/run", json=body)
        assert done.status_code == 200, done.text
        return done.json()["data"]  # type: ignore[no-any-return]

    def say(self, text: str, user: str) -> dict[str, Any]:
        body = {"inputs": {}, "query": text, "response_mode": "blocking", "user": user}
        done = self.client.post("/v1/chat-messages", json=body)
        assert done.status_code == 200, done.text
        return done.json()  # type: ignore[no-any-return]


def first_console(installation: Installation) -> Console:
    """Sets the empty Dify up and signs its owner in."""
    setup = {"email": EMAIL, "name": "Owner", "password": PASSWORD}
    done = httpx.post(f"{installation.dify}/console/api/setup", json=setup, timeout=60)
    assert done.status_code == 201, done.text
    return Console(installation.dify, EMAIL, PASSWORD)


def stranger(installation: Installation) -> Console:
    """Somebody with a workspace of their own."""
    printed = installation.flask(
        "create-tenant", "--email", "other@example.com", "--name", "Other", "--language", "en-US"
    )
    password = printed.split("Password: ")[1].split()[0].removesuffix("\x1b[0m")
    return Console(installation.dify, "other@example.com", password)


# What the console asks of an app


def _walk(console: Console, path: str, **parameters: Any) -> Iterator[tuple[str, Any]]:
    """All pages of a list of runs."""
    while True:
        answer = console.get(path, **parameters)
        yield f"{path}?{urlencode(parameters)}", (answer.status_code, answer.json())
        page = answer.json()
        if not page.get("has_more"):
            return
        parameters["last_id"] = page["data"][-1]["id"]


class Logs:
    """All pages of a list of logs. Rows of one second have no order in Dify: it may show one twice, another never."""

    def __init__(self) -> None:
        self.heads: list[Any] = []
        self.seconds: list[int] = []
        self.rows: dict[str, Any] = {}

    def __eq__(self, found: object) -> bool:
        """Whether `found`, which must be whole, shows every row of this list as it is here."""
        if not isinstance(found, Logs) or len(found.rows) != found.heads[0]["total"]:
            return False
        rows = {log_id: found.rows.get(log_id) for log_id in self.rows}
        return (self.heads, self.seconds, self.rows) == (found.heads, found.seconds, rows)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.heads} {list(self.rows.items())}"


def _log_pages(console: Console, path: str, **parameters: Any) -> Iterator[tuple[str, Any]]:
    logs = Logs()
    while True:
        answer = console.get(path, page=len(logs.heads) + 1, **parameters)
        found = answer.json()
        if answer.status_code != 200:
            yield f"{path}?{urlencode(parameters)}", (answer.status_code, found)
            return
        for row in found.pop("data"):
            logs.seconds.append(row["created_at"])
            logs.rows[row["id"]] = row
        logs.heads.append(found)
        if not found["has_more"]:
            break
    assert logs.seconds == sorted(logs.seconds, reverse=True), f"{path}: not newest first"
    yield f"{path}?{urlencode(parameters)}", (200, logs)


def questions(app: App, console: Console, runs: list[str], day: str) -> dict[str, Any]:
    """Asks what Dify's pages ask of a workflow app; returns the answers by question."""
    path = f"/apps/{app.id}"
    asked: list[tuple[str, Any]] = []

    def plain(tail: str, **parameters: Any) -> None:
        answer = console.get(f"{path}/{tail}", **parameters)
        asked.append((f"{tail}?{urlencode(parameters)}", (answer.status_code, answer.json())))

    for trigger in ("app-run", "debugging"):
        for limit in (7, 20, 100):
            asked.extend(_walk(console, f"{path}/workflow-runs", triggered_from=trigger, limit=limit))
        for status in ("succeeded", "failed", "stopped", "running", "partial-succeeded"):
            asked.extend(_walk(console, f"{path}/workflow-runs", triggered_from=trigger, limit=50, status=status))
            plain("workflow-runs/count", triggered_from=trigger, status=status)
        plain("workflow-runs/count", triggered_from=trigger)
        plain("workflow-runs/count", triggered_from=trigger, time_range="1d")
        plain("workflow-runs/count", triggered_from=trigger, time_range="nonsense")
    asked.extend(_walk(console, f"{path}/workflow-runs"))
    for run in runs:
        plain(f"workflow-runs/{run}")
        plain(f"workflow-runs/{run}/node-executions")
    plain("workflow-runs/00000000-0000-4000-8000-000000000000")
    plain("workflow-runs/00000000-0000-4000-8000-000000000000/node-executions")
    plain("workflow-runs", last_id="00000000-0000-4000-8000-000000000000")
    logs = f"{path}/workflow-app-logs"
    for parameters in (
        {"limit": 20}, {"limit": 100}, {"status": "failed"}, {"status": "succeeded", "limit": 100}, {"keyword": "fail"},
        {"keyword": "number 7"}, {"keyword": "no such word"}, {"keyword": "FAIL", "status": "failed"},
        {"keyword": runs[0]},
        {"created_by_end_user_session_id": "user-3"}, {"created_by_end_user_session_id": "nobody"},
        {"created_by_account": EMAIL}, {"created_by_account": "nobody@example.com"},
        {"created_at__after": f"{day}T00:00:00Z", "limit": 100}, {"created_at__before": f"{day}T00:00:00+00:00"},
        {"keyword": "user-3"}, {"detail": "true"},
    ):  # fmt: skip
        asked.extend(_log_pages(console, logs, **parameters))
    for statistic in ("daily-conversations", "daily-terminals", "token-costs", "average-app-interactions"):
        for span in (
            {},
            {"start": f"{day} 00:00", "end": f"{day} 23:59"},
            {"start": "2001-01-01 00:00", "end": "2001-01-02 00:00"},
        ):
            plain(f"workflow/statistics/{statistic}", **span)
    return dict(asked)


def chat_questions(app: App, console: Console, runs: list[str]) -> dict[str, Any]:
    """Asks what Dify's pages ask of a chat app about its runs."""
    path = f"/apps/{app.id}"
    asked: list[tuple[str, Any]] = []
    for limit in (3, 20):
        asked.extend(_walk(console, f"{path}/advanced-chat/workflow-runs", triggered_from="app-run", limit=limit))
    for tail in ("advanced-chat/workflow-runs/count", "workflow-runs"):
        answer = console.get(f"{path}/{tail}", triggered_from="app-run")
        asked.append((tail, (answer.status_code, answer.json())))
    for run in runs:
        for tail in (f"workflow-runs/{run}", f"workflow-runs/{run}/node-executions"):
            answer = console.get(f"{path}/{tail}")
            asked.append((tail, (answer.status_code, answer.json())))
    return dict(asked)


def service_questions(app: App, base: str, runs: list[str]) -> dict[str, Any]:
    """Asks what the service API answers with an app's key about its logs."""
    client = httpx.Client(base_url=base, timeout=120, headers={"authorization": f"Bearer {app.key}"})
    asked: dict[str, Any] = {}
    for run in [*runs, "00000000-0000-4000-8000-000000000000"]:
        answer = client.get(f"/v1/workflows/run/{run}")
        asked[run] = (answer.status_code, answer.json())
    for query in (
        "",
        "limit=3&page=2",
        "status=failed",
        "keyword=fail",
        "status=nonsense",
        "created_by_end_user_session_id=user-3",
    ):
        answer = client.get(f"/v1/workflows/logs?{query}")
        found = answer.json()
        rows = found.pop("data", [])
        # Rows of one second have no order in Dify.
        seconds = sorted(row["created_at"] for row in rows)
        asked[query] = (answer.status_code, found, seconds)
    return asked
