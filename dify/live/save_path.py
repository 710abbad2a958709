"""Measures what a save costs the thread that saves, and how long it holds up the others, without a Dify.

    python save_path.py AMQP_URL [--gevent] [--seconds 10] [--workers 20]

Workers save as many runs as fit, without the package, and with it while the broker is up, down, and hanging: it accepts
connections and never answers. One line of JSON each: milliseconds of a save, and by how much a thread that wants to run
every two milliseconds comes late. With --gevent all of them share one thread, as Dify's workers do.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

EXCHANGE = "difylog-save-path"
STATES = ("without", "up", "down", "hanging")
GRAPH, PAYLOAD = json.dumps({"nodes": ["n" * 50_000]}), json.dumps({"text": "x" * 2_000})
TENANT, APP = str(uuid4()), str(uuid4())
# Between two saves of a run.
PAUSE_SECONDS = 0.02


def row(kind: str, status: str) -> SimpleNamespace:
    """A row as Dify's repository makes it: the values of columns."""
    common = {
        "id": str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": APP, "status": status,
        "elapsed_time": 0.1, "created_by_role": "end_user", "created_by": APP,
        "created_at": datetime.now(UTC).replace(tzinfo=None), "inputs": PAYLOAD, "outputs": PAYLOAD,
    }  # fmt: skip
    if kind == "workflow_run":
        more: dict[str, Any] = {"type": "workflow", "triggered_from": "app-run", "version": "1", "graph": GRAPH}
    else:
        more = {"triggered_from": "workflow-run", "index": 1, "node_id": "1", "node_type": "code", "title": "Code"}
    return SimpleNamespace(**common | more)


def measure(save: Callable[[str, SimpleNamespace], object], workers: int, seconds: float) -> dict[str, Any]:
    costs: list[float] = []
    late: list[float] = []
    until = time.monotonic() + seconds

    def one_run() -> None:
        steps = [("workflow_run", "running"), *[("node_execution", "succeeded")] * 6, ("workflow_run", "succeeded")]
        for kind, status in steps:
            found = row(kind, status)
            began = time.perf_counter()
            save(kind, found)
            costs.append(time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)

    def work() -> None:
        while time.monotonic() < until:
            one_run()

    def beat() -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            time.sleep(0.002)
            late.append(time.perf_counter() - began - 0.002)

    threads = [threading.Thread(target=work) for _ in range(workers)] + [threading.Thread(target=beat)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"saves": len(costs), "save_ms": spread(costs), "late_ms": spread(late)}


def spread(seconds: list[float]) -> dict[str, float]:
    points = statistics.quantiles(seconds, n=1000)
    found = {"p50": points[499], "p99": points[989], "p99.9": points[998], "max": max(seconds)}
    return {name: round(1000 * value, 3) for name, value in found.items()}


def one_state(state: str, url: str, workers: int, seconds: float) -> None:
    """Runs in a process of its own: there is one producer in each."""
    if state == "without":
        found = measure(lambda kind, saved: None, workers, seconds)
    else:
        silent = socket.create_server(("127.0.0.1", 0))
        elsewhere = {"down": 1, "hanging": silent.getsockname()[1]}
        if state in elsewhere:
            url = f"amqp://guest:guest@127.0.0.1:{elsewhere[state]}/%2f"
        os.environ |= {"DIFYLOG_AMQP_URL": url, "DIFYLOG_AMQP_EXCHANGE": EXCHANGE}
        from difylog_dify import events, producer

        of_process = producer.producer()
        found = measure(lambda kind, saved: producer.offer(events.snapshot(kind, saved)), workers, seconds)
        producer.stop()
        found["counts"] = dict(of_process.counts)
    sys.stdout.write(json.dumps({"broker": state} | found) + "\n")


def with_queue(url: str, *, make: bool) -> None:
    from kombu import Connection, Exchange, Queue

    with Connection(url) as connection:
        queue = Queue(EXCHANGE, Exchange(EXCHANGE, "topic", durable=True), routing_key="#")(connection.channel())
        if make:
            queue.declare()
        else:
            queue.delete()
            queue.exchange.delete()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("amqp_url")
    parser.add_argument("--gevent", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--state", choices=STATES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.state:
        one_state(options.state, options.amqp_url, options.workers, options.seconds)
        return
    with_queue(options.amqp_url, make=True)
    try:
        for state in STATES:
            with tempfile.TemporaryDirectory(prefix="difylog-spool-") as folder:
                env = os.environ | {"DIFYLOG_SPOOL_DIR": f"{folder}/spool"}
                subprocess.run([sys.executable, *sys.argv, "--state", state], env=env, check=True)
    finally:
        with_queue(options.amqp_url, make=False)


if __name__ == "__main__":
    if "--gevent" in sys.argv and "--state" in sys.argv:
        from gevent import monkey

        monkey.patch_all()
    main()
