"""The producer on a real RabbitMQ: confirms, outages, forks, kills, gevent; and what happens at its bounds."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from uuid import uuid4

import pytest

from conftest import APP, START, TENANT, USER, WORKFLOW, Queue, wait_for
from difylog_dify import events, producer
from difylog_dify.settings import Settings
from difylog_dify.spool import Spool

Configure = Callable[..., Settings]
NOWHERE = "amqp://guest:guest@127.0.0.1:1/%2f"


def event(record_id: str | None = None, status: str = "succeeded", **columns: object) -> events.Event:
    row = {
        "id": record_id or str(uuid4()), "tenant_id": TENANT, "app_id": APP, "workflow_id": WORKFLOW,
        "type": "workflow", "triggered_from": "app-run", "version": "draft", "status": status, "elapsed_time": 0.0,
        "created_by_role": "account", "created_by": USER, "created_at": START,
    } | columns  # fmt: skip
    return events.snapshot(events.RUN, SimpleNamespace(**row))


def ids(found: list[dict]) -> list[str]:
    return [document["record"]["id"] for document in found]


def spooled(settings: Settings) -> int:
    found = Spool(settings.spool_dir, settings.spool_bytes)
    count = found.counts()["events"]
    found.close()
    return count


def test_events_arrive_in_order_and_confirmed(configure: Configure, queue: Queue) -> None:
    configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    sent = [event() for _ in range(500)]
    assert all(producer.offer(one) for one in sent)
    assert producer.producer().wait_until_idle(90)
    assert ids(queue.take()) == [one.id for one in sent]
    assert producer.producer().counts == {"published": 500}


def test_a_broker_that_is_down_fills_the_spool_which_is_drained_when_it_is_back(
    configure: Configure, rabbit: SimpleNamespace, queue: Queue
) -> None:
    settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    first = event()
    producer.offer(first)
    assert producer.producer().wait_until_idle(90)
    rabbit.run("kill")
    try:
        sent = [event(status=status) for status in ("running", "succeeded", "running", "failed")]
        assert all(producer.offer(one) for one in sent)
        wait_for(lambda: producer.producer().counts["spooled"] == 4)
        assert spooled(settings) == 4
    finally:
        rabbit.run("restart")
    assert producer.producer().wait_until_idle(90)
    found = ids(queue.take())
    assert found[0] == first.id
    # Ended runs first; at least once, so that a repetition is allowed and a loss is not.
    assert list(dict.fromkeys(found[1:])) == [sent[1].id, sent[3].id, sent[0].id, sent[2].id]
    assert spooled(settings) == 0


SPOOLER = """
import os, signal, sys
sys.path.insert(0, os.environ["TESTS"])
import conftest, test_producer
from difylog_dify import producer
for number in range(50):
    producer.offer(test_producer.event(f"00000000-0000-4000-8000-{number:012}"))
conftest.wait_for(lambda: producer.producer().counts["spooled"] == 50)
print("spooled", flush=True)
signal.pause()
"""


def run_code(code: str, settings: Settings, **variables: str) -> subprocess.Popen:
    env = os.environ | {
        "TESTS": os.path.dirname(__file__), "DIFYLOG_AMQP_URL": settings.amqp_url,
        "DIFYLOG_AMQP_EXCHANGE": settings.amqp_exchange, "DIFYLOG_SPOOL_DIR": settings.spool_dir,
    } | variables  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_has_spooled_is_drained_by_another(configure: Configure, queue: Queue) -> None:
    settings = configure(amqp_url=NOWHERE, amqp_exchange=queue.exchange)
    child = run_code(SPOOLER, settings)
    assert child.stdout is not None
    assert child.stdout.readline() == "spooled\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    assert producer.producer().wait_until_idle(90)
    assert sorted(ids(queue.take())) == [f"00000000-0000-4000-8000-{number:012}" for number in range(50)]


def test_a_process_that_has_nothing_of_its_own_to_say_drains_what_others_left(
    configure: Configure, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "LOOK_SECONDS", 0.2)
    settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    assert producer.producer().wait_until_idle(90)
    one = event()
    other = Spool(settings.spool_dir, settings.spool_bytes)
    other.put([producer._entry(one, events.encode(one))])
    other.close()
    wait_for(lambda: one.id in ids(queue.take()))


def test_an_event_whose_json_is_larger_than_it_seemed_is_told(configure: Configure, queue: Queue) -> None:
    configure(amqp_url=queue.url, amqp_exchange=queue.exchange, event_bytes="2000")
    told = threading.Event()
    one = event(inputs='"' * 1200)
    one.refused = told.set
    assert producer.offer(one)
    assert told.wait(90)
    assert queue.take() == []


def test_a_process_that_ends_leaves_nothing_behind_in_memory(configure: Configure, queue: Queue) -> None:
    settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    code = """
import os, sys
sys.path.insert(0, os.environ["TESTS"])
import test_producer
from difylog_dify import producer
for number in range(300): producer.offer(test_producer.event())
"""
    child = run_code(code, settings)
    assert child.wait(240) == 0
    assert len(queue.take()) + spooled(settings) == 300


def test_a_forked_child_has_a_producer_of_its_own(configure: Configure, queue: Queue) -> None:
    configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    before, in_child = event(), event()
    producer.offer(before)
    assert producer.producer().wait_until_idle(90)
    child = os.fork()
    if child == 0:
        try:
            producer.offer(in_child)
            os._exit(0 if producer.producer().wait_until_idle(90) else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    after = event()
    producer.offer(after)
    assert producer.producer().wait_until_idle(90)
    assert ids(queue.take()) == [before.id, in_child.id, after.id]


GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, os, sys, threading
sys.path.insert(0, os.environ["TESTS"])
import test_producer
from difylog_dify import producer
assert threading.current_thread().__class__.__name__ == "_MainThread"
beats = []
def beat():
    while True:
        beats.append(1); gevent.sleep(0.01)
gevent.spawn(beat)
def work(number):
    for _ in range(20): producer.offer(test_producer.event()); gevent.sleep(0)
gevent.joinall([gevent.spawn(work, number) for number in range(10)])
assert producer.producer().wait_until_idle(90)
assert isinstance(producer.producer()._thread, threading.Thread) and len(beats) > 1
pid = os.fork()
if pid == 0:
    producer.offer(test_producer.event())
    os._exit(0 if producer.producer().wait_until_idle(90) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_it_works_in_a_process_that_gevent_has_patched(configure: Configure, queue: Queue) -> None:
    settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    assert run_code(GEVENT, settings).wait(240) == 0
    assert len(queue.take()) == 201


SLOW_DISK = """
from gevent import monkey; monkey.patch_all()
import gevent, os, sys
sys.path.insert(0, os.environ["TESTS"])
import conftest, test_producer
from difylog_dify import native, producer, spool
beats, during = [], []
def beat():
    while True:
        beats.append(1); gevent.sleep(0.001)
gevent.spawn(beat)
def slowly(method):
    def slow(*arguments):
        before = len(beats)
        native.sleep(0.3)
        during.append(len(beats) - before)
        return method(*arguments)
    return slow
for name in ("put", "first", "remove"): setattr(spool.Spool, name, slowly(getattr(spool.Spool, name)))
def offer(count):
    for _ in range(count): producer.offer(test_producer.event())
    conftest.wait_for(lambda: producer.producer().counts[os.environ["UNTIL"]] == count)
offer(5)
assert os.environ["UNTIL"] == "spooled" or producer.producer().wait_until_idle(90)
assert during and min(during) > 0, during
pid = os.fork()
if pid == 0:
    try:
        offer(1)
        os._exit(0)
    except BaseException:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
producer.offer(test_producer.event())
"""


def test_a_slow_disk_below_the_spool_holds_up_no_other_greenlet(configure: Configure, queue: Queue) -> None:
    settings = configure(amqp_url=NOWHERE, amqp_exchange=queue.exchange)
    assert run_code(SLOW_DISK, settings, UNTIL="spooled").wait(240) == 0
    assert spooled(settings) == 7, "what was offered last is spooled when the process ends"
    settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    # What was left is drained as well, by whichever process looks first.
    assert run_code(SLOW_DISK, settings, UNTIL="published").wait(240) == 0
    assert producer.producer().wait_until_idle(90)
    assert len(queue.take()) == 14


def test_an_exchange_without_a_queue_is_no_delivery(configure: Configure, rabbit: SimpleNamespace) -> None:
    from kombu import Connection, Exchange

    name = f"unbound-{uuid4()}"
    with Connection(rabbit.url) as connection:
        Exchange(name, "topic", durable=True)(connection).declare()
    settings = configure(amqp_url=rabbit.url, amqp_exchange=name)
    producer.offer(event())
    wait_for(lambda: producer.producer().counts["spooled"] == 1)
    assert spooled(settings) == 1


@pytest.mark.parametrize(
    ("host", "options", "published"),
    [
        ("127.0.0.1", {"amqp_ca_file": "the authority"}, True),
        ("127.0.0.1", {"amqp_verify": "false"}, True),
        # The system does not know the authority, and the certificate is of another name.
        ("127.0.0.1", {}, False),
        ("localhost", {"amqp_ca_file": "the authority"}, False),
    ],
)
def test_tls_is_checked(
    configure: Configure, rabbit: SimpleNamespace, queue: Queue, host: str, options: dict[str, str], published: bool
) -> None:
    given = {name: rabbit.authority if value == "the authority" else value for name, value in options.items()}
    url = rabbit.tls_url.replace("127.0.0.1", host)
    configure(amqp_url=url, amqp_exchange=queue.exchange, **given)
    producer.offer(event())
    counts = producer.producer().counts
    wait_for(lambda: counts["published"] or counts["spooled"])
    assert (counts["published"], counts["spooled"]) == ((1, 0) if published else (0, 1))


@pytest.fixture
def silent_port() -> object:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_broker_that_hangs_holds_up_no_one(configure: Configure, silent_port: int) -> None:
    settings = configure(amqp_url=f"amqp://guest:guest@127.0.0.1:{silent_port}/%2f", amqp_timeout_seconds="0.3")
    assert all(producer.offer(event()) for _ in range(100))
    wait_for(lambda: producer.producer().counts["spooled"] == 100)
    assert spooled(settings) == 100


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(configure: Configure, silent_port: int) -> None:
    configure(
        amqp_url=f"amqp://guest:guest@127.0.0.1:{silent_port}/%2f", amqp_timeout_seconds="30", spool_bytes="0",
        queue_bytes=str(1 << 20),
    )  # fmt: skip
    # The thread is held up by the silent broker with its first batch.
    taken = [producer.offer(event(inputs="x" * 10_000)) for _ in range(200)]
    assert taken.count(True) < 110
    assert producer.producer().counts["lost"] == taken.count(False) > 0
    producer.producer()._publisher.close()


def test_a_burst_that_the_queue_has_no_room_for_goes_into_the_spool(configure: Configure, silent_port: int) -> None:
    settings = configure(
        amqp_url=f"amqp://guest:guest@127.0.0.1:{silent_port}/%2f", amqp_timeout_seconds="30", queue_bytes=str(1 << 20)
    )
    assert all(producer.offer(event(inputs="x" * 10_000)) for _ in range(200))
    counts = producer.producer().counts
    assert counts["spilled"] > 90
    assert counts["lost"] == 0
    assert spooled(settings) >= counts["spilled"]
    producer.producer()._publisher.close()


def test_without_a_spool_events_are_told_that_they_are_lost(configure: Configure) -> None:
    configure(amqp_url=NOWHERE, spool_bytes="0")
    told = threading.Event()
    one = event()
    one.refused = told.set
    assert producer.offer(one)
    assert told.wait(90)
    assert producer.producer().counts["lost"] == 1


def test_an_event_above_the_bound_is_refused_at_once(configure: Configure) -> None:
    configure(amqp_url=NOWHERE, event_bytes="2000")
    assert not producer.offer(event(inputs="x" * 3000))
    assert producer.offer(event())


def test_a_message_that_the_broker_will_never_take_holds_up_no_other(
    configure: Configure, rabbit: SimpleNamespace, queue: Queue
) -> None:
    rabbit.run("ctl", "eval", "application:set_env(rabbit, max_message_size, 20000).")
    try:
        settings = configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
        huge, small = event(inputs="x" * 50_000), event()
        producer.offer(huge)
        wait_for(lambda: producer.producer().counts["spooled"])
        producer.offer(small)
        wait_for(lambda: small.id in ids(queue.take()))

        def set_aside() -> bool:
            found = Spool(settings.spool_dir, settings.spool_bytes)
            counts = found.counts()
            found.close()
            return counts["set_aside"] == 1

        wait_for(set_aside)
    finally:
        rabbit.run("ctl", "eval", "application:set_env(rabbit, max_message_size, 134217728).")


def test_what_cannot_be_a_record_is_counted_and_the_rest_goes_on(configure: Configure, queue: Queue) -> None:
    configure(amqp_url=queue.url, amqp_exchange=queue.exchange)
    bad, good = event(error=object()), event()
    assert producer.offer(bad)
    assert producer.offer(good)
    assert producer.producer().wait_until_idle(90)
    assert ids(queue.take()) == [good.id]
    assert producer.producer().counts["lost"] == 1


def test_no_secret_and_no_payload_reaches_the_log(
    configure: Configure, silent_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    configure(amqp_url="amqp://someone:hunter2@127.0.0.1:1/%2f", spool_bytes="0")
    producer.offer(event(inputs=json.dumps({"q": "private-words"}), error=object()))
    producer.offer(event(inputs=json.dumps({"q": "private-words"})))
    wait_for(lambda: producer.producer().counts["lost"] == 2)
    text = caplog.text + repr(producer.producer()._settings)
    assert "do not reach difylog" in text
    assert "hunter2" not in text
    assert "private-words" not in text
