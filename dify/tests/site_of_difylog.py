"""A real `difylog worker` and `difylog serve` over SQLite files in a folder.

The program is `DIFYLOG_BINARY`, or what `cargo build` made of this repository.
"""

import hashlib
import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

from conftest import REPOSITORY, wait_for

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
native_exchange = "{name}"
dead_letter_exchange = "{name}.dlx"
dead_letter_queue = "{name}.dead"
[[amqp.queues]]
name = "{name}.events"
source = "native"
[http]
listen = ""
[serve]
listen = "127.0.0.1:{port}"
{more}
[[serve.keys]]
name = "tests"
sha256 = "{sha256}"
admin = true
rights = ["read", "delete"]
"""


ROLES = ("worker", "serve")


class Site:
    """A worker and an API over SQLite files."""

    def __init__(
        self, folder: Path, amqp: str, *, more: str = "", before: tuple[str, ...] = (), roles: tuple[str, ...] = ROLES
    ) -> None:
        binary = os.environ.get("DIFYLOG_BINARY") or REPOSITORY / "target/debug/difylog"
        assert os.access(binary, os.X_OK), "there is no difylog program: run `cargo build`, or set DIFYLOG_BINARY"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.exchange, self.url = f"dify.{uuid4()}", f"http://127.0.0.1:{port}"
        config = folder / "difylog.toml"
        sha256 = hashlib.sha256(KEY.encode()).hexdigest()
        config.write_text(
            CONFIG.format(folder=folder, amqp=amqp, name=self.exchange, port=port, sha256=sha256, more=more)
        )
        self._command = [str(binary), "--config", str(config)]
        self._log = (folder / "difylog.log").open("ab")
        self.processes: list[subprocess.Popen] = []
        for step in ("setup", *before):
            assert self.start(step).wait(300) == 0, (folder / "difylog.log").read_text()
        try:
            self.processes = [self.start(role) for role in roles]
            wait_for(self._answers)
        except BaseException:
            self.stop()
            raise

    def start(self, role: str) -> subprocess.Popen:
        return subprocess.Popen([*self._command, role], stdout=self._log, stderr=self._log)

    def _answers(self) -> bool:
        assert all(process.poll() is None for process in self.processes), "a difylog process has ended"
        try:
            urllib.request.urlopen(f"{self.url}/healthz", timeout=20).close()  # noqa: S310 - the address is ours
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(240)
        self._log.close()
