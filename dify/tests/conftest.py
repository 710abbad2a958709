"""Fixtures: the stand-in Dify, settings, a producer that collects, a RabbitMQ, an HTTP server with a script."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
STANDIN = HERE / "standin"
sys.path.insert(0, str(STANDIN))

from difylog_dify import _hook, client, patches, producer, settings  # noqa: E402

_hook.install()

TENANT, OTHER_TENANT, APP, WORKFLOW, USER = (
    "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444",
    "55555555-5555-4555-8555-555555555555",
)  # fmt: skip
START = datetime(2025, 12, 1, 9, 30, 11, 123456)


def wait_for(condition: Callable[[], object], seconds: float = 90) -> object:
    """Returns what `condition` returns once that is true; fails at the deadline."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def clean_process() -> Iterator[None]:
    yield
    producer.stop()
    client.replace(None)
    settings.replace(None)


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., settings.Settings]:
    """Puts settings in force: the variables without their `DIFYLOG_`."""

    def put(**variables: str) -> settings.Settings:
        base = {"DIFYLOG_SPOOL_DIR": str(tmp_path / "spool"), "DIFYLOG_STOP_SECONDS": "2"}
        found = settings.read(base | {f"DIFYLOG_{name.upper()}": value for name, value in variables.items()})
        settings.replace(found)
        return found

    return put


class Collector:
    """Stands in for a producer: keeps what it is offered, or refuses it."""

    pid = os.getpid()

    def __init__(self) -> None:
        self.events: list = []
        self.full = False

    def offer(self, event: object) -> bool:
        if self.full:
            return False
        self.events.append(event)
        return True

    def stop(self, seconds: float) -> None:
        pass

    @property
    def records(self) -> list[dict]:
        return [event.record for event in self.events]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Collector:
    found = Collector()
    monkeypatch.setattr(producer, "_producer", found)
    return found


@pytest.fixture
def sessions(tmp_path: Path) -> object:
    """A sessionmaker over an empty database with Dify's tables."""
    import models.trigger  # noqa: F401
    from models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    engine = create_engine(f"sqlite:///{tmp_path / 'dify.db'}")
    Base.metadata.create_all(engine)
    return sessionmaker(bind=engine, expire_on_commit=False)


@pytest.fixture
def account() -> object:
    from models import Account

    found = Account(id=USER, name="A", email="a@example.com")
    found.current_tenant_id = TENANT
    return found


def certificates(folder: Path) -> None:
    """Makes an authority, and a certificate of 127.0.0.1 that it signed: ca.pem, server.pem, server.key."""
    names = {"ca": "/CN=authority of the tests", "server": "/CN=a server of the tests"}
    for name, subject in names.items():
        request = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", subject]
        signed = ["-x509", "-days", "2", "-out", "ca.pem"] if name == "ca" else ["-out", "server.csr"]
        subprocess.run(["openssl", "req", *request, *signed], cwd=folder, check=True, capture_output=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ["-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names"]
    command = ["openssl", "x509", "-req", *sign, "-CAcreateserial", "-out", "server.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    for name in ("ca.pem", "server.pem", "server.key"):
        (folder / name).chmod(0o644)


def enterable(folder: Path) -> None:
    """Lets servers with users of their own into a folder: pytest's may be entered by their owner only."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A RabbitMQ of its own, with TLS as well, which a test may stop and start."""
    folder = tmp_path_factory.mktemp("rabbit") / "node"
    tls = tmp_path_factory.mktemp("tls")
    certificates(tls)
    script = REPOSITORY / "tests/servers/rabbitmq.sh"

    def run(verb: str, *arguments: str) -> str:
        env = os.environ | {"RABBITMQ_TLS": str(tls)}
        command = [script, verb, folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    enterable(tls)
    enterable(folder.parent)
    started = dict(line.split("=", 1) for line in run("start").splitlines())
    urls = {name: url.strip("'\"") for name, url in started.items()}
    yield SimpleNamespace(url=urls["AMQP_URL"], tls_url=urls["AMQPS_URL"], authority=str(tls / "ca.pem"), run=run)
    run("stop")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A search engine: that of DIFYLOG_TEST_ENGINE_URL, or an OpenSearch of its own."""
    from site_of_difylog import Engine

    script, folder = REPOSITORY / "tests/servers/engine.sh", tmp_path_factory.mktemp("engine") / "node"

    def run(*arguments: object) -> str:
        done = subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    url = os.environ.get("DIFYLOG_TEST_ENGINE_URL")
    if not url:
        enterable(folder.parent)
        run("assemble", "opensearch-3")
        started = run("start", "opensearch-3", folder)
        url = (
            next(line for line in started.splitlines() if line.startswith("ENGINE_URL=")).split("=", 1)[1].strip("'\"")
        )
    found = Engine(url)
    try:
        yield found
        found.clear()
    finally:
        if not os.environ.get("DIFYLOG_TEST_ENGINE_URL"):
            run("stop", "opensearch-3", folder)


class Queue:
    """A queue bound to a fresh exchange; what arrives is read by `take`."""

    def __init__(self, url: str) -> None:
        from kombu import Connection, Exchange
        from kombu import Queue as KombuQueue

        self.url, self.exchange = url, f"events-{uuid4()}"
        self._queue = KombuQueue(f"q-{uuid4()}", Exchange(self.exchange, "topic", durable=True), routing_key="#")
        with Connection(url) as connection:
            self._queue(connection).declare()

    def take(self) -> list[dict]:
        """Returns the events that are there, arrays taken apart, and removes them."""
        from kombu import Connection

        found: list[dict] = []
        with Connection(self.url) as connection:
            bound = self._queue(connection)
            while (message := bound.get(no_ack=True)) is not None:
                body = json.loads(message.body)
                found += body if isinstance(body, list) else [body]
        return found


@pytest.fixture
def queue(rabbit: SimpleNamespace) -> Queue:
    return Queue(rabbit.url)


class Scripted:
    """An HTTP server: `answers` maps a path (or its beginning) to status and body, or to a function of the request."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.requests: list[tuple[str, str, str]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size).decode()
                scripted.requests.append((self.command, self.path, body))
                path = self.path.split("?")[0]
                known = [key for key in scripted.answers if path.startswith(key)]
                answer = scripted.answers[max(known, key=len)] if known else (404, {"code": "not_found"})
                if callable(answer):
                    answer = answer(self)
                if answer is None:
                    return
                status, content = answer
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if not isinstance(content, bytes):
                    self.send_header("content-type", client.PROBLEM if status >= 400 else "application/json")
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(configure: Callable[..., settings.Settings]) -> Iterator[Scripted]:
    """A scripted difylog, and settings that ask it."""
    found = Scripted()
    configure(api_url=found.url, api_key="the-secret-key", reads="difylog", api_timeout_seconds="2")
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def patched() -> Iterator[None]:
    """Undoes every patch after the test."""
    patches.undo()
    yield
    patches.undo()


def run_answer(**columns: object) -> dict:
    """A run as difylog answers it."""
    return {
        "id": str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW, "type": "workflow",
        "triggered_from": "app-run", "version": "draft", "status": "succeeded", "elapsed_time": 1.5, "total_tokens": 7,
        "total_steps": 3, "created_by_role": "account", "created_by": USER, "created_at": "2025-12-01T09:30:11.123456Z",
        "finished_at": "2025-12-01T09:30:12.623456Z", "exceptions_count": 0, "graph": {"nodes": []},
        "inputs": {"q": "退款"}, "outputs": None, "error": None, "truncated": [],
    } | columns  # fmt: skip


def node_answer(**columns: object) -> dict:
    """A node execution as difylog answers it."""
    return {
        "id": str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW,
        "workflow_run_id": str(uuid4()), "triggered_from": "workflow-run", "index": 1,
        "predecessor_node_id": None, "node_execution_id": None, "node_id": "1733", "node_type": "code",
        "title": "Code", "status": "succeeded", "elapsed_time": 0.5,
        "created_by_role": "account", "created_by": USER, "created_at": "2025-12-01T09:30:11.123456Z",
        "finished_at": None, "inputs": {"a": 1}, "process_data": None, "outputs": None, "execution_metadata": None,
        "error": None, "truncated": [],
    } | columns  # fmt: skip
