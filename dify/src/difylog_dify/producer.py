"""The producer: one per process, a queue bounded in bytes and a thread (a greenlet under gevent) that publishes.

`offer` never waits for a broker. What the broker does not confirm, and what the queue has no room for, goes into the
spool, which is drained when the broker takes events again. What the spool cannot take is counted, logged, and told to
the event.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import groupby

from difylog_dify import native
from difylog_dify.broker import BrokerDown, MessageRefused, Publisher
from difylog_dify.events import Event, NoRecord, encode
from difylog_dify.settings import Settings, current
from difylog_dify.spool import Entry, Spool, Spooled, SpoolError

logger = logging.getLogger(__name__)

BATCH_EVENTS = 200
BATCH_BYTES = 1 << 20
# How long the first event of a batch waits for others. A message and its confirm cost about the same for one event as
# for many, and under gevent they take their time from Dify's own requests.
LINGER_SECONDS = 0.05
# Between two looks at the spool and the heartbeats, while there is nothing to publish.
TICK_SECONDS = 1.0
# How long a caller that finds the queue full waits for another that makes room.
OVERFLOW_SECONDS = 0.05
# Between two looks at a spool that was empty.
LOOK_SECONDS = 15.0
# Between two lines of the log about events that are lost.
COMPLAIN_SECONDS = 30.0


class Producer:
    """Publishes events in the background. Thread-safe; of no use in a forked child, which makes its own."""

    def __init__(self, settings: Settings, publisher: Publisher | None = None) -> None:
        self.pid = os.getpid()
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._publisher = publisher or Publisher(settings)
        self._spool = Spool(settings.spool_dir, settings.spool_bytes) if settings.spool_bytes else None
        # For callers that find the queue full; a handle of SQLite belongs to one thread at a time.
        self._overflow = Spool(settings.spool_dir, settings.spool_bytes, tries=2) if settings.spool_bytes else None
        self._overflow_lock = threading.Lock()
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._abandon_at = float("inf")
        self._spool_may_hold = True
        self._look_at = 0.0
        self._complained_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="difylog-producer", daemon=True)
        self._thread.start()

    def offer(self, event: Event) -> bool:
        """Takes an event and returns True, or returns False if it is too large or there is no room anywhere.

        Returns in some microseconds. With a full queue a caller writes some of its oldest events to the spool, or
        waits for another that does so, at most in OVERFLOW_SECONDS and the time of one commit.
        """
        if event.size > self._settings.event_bytes:
            self._lose([event], "larger than DIFYLOG_EVENT_BYTES", tell=False)
            return False
        why = "" if self._append(event) else self._spill(event)
        if why:
            self._lose([event], why, tell=False)
            return False
        if not self._wake.is_set():
            self._wake.set()
        return True

    def _append(self, event: Event) -> bool:
        """Queues the event if there is room; returns whether there was."""
        with self._lock:
            taken = not self._stopping and self._bytes + event.size <= self._settings.queue_bytes
            if taken:
                self._queue.append(event)
                self._bytes += event.size
        return taken

    def _spill(self, event: Event) -> str:
        """Queues the event once there is room, or writes it to the spool; returns why neither could be done."""
        why = "the queue is full (DIFYLOG_QUEUE_BYTES), and so is the spool, or it cannot be written"
        if self._overflow is None:
            return why
        if not self._overflow_lock.acquire(timeout=OVERFLOW_SECONDS):
            return "" if self._append(event) else why
        try:
            # Another may have made room meanwhile.
            if self._append(event) or (self._unload(self._overflow) and self._append(event)):
                return ""
            # The queue's events are larger than this one, or nobody serves it any more.
            if native.call(self._overflow.put, [_entry(event, encode(event))]):
                return why
            self._spool_may_hold = True
            self.counts["spilled"] += 1
        except (NoRecord, ValueError, TypeError):
            return "no record"
        except SpoolError as error:
            return f"{why}: {error}"
        finally:
            self._overflow_lock.release()
        return ""

    def _unload(self, spool: Spool) -> bool:
        """Moves the queue's oldest events to the spool in one commit; returns whether that made room.

        Those that cannot be moved stay in their places: the producer's thread sees to them.
        """
        batch = self._batch()
        moved: list[Event] = []
        try:
            entries = [_entry(event, encode(event)) for event in batch]
            left_out = set(native.call(spool.put, entries))
            moved = [event for place, event in enumerate(batch) if place not in left_out]
        except (NoRecord, ValueError, TypeError):
            # One of them is no record.
            pass
        finally:
            stay = [event for event in batch if not any(event is one for one in moved)]
            with self._lock:
                self._queue.extendleft(reversed(stay))
                self._bytes -= sum(event.size for event in moved)
        self._spool_may_hold = self._spool_may_hold or bool(moved)
        self.counts["spilled"] += len(moved)
        return bool(moved)

    def stop(self, seconds: float) -> None:
        """Publishes or spools what is queued and ends the thread, within about `seconds`."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._abandon_at = time.monotonic() + seconds * 0.6
        self._wake.set()
        self._thread.join(seconds)

    def wait_until_idle(self, seconds: float) -> bool:
        """Waits until nothing is queued or spooled; returns whether that was reached. For commands and tests."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self._lock:
                idle = self._bytes == 0
            if idle and not self._spool_may_hold:
                return True
            time.sleep(0.01)
        return False

    @property
    def spooled(self) -> bool:
        """Whether the spool may hold events."""
        return self._spool_may_hold

    def _run(self) -> None:
        while True:
            if self._wake.wait(TICK_SECONDS) and not self._stopping:
                time.sleep(LINGER_SECONDS)
            self._wake.clear()
            try:
                while batch := self._batch():
                    try:
                        self._deliver(batch)
                    finally:
                        with self._lock:
                            self._bytes -= sum(event.size for event in batch)
                    self._drain(once=True)
                if self._stopping and not self._queue:
                    break
                if time.monotonic() >= self._look_at:
                    # A process that has ended may have left something.
                    self._look_at, self._spool_may_hold = time.monotonic() + LOOK_SECONDS, True
                self._drain(once=False)
                self._publisher.heartbeat()
            except Exception:
                # The thread must live on; the traceback has code lines and no payloads.
                logger.exception("the producer met a fault of its own and goes on")
                time.sleep(TICK_SECONDS)
        self._publisher.close(politely=True)
        if self._spool:
            native.call(self._spool.close)
        if self._overflow:
            with self._overflow_lock:
                native.call(self._overflow.close)

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        size = 0
        with self._lock:
            while self._queue and len(batch) < BATCH_EVENTS:
                size += self._queue[0].size
                if batch and size > BATCH_BYTES:
                    break
                batch.append(self._queue.popleft())
        return batch

    def _deliver(self, batch: Sequence[Event]) -> None:
        encoded: list[tuple[Event, bytes]] = []
        for event in batch:
            try:
                body = encode(event)
                if len(body) > self._settings.event_bytes:
                    # An estimate let it in.
                    self._lose([event], "larger than DIFYLOG_EVENT_BYTES")
                else:
                    encoded.append((event, body))
            except (NoRecord, ValueError, TypeError) as error:
                self._lose([event], f"no record: {error}" if isinstance(error, NoRecord) else "no record")
        # The order of one record's snapshots stays.
        left = sorted(encoded, key=_key)
        abandoned = self._stopping and time.monotonic() > self._abandon_at
        while left and not abandoned and self._publisher.ready():
            message = _same_key(left)
            try:
                first = message[0][0]
                self._publisher.publish(_array([body for _, body in message]), first.kind, first.tenant_id)
            except (BrokerDown, MessageRefused):
                break
            self.counts["published"] += len(message)
            left = left[len(message) :]
        if left:
            self._to_spool(left)

    def _to_spool(self, left: Sequence[tuple[Event, bytes]]) -> None:
        events = [event for event, _ in left]
        if self._spool is None:
            self._lose(events, "the broker does not confirm, and there is no spool (DIFYLOG_SPOOL_BYTES is 0)")
            return
        entries = [_entry(event, body) for event, body in left]
        try:
            left_out = native.call(self._spool.put, entries)
        except SpoolError as error:
            self._lose(events, f"the broker does not confirm, and the spool cannot be written: {error}")
            return
        self._spool_may_hold = True
        self.counts["spooled"] += len(entries) - len(left_out)
        if left_out:
            self._lose([events[place] for place in left_out], "the spool is full (DIFYLOG_SPOOL_BYTES)")

    def _drain(self, *, once: bool) -> None:
        if self._spool is None or not self._spool_may_hold or not self._publisher.ready() or self._stopping:
            return
        if not self._spool.exists():
            self._spool_may_hold = False
            return
        with self._spool.draining() as ours:
            # If another process drains, this one looks again at the next tick.
            while ours and not self._stopping:
                try:
                    if not self._drain_batch() or once or self._queue:
                        return
                except (BrokerDown, SpoolError):
                    return

    def _drain_batch(self) -> bool:
        assert self._spool is not None  # noqa: S101 - for the type checker
        spooled = native.call(self._spool.first, BATCH_EVENTS, BATCH_BYTES)
        if not spooled:
            self._spool_may_hold = False
            return False
        message = _run_of(spooled)
        # One that was refused before goes alone, so that the others are not refused with it.
        if message[0].attempts:
            message = message[:1]
        try:
            self._publisher.publish(_array([event.body for event in message]), message[0].kind, message[0].tenant_id)
        except MessageRefused:
            for event in message:
                if native.call(self._spool.failed, event):
                    self._complain(1, f"the broker refuses {event.kind} {event.record_id} for good; it stays set aside")
            return True
        native.call(self._spool.remove, message)
        self.counts["drained"] += len(message)
        return True

    def _lose(self, events: Iterable[Event], why: str, *, tell: bool = True) -> None:
        lost = list(events)
        self.counts["lost"] += len(lost)
        self._complain(len(lost), why)
        for event in lost:
            if tell and event.refused is not None:
                try:
                    event.refused()
                except Exception:
                    logger.exception("%s %s could not be kept elsewhere either", event.kind, event.id)

    def _complain(self, count: int, why: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            logger.error("%d events of Dify's log do not reach difylog: %s; %d so far", count, why, self.counts["lost"])


def _entry(event: Event, body: bytes) -> Entry:
    return Entry(event.need, event.kind, event.tenant_id, event.id, body)


def _array(bodies: Sequence[bytes]) -> bytes:
    return bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]"


def _key(pair: tuple[Event, bytes]) -> tuple[str, str]:
    return (pair[0].kind, pair[0].tenant_id)


def _same_key(left: Sequence[tuple[Event, bytes]]) -> list[tuple[Event, bytes]]:
    """Returns the events at the beginning that share a routing key."""
    _, group = next(groupby(left, key=_key))
    return list(group)


def _run_of(spooled: Sequence[Spooled]) -> list[Spooled]:
    _, group = next(groupby(spooled, key=lambda event: (event.kind, event.tenant_id, event.attempts > 0)))
    return list(group)


_producer: Producer | None = None
_making = threading.Lock()
# Producers of the parent process. Their sockets and SQLite handles must be neither used nor closed in a child.
_inherited: list[Producer] = []


def producer() -> Producer:
    """Returns this process's producer, made when it is first needed and again after a fork."""
    global _producer
    found = _producer
    if found is None or found.pid != os.getpid():
        with _making:
            if _producer is None or _producer.pid != os.getpid():
                _producer = Producer(current())
                _stop_with_process()
            found = _producer
    return found


def offer(event: Event) -> bool:
    """Hands an event to this process's producer; see `Producer.offer`. Never raises."""
    try:
        return producer().offer(event)
    except Exception:
        logger.exception("an event of Dify's log could not be queued")
        return False


def running() -> Producer | None:
    """Returns this process's producer, if there is one already."""
    found = _producer
    return found if found is not None and found.pid == os.getpid() else None


def stop() -> None:
    """Stops this process's producer, if there is one. The next event makes another."""
    global _producer
    found = running()
    _producer = None
    if found is not None:
        found.stop(current().stop_seconds)


_registered_pid = 0


def _stop_with_process() -> None:
    global _registered_pid
    if _registered_pid == os.getpid():
        return
    if not _registered_pid:
        # A forked child inherits it.
        atexit.register(stop)
    _registered_pid = os.getpid()
    # Celery's prefork children end without atexit.
    if "celery.signals" in sys.modules:
        sys.modules["celery.signals"].worker_process_shutdown.connect(_on_worker_process_shutdown, weak=False)


def _on_worker_process_shutdown(**_: object) -> None:
    stop()


def _after_fork_in_child() -> None:
    global _producer, _making
    if _producer is not None:
        _inherited.append(_producer)
    _producer = None
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
