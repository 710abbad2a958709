"""Processes around a Dify whose environment is ready: its API server, Redis, difylog's worker and API, nginx.

Nothing of Dify is kept or changed: its folder is the working directory, its settings are environment variables.
"""

import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[2]
KEY = "key-of-the-tests"

CONFIG = """
[store]
kind = "sqlite"
[store.sqlite]
dir = "{folder}/store"
[payloads]
dir = "{folder}/payloads"
[amqp]
urls = ["{amqp}"]
native_exchange = "dify.logs"
[[amqp.queues]]
name = "dify.logs.all"
source = "native"
[http]
listen = ""
[postgres]
url = "{postgres}"
[serve]
listen = "127.0.0.1:{port}"
names = true
[serve.dify]
url = "{dify}"
# What the bridge cannot answer in time is Dify's, whose rows are gone: its first answer comes from a Dify that has just
# started, on a machine with everything else.
answer_ms = 30000
{more}
[[serve.keys]]
name = "tests"
sha256 = "{sha256}"
admin = true
rights = ["read", "delete"]
"""

_CORE, _API = "core.repositories.elasticsearch_workflow", "repositories.elasticsearch_api_workflow"
CLASSES = {
    "CORE_WORKFLOW_EXECUTION_REPOSITORY": f"{_CORE}_execution_repository.ElasticsearchWorkflowExecutionRepository",
    "CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        f"{_CORE}_node_execution_repository.ElasticsearchWorkflowNodeExecutionRepository"
    ),
    "API_WORKFLOW_RUN_REPOSITORY": f"{_API}_run_repository.ElasticsearchAPIWorkflowRunRepository",
    "API_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        f"{_API}_node_execution_repository.ElasticsearchAPIWorkflowNodeExecutionRepository"
    ),
}

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {locations}
    location / {{ proxy_pass {dify}; proxy_set_header Host $host; }}
  }}
}}
"""


def wait_for(condition: Callable[[], object], seconds: float = 120, every: float = 0.05) -> object:
    """Returns what `condition` returns once that is true; fails at the deadline."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(every)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code < 500
    except httpx.HTTPError:
        return False


class Installation:
    """All processes of a test, by name. Paths, addresses and the program come from scripts/test-dify."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = Path(os.environ["DIFYLOG_LIVE_API"])
        self.python = os.environ["DIFYLOG_LIVE_PYTHON"]
        self.postgres = os.environ["DIFYLOG_LIVE_PG_URL"]
        self.broker = Path(os.environ["DIFYLOG_LIVE_BROKER"])
        self.binary = os.environ["DIFYLOG_BINARY"]
        self.spool = folder / "spool"
        self._processes: dict[str, subprocess.Popen] = {}
        self.ports = {name: free_port() for name in ("redis", "dify", "plain", "difylog", "nginx")}
        self.dify, self.plain, self.difylog, self.nginx = (
            f"http://127.0.0.1:{self.ports[name]}" for name in list(self.ports)[1:]
        )
        for name in ("storage", "nginx"):
            (folder / name).mkdir()
        started = self.rabbit("env")
        self.amqp = next(line.split("=", 1)[1] for line in started.splitlines() if line.startswith("AMQP_URL="))
        redis = ["redis-server", "--port", str(self.ports["redis"]), "--bind", "127.0.0.1", "--save", ""]
        self.start("redis", redis)
        try:
            self.flask("upgrade-db")
        except BaseException:
            self.stop_all()
            raise

    # Processes

    def start(self, name: str, command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        """Starts a process in a session of its own, its output in a file."""
        assert name not in self._processes
        log = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | (env or {}),
            cwd=cwd or self.folder,
            start_new_session=True,
        )

    def stop(self, name: str, signal_number: int = signal.SIGTERM) -> None:
        """Ends a process, and those of its session with a SIGKILL."""
        if process := self._processes.pop(name, None):
            kill = os.killpg if signal_number == signal.SIGKILL else os.kill
            kill(process.pid, signal_number)
            process.wait(60)

    def stop_all(self) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    def rabbit(self, verb: str) -> str:
        """start, kill, or env of the broker; its data and its port are kept."""
        script = REPOSITORY / "tests/servers/rabbitmq.sh"
        done = subprocess.run([script, verb, self.broker], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Dify

    @property
    def database(self) -> dict[str, str]:
        found = httpx.URL(self.postgres)
        return {
            "DB_TYPE": "postgresql", "DB_HOST": found.host, "DB_PORT": str(found.port), "DB_USERNAME": found.username,
            "DB_PASSWORD": found.password or "none", "DB_DATABASE": found.path.strip("/"),
        }  # fmt: skip

    def environment(self, **difylog: str) -> dict[str, str]:
        """Dify's settings; with `difylog`, those of the package (without their `DIFYLOG_`) and the class paths."""
        redis = self.ports["redis"]
        env = self.database | {
            "SECRET_KEY": "of-the-tests", "EDITION": "SELF_HOSTED", "LOG_LEVEL": "INFO", "DEBUG": "false",
            "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis), "REDIS_PASSWORD": "",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis}/1", "STORAGE_TYPE": "opendal", "OPENDAL_SCHEME": "fs",
            "OPENDAL_FS_ROOT": str(self.folder / "storage"), "SSRF_DEFAULT_MAX_RETRIES": "1",
            "APP_MAX_ACTIVE_REQUESTS": "0", "ALLOW_REGISTER": "true", "ALLOW_CREATE_WORKSPACE": "true",
            "SQLALCHEMY_POOL_SIZE": "500",
        }  # fmt: skip
        if not difylog:
            return env | {"DIFYLOG_ENABLED": "false", "DIFYLOG_HOOK": "off"}
        base = {"spool_dir": str(self.spool), "amqp_url": self.amqp, "binary": self.binary}
        variables = {f"DIFYLOG_{name.upper()}": value for name, value in (base | difylog).items()}
        return env | CLASSES | variables | {"DIFYLOG_CONFIG": str(self.folder / "difylog.toml")}

    def start_dify(self, **difylog: str) -> None:
        """Starts Dify's API server, with the package if there are settings of it; returns when it answers."""
        self._start_gunicorn("dify", self.environment(**difylog))
        # Dify 1.13 and later run what is streamed in Celery's workers.
        if (self.api / "tasks/app_generate").is_dir():
            self._start_celery(self.environment(**difylog))

    def start_plain_dify(self) -> None:
        """Starts a second API server of the same Dify, without the package."""
        self._start_gunicorn("plain", self.environment())

    def _start_gunicorn(self, name: str, environment: dict[str, str]) -> None:
        """gunicorn and gevent, as Dify's own image has them."""
        self.stop(name)
        command = [
            self.python, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.ports[name]}", "--workers", "1",
            "--worker-class", "gevent", "--worker-connections", "1000", "--timeout", "200", "app:app",
        ]  # fmt: skip
        self.start(name, command, environment, self.api)
        wait_for(lambda: answers(f"http://127.0.0.1:{self.ports[name]}/health"), 240)

    def _start_celery(self, environment: dict[str, str]) -> None:
        self.stop("celery")
        log = self.folder / "celery.log"
        before = log.stat().st_size if log.exists() else 0
        command = [
            self.python, "-m", "celery", "-A", "celery_entrypoint.celery", "worker", "-P", "gevent", "-c", "20",
            "--loglevel", "INFO", "-Q", "workflow,workflow_based_app_execution",
        ]  # fmt: skip
        self.start("celery", command, environment, self.api)
        wait_for(lambda: b" ready." in log.read_bytes()[before:], 240)

    def dify_workers(self) -> list[int]:
        """The process ids below gunicorn's."""
        parent = self._processes["dify"].pid
        found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True)
        return [int(line) for line in found.stdout.split()]

    def flask(self, *arguments: str, **difylog: str) -> str:
        """Runs a `flask` command of Dify, or the package's, with Dify's settings; returns what it prints."""
        done = subprocess.run(
            [self.python, "-m", "flask", *arguments],
            env=os.environ | self.environment(**difylog), cwd=self.api, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"flask {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def elasticsearch(self, *arguments: str) -> str:
        return self.flask("elasticsearch", *arguments, mode="shadow")

    # difylog and nginx

    def start_difylog(self, more: str = "") -> None:
        sha256 = hashlib.sha256(KEY.encode()).hexdigest()
        config = self.folder / "difylog.toml"
        config.write_text(
            CONFIG.format(
                folder=self.folder, amqp=self.amqp, postgres=self.postgres, port=self.ports["difylog"], dify=self.dify,
                sha256=sha256, more=more,
            )
        )  # fmt: skip
        command = [self.binary, "--config", str(config)]
        subprocess.run([*command, "setup"], check=True, capture_output=True, timeout=120)
        self.start_worker()
        self.start("serve", [*command, "serve"])
        wait_for(lambda: answers(f"{self.difylog}/healthz"))

    def start_worker(self) -> None:
        self.start("worker", [self.binary, "--config", str(self.folder / "difylog.toml"), "worker"])

    def start_nginx(self) -> None:
        """nginx with config/nginx-dify.conf, whose two names are the addresses here."""
        locations = (REPOSITORY / "config/nginx-dify.conf").read_text()
        for name, port in (("api:5001", self.ports["dify"]), ("difylog:8089", self.ports["difylog"])):
            locations, found = re.subn(rf"(?m)^(?!#)(.*){name}", rf"\g<1>127.0.0.1:{port}", locations)
            assert found, f"config/nginx-dify.conf does not name {name}"
        folder, port = self.folder / "nginx", self.ports["nginx"]
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, dify=self.dify, locations=locations))
        self.start("nginx", ["nginx", "-e", f"{folder}/start.log", "-c", str(config)])
        wait_for(lambda: answers(f"{self.nginx}/health"))

    def stored(self, path: str, **parameters: str | int) -> httpx.Response:
        """Asks difylog's own API, as an administrator."""
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.get(f"{self.difylog}/v1/{path}", params=parameters, headers=headers, timeout=60)
