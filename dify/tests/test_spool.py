"""The spool: order, bounds, what survives a kill, and folders and files that cannot be trusted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import wait_for
from difylog_dify.spool import MAX_ATTEMPTS, Entry, Spool, SpoolError


def entry(record_id: str, need: int = 0, body: bytes = b"{}", kind: str = "workflow_run") -> Entry:
    return Entry(need, kind, "t", record_id, body)


def spool(folder: Path, size: int = 1 << 20) -> Spool:
    return Spool(folder / "spool", size)


def ids(found: Spool) -> list[str]:
    return [event.record_id for event in found.first(1000, 1 << 30)]


def test_events_come_in_order_of_need_and_then_of_age(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.put([entry("c", 2), entry("b1", 1), entry("a1", 0)])
    found.put([entry("b2", 1), entry("a2", 0)])
    assert ids(found) == ["a1", "a2", "b1", "b2", "c"]


def test_an_ended_snapshot_takes_the_place_of_what_went_before(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.put([entry("a", 2), entry("b", 2), entry("a", 0)])
    assert ids(found) == ["a", "b"]
    # The same id of another kind or tenant is another record.
    found.put([entry("b", 0, kind="node_execution"), Entry(0, "workflow_run", "other", "b", b"{}")])
    assert len(ids(found)) == 4


def test_the_bound_leaves_transient_snapshots_out_first(tmp_path: Path) -> None:
    found = spool(tmp_path, 40)
    assert found.put([entry("r1", 2, b"x" * 20), entry("r2", 2, b"x" * 20)]) == []
    assert found.put([entry("r3", 2, b"x" * 20)]) == [0]
    assert found.put([entry("e", 0, b"x" * 20)]) == []
    assert ids(found) == ["e", "r2"]
    assert found.put([entry("big", 0, b"x" * 41), entry("f", 0, b"x" * 20)]) == [0]
    assert ids(found) == ["e", "f"]
    assert found.counts() == {"events": 2, "bytes": 40, "left_out": 4, "set_aside": 0}


def test_a_page_is_bounded_by_bytes_and_has_at_least_one(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.put([entry(str(number), body=b"x" * 100) for number in range(5)])
    assert len(found.first(10, 250)) == 2
    assert len(found.first(10, 1)) == 1


def test_an_event_that_is_refused_again_and_again_is_set_aside(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.put([entry("bad"), entry("good")])
    for number in range(1, MAX_ATTEMPTS + 1):
        bad = found.first(1, 1 << 20)[0]
        assert bad.record_id == "bad"
        assert found.failed(bad) == (number == MAX_ATTEMPTS)
    assert ids(found) == ["good"]
    assert found.counts()["set_aside"] == 1
    assert found.retry() == 1
    assert ids(found) == ["bad", "good"]


WRITER = """
import sys, time
from difylog_dify.spool import Entry, Spool
spool = Spool(sys.argv[1], 1 << 30)
for number in range(1000000):
    spool.put([Entry(0, "workflow_run", "t", f"{number:07}", b"x" * 2000)])
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
"""


def test_what_was_put_is_there_after_sigkill(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = -1
    for line in writer.stdout:
        told = int(line)
        if told >= 300:
            break
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read()
    writer.wait()
    whole_lines = [line for line in rest.split("\n")[:-1] if line]
    told = int(whole_lines[-1]) if whole_lines else told
    kept = [event.record_id for event in Spool(folder, 1 << 30).first(10**6, 1 << 40)]
    assert kept[: told + 1] == [f"{number:07}" for number in range(told + 1)]


def test_two_processes_share_one_spool(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    code = WRITER.replace("1000000", "100").replace("{number:07}", "{sys.argv[2]}-{number}")
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name], stdout=subprocess.DEVNULL) for name in "ab"
    ]
    assert [writer.wait(240) for writer in writers] == [0, 0]
    assert len(ids(Spool(folder, 1 << 30))) == 200


def test_one_process_drains_at_a_time(tmp_path: Path) -> None:
    first, second = spool(tmp_path), spool(tmp_path)
    first.put([entry("a")])
    with first.draining() as ours:
        assert ours
        with second.draining() as theirs:
            assert not theirs
    with second.draining() as theirs:
        assert theirs


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(mode)
    with pytest.raises(SpoolError, match="nobody else may write"):
        spool(tmp_path).put([entry("a")])


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError):
        spool(tmp_path).put([entry("a")])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.put([entry("a")])
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "spool").iterdir()}
    assert modes
    assert set(modes.values()) == {0}


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o700)
    (tmp_path / "spool/events.db").write_bytes(b"no database at all" * 100)
    found = spool(tmp_path)
    with pytest.raises(SpoolError):
        found.put([entry("a")])
    found.put([entry("b")])
    assert ids(found) == ["b"]
    assert wait_for(lambda: list((tmp_path / "spool").glob("events.damaged-*")))
