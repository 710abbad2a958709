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

SQLITE = """
[store]
kind = "sqlite"
[store.sqlite]
dir = "{folder}/store"
"""

CONFIG = """
{store}
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
    """A worker and an API, over SQLite files unless another store is given."""

    def __init__(
        self, folder: Path, amqp: str, *, more: str = "", before: tuple[str, ...] = (), roles: tuple[str, ...] = ROLES,
        store: str | None = None, clock: str | None = None,
    ) -> None:  # fmt: skip
        """`before` are commands to run first. By `clock` it stays one instant, for the roles."""
        target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
        binary = os.environ.get("DIFYLOG_BINARY") or target / "debug/difylog"
        assert os.access(binary, os.X_OK), "there is no difylog program: run `cargo build`, or set DIFYLOG_BINARY"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.exchange, self.url = f"dify.{uuid4()}", f"http://127.0.0.1:{port}"
        config = folder / "difylog.toml"
        sha256 = hashlib.sha256(KEY.encode()).hexdigest()
        config.write_text(
            CONFIG.format(
                folder=folder,
                amqp=amqp,
                name=self.exchange,
                port=port,
                sha256=sha256,
                more=more,
                store=store or SQLITE.format(folder=folder),
            )
        )
        self._command = [str(binary), "--config", str(config)]
        self._log = (folder / "difylog.log").open("ab")
        self.processes: list[subprocess.Popen] = []
        for step in ("setup", *before):
            assert self.start(step).wait(300) == 0, (folder / "difylog.log").read_text()
        try:
            self.processes = [self.start(role, clock) for role in roles]
            wait_for(self._answers)
        except BaseException:
            self.stop()
            raise

    def start(self, role: str, clock: str | None = None) -> subprocess.Popen:
        # What the caller has exported for a difylog of his own would win over the file.
        own = ("DIFYLOG__", "ELASTICSEARCH_", "AMQP_URL", "PG_URL", "PG_PASSWORD")
        env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        env |= _standing_still(clock) if clock else {}
        return subprocess.Popen([*self._command, role], stdout=self._log, stderr=self._log, env=env)

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


def _standing_still(instant: str) -> dict[str, str]:
    """Variables by which the wall clock of a program stays one instant. The clock of its timeouts goes on."""
    # The command itself would stay between us and the program.
    library = subprocess.run(["faketime", "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    return {
        "LD_PRELOAD": library.stdout.strip(), "FAKETIME": instant.replace("T", " ").removesuffix("Z"), "TZ": "UTC",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


class Engine:
    """A search engine for tests, each with a prefix of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        # scripts/test knows by it what the Rust tests must not clear away.
        self._prefix = f"package{uuid4().hex}"

    def store(self) -> str:
        """The section of the configuration. Few indices: an engine of the tests has a small heap."""
        return (
            f'[store]\nkind = "elastic"\n[store.elastic]\nhosts = ["{self.url}"]\nprefix = "{self._prefix}"\n'
            'tenancy = "shared"\nreplicas = 0\nrefresh_interval = "100ms"\n'
        )

    def clear(self) -> None:
        """Deletes the indices of the prefix."""
        listed = f"{self.url}/_cat/indices/{self._prefix}-*?h=index&expand_wildcards=all"
        with urllib.request.urlopen(listed, timeout=60) as answer:  # noqa: S310 - see above
            names = answer.read().decode().split()
        for place in range(0, len(names), 20):
            address = f"{self.url}/{','.join(names[place : place + 20])}"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=60).close()  # noqa: S310
