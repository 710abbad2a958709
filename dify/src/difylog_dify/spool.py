"""The spool: events that the broker could not take, in a SQLite file that every process of this machine shares.

A commit survives the end of the process at any moment (WAL, synchronous NORMAL), not a power cut. Whatever process is
running next drains what another left behind. The folder must lie on a local disk: SQLite's locks do not hold over NFS.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from difylog_dify import native

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, need INTEGER NOT NULL, kind TEXT NOT NULL, tenant_id TEXT NOT NULL,
    record_id TEXT NOT NULL, body BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS events_by_need ON events (need, seq);
CREATE INDEX IF NOT EXISTS events_by_record ON events (record_id, kind, tenant_id);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON events BEGIN
    INSERT INTO counts VALUES ('bytes', length(new.body)), ('events', 1)
    ON CONFLICT (name) DO UPDATE SET value = value + excluded.value; END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON events BEGIN
    UPDATE counts SET value = value - length(old.body) WHERE name = 'bytes';
    UPDATE counts SET value = value - 1 WHERE name = 'events'; END;
"""

# An event that the broker refuses this often by itself is set aside: it must not hold up the others.
MAX_ATTEMPTS = 5
# One wait for another process's commit, and how many there are: SQLite does not wait at all for some locks, such as
# that of the file's first change to WAL.
LOCK_MILLISECONDS = 20
LOCK_TRIES = 10
TRANSIENT = 2


class SpoolError(Exception):
    """The spool cannot be used; the text names the folder and the reason."""


@dataclass(frozen=True)
class Entry:
    """An event as it goes in."""

    need: int
    kind: str
    tenant_id: str
    record_id: str
    body: bytes


@dataclass(frozen=True)
class Spooled:
    """An event that lies in the spool."""

    seq: int
    kind: str
    tenant_id: str
    record_id: str
    body: bytes
    attempts: int


class Spool:
    """A spool folder. One instance belongs to one process and is used by one thread at a time.

    Its methods wait for the disk and for other processes: a process that gevent has patched calls them by
    `native.call`.
    """

    def __init__(self, folder: str | Path, max_bytes: int, *, tries: int = LOCK_TRIES) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._tries = tries
        self._connection: sqlite3.Connection | None = None

    @property
    def path(self) -> Path:
        """The file of events."""
        return self.folder / "events.db"

    def _prepare_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        # The default lies in a folder where anyone may write.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise SpoolError(f"{self.folder}: expected a folder of uid {os.geteuid()} that nobody else may write")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            old_mask = os.umask(0o077)
            try:
                self._prepare_folder()
                connection = sqlite3.connect(
                    self.path, timeout=LOCK_MILLISECONDS / 1000, isolation_level=None, check_same_thread=False
                )
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(SCHEMA)
            except OSError as error:
                raise SpoolError(f"{self.folder}: {error.strerror or error}") from error
            finally:
                os.umask(old_mask)
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._begun()
        try:
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._set_aside_if_damaged(error)
            raise SpoolError(f"{self.path}: {error}") from error

    def _begun(self) -> sqlite3.Connection:
        for tries in range(1, self._tries + 1):
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if tries == self._tries or not _is_busy(error):
                    self._set_aside_if_damaged(error)
                    raise SpoolError(f"{self.path}: {error}") from error
                native.sleep(LOCK_MILLISECONDS / 1000)
            else:
                return connection
        raise SpoolError(f"{self.path}: locked")

    def _set_aside_if_damaged(self, error: sqlite3.Error) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return
        self.close()
        aside = self.path.with_suffix(f".damaged-{int(time.time())}")
        with contextlib.suppress(OSError):
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            logger.error("the spool is damaged: it is kept as %s, and a new one is begun", aside)

    def put(self, entries: Sequence[Entry]) -> list[int]:
        """Stores the entries in one commit and returns the places of those that did not fit.

        A transient snapshot goes once an ended one of the same record comes. At the bound, transient snapshots make
        room for others. Raises SpoolError if nothing could be stored.
        """
        left_out: list[int] = []
        with self._transaction() as connection:
            used = self._count(connection, "bytes")
            for place, entry in enumerate(entries):
                if entry.need < TRANSIENT:
                    used -= self._drop_transient_of(connection, entry)
                if used + len(entry.body) > self._max_bytes and entry.need < TRANSIENT:
                    used -= self._make_room(connection, used + len(entry.body) - self._max_bytes)
                if used + len(entry.body) > self._max_bytes:
                    left_out.append(place)
                    continue
                connection.execute(
                    "INSERT INTO events (need, kind, tenant_id, record_id, body) VALUES (?, ?, ?, ?, ?)",
                    (entry.need, entry.kind, entry.tenant_id, entry.record_id, entry.body),
                )
                used += len(entry.body)
            self._count_left_out(connection, len(left_out))
        return left_out

    @staticmethod
    def _count_left_out(connection: sqlite3.Connection, count: int) -> None:
        if count:
            connection.execute(
                "INSERT INTO counts VALUES ('left_out', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (count,),
            )

    @staticmethod
    def _drop_transient_of(connection: sqlite3.Connection, entry: Entry) -> int:
        rows = connection.execute(
            "DELETE FROM events WHERE record_id = ? AND kind = ? AND tenant_id = ? AND need = ? RETURNING length(body)",
            (entry.record_id, entry.kind, entry.tenant_id, TRANSIENT),
        ).fetchall()
        return sum(row[0] for row in rows)

    @classmethod
    def _make_room(cls, connection: sqlite3.Connection, wanted: int) -> int:
        freed = dropped = 0
        for seq, size in connection.execute(
            "SELECT seq, length(body) FROM events WHERE need = ? ORDER BY seq", (TRANSIENT,)
        ).fetchall():
            if freed >= wanted:
                break
            connection.execute("DELETE FROM events WHERE seq = ?", (seq,))
            freed, dropped = freed + size, dropped + 1
        cls._count_left_out(connection, dropped)
        return freed

    @staticmethod
    def _count(connection: sqlite3.Connection, name: str) -> int:
        row = connection.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def first(self, events: int, max_bytes: int) -> list[Spooled]:
        """Returns the events that are next, in order of need and then of age, within both bounds but at least one."""
        chosen: list[Spooled] = []
        size = 0
        with self._transaction() as connection:
            for row in connection.execute(
                "SELECT seq, kind, tenant_id, record_id, body, attempts FROM events WHERE attempts < ? "
                "ORDER BY need, seq LIMIT ?",
                (MAX_ATTEMPTS, events),
            ):
                size += len(row[4])
                if chosen and size > max_bytes:
                    break
                chosen.append(Spooled(*row))
        return chosen

    def remove(self, events: Sequence[Spooled]) -> None:
        """Removes events that the broker has confirmed."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM events WHERE seq = ?", [(event.seq,) for event in events])

    def failed(self, event: Spooled) -> bool:
        """Counts a refusal of this one event; returns whether it is set aside from now on."""
        with self._transaction() as connection:
            connection.execute("UPDATE events SET attempts = attempts + 1 WHERE seq = ?", (event.seq,))
        return event.attempts + 1 >= MAX_ATTEMPTS

    def retry(self) -> int:
        """Puts events that were set aside back in line; returns how many."""
        with self._transaction() as connection:
            done = connection.execute("UPDATE events SET attempts = 0 WHERE attempts >= ?", (MAX_ATTEMPTS,))
            return done.rowcount

    def counts(self) -> dict[str, int]:
        """Returns `events`, `bytes`, `set_aside` and `left_out` (in all)."""
        with self._transaction() as connection:
            aside = connection.execute("SELECT count(*) FROM events WHERE attempts >= ?", (MAX_ATTEMPTS,)).fetchone()
            names = ("events", "bytes", "left_out")
            return {name: self._count(connection, name) for name in names} | {"set_aside": int(aside[0])}

    def exists(self) -> bool:
        """Returns whether there is a file that may hold events. Opens nothing."""
        return self.path.exists()

    @contextlib.contextmanager
    def draining(self) -> Iterator[bool]:
        """Holds the right to drain, which one process has at a time; yields whether it was free. Never waits."""
        try:
            lock = os.open(self.folder / "drain.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
