"""`flask elasticsearch`: which arguments and variables the program gets."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import STANDIN, TENANT
from difylog_dify import binary

PROGRAM = """#!/bin/sh
printf '%s\\n' "$@"
env | grep -E '^(PG_|AMQP_|DIFYLOG__|ELASTICSEARCH_)' | sort
exit 7
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "difylog"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


def flask(program: Path, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("DIFYLOG", "ELASTIC", "DB_", "PG"))
    }
    env |= {"DIFYLOG_BINARY": str(program), "PYTHONPATH": str(STANDIN), "FLASK_APP": "nothing"} | variables
    command = [sys.executable, "-m", "flask", "elasticsearch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_migrate_takes_every_option_and_gives_the_program_s_exit_code(program: Path) -> None:
    code, lines, _ = flask(
        program, "migrate", "--dry-run", "--tenant-id", TENANT, "--start-date", "2025-01-01", "--to",
        "2025-02-01T12:00:00", "--kind", "runs", "--data-type", "node_executions", "--batch-size", "500", "--json",
    )  # fmt: skip
    assert code == 7
    assert lines[:12] == [
        "migrate", "--tenant-id", TENANT, "--from", "2025-01-01T00:00:00", "--to", "2025-02-01T12:00:00", "--kind",
        "nodes,runs", "--json", "--dry-run", "--batch-size",
    ]  # fmt: skip


def test_cleanup_deletes_only_when_told(program: Path) -> None:
    _, lines, _ = flask(program, "cleanup-pg", "--before", "2025-12-01")
    assert "--execute" not in lines
    _, lines, _ = flask(program, "cleanup-pg", "--before", "2025-12-01", "--dry-run")
    assert "--execute" not in lines
    _, lines, _ = flask(program, "cleanup-pg", "--before", "2025-12-01", "--execute")
    assert "--execute" in lines


def test_validate_and_status(program: Path) -> None:
    _, lines, _ = flask(program, "validate", "--sample", "1000")
    assert lines[:5] == ["validate", "--report", "difylog-validation.json", "--sample", "1000"]
    assert flask(program, "status", "--json")[1][:2] == ["status", "--json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate", "--tenant-id", "x; rm -rf /"),
        ("migrate", "--from", "yesterday"),
        ("migrate", "--from", "2025-01-01T00:00:00+08:00"),
        ("migrate", "--kind", "users"),
        ("migrate", "--batch-size", "0"),
        ("cleanup-pg",),
    ],
)
def test_wrong_arguments_do_not_reach_the_program(program: Path, arguments: tuple[str, ...]) -> None:
    code, lines, error = flask(program, *arguments)
    assert code == 2
    assert lines == []
    assert "Usage" in error


def test_the_program_gets_dify_s_database_storage_and_search_engine(tmp_path: Path) -> None:
    given = {
        "ELASTICSEARCH_HOSTS": '["http://h:9200"]', "DIFYLOG_AMQP_URL": "amqp://b", "OPENDAL_FS_ROOT": str(tmp_path),
    }  # fmt: skip
    config = SimpleNamespace(
        DB_USERNAME="po/st", DB_PASSWORD="p@ss", DB_HOST="db", DB_PORT=5433, DB_DATABASE="dify", STORAGE_TYPE="opendal"
    )
    found = binary.environment(given, config)
    assert found["PG_URL"] == "postgres://po%2Fst@db:5433/dify"
    assert found["PG_PASSWORD"] == "p@ss"
    assert found["DIFYLOG__STORE__KIND"] == "elastic"
    assert found["DIFYLOG__MIGRATE__DIFY_STORAGE_DIR"] == str(tmp_path)
    assert found["AMQP_URL"] == "amqp://b"


def test_what_difylog_is_told_itself_stays() -> None:
    config = SimpleNamespace(DB_HOST="db", STORAGE_TYPE="s3", S3_BUCKET_NAME="b")
    given = {"PG_URL": "postgres://other", "DIFYLOG__MIGRATE__DIFY_S3__BUCKET": "mine", "AMQP_URL": "amqp://mine"}
    own = {"DIFYLOG_AMQP_URL": "amqp://b", "DIFYLOG_AMQP_VERIFY": "false", "DIFYLOG_AMQP_CA_FILE": "/ca.pem"}
    of_program = {"DIFYLOG__AMQP__VERIFY": "false", "DIFYLOG__AMQP__CA_FILE": "/ca.pem"}
    assert binary.environment(given | own, config) == given | of_program
    of_s3 = binary.environment({}, config)
    assert of_s3["DIFYLOG__MIGRATE__DIFY_S3__BUCKET"] == "b"
    assert "PG_URL" not in binary.environment({}, SimpleNamespace(DB_TYPE="mysql", DB_HOST="db"))


def test_without_the_program_it_says_what_to_install(tmp_path: Path) -> None:
    code, _, error = flask(tmp_path / "absent", "status")
    assert code == 127
    assert "install its wheel" in error


def test_doctor_says_what_it_found(program: Path, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(STANDIN), "DIFYLOG_AMQP_URL": "amqp://u:hunter2@127.0.0.1:1/",
        "DIFYLOG_SPOOL_DIR": str(tmp_path / "spool"), "DIFYLOG_API_URL": "http://127.0.0.1:1",
        "DIFYLOG_API_KEY": "hunter2", "DIFYLOG_BINARY": str(program), "HOME": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, "-m", "difylog_dify.doctor", "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 1, done.stderr
    found: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout):
        found.setdefault(finding["what"], []).append(finding["state"])
    assert found["import hook"] == found["program"] == found["CORE_WORKFLOW_EXECUTION_REPOSITORY"] == ["ok"]
    # The stand-in's version is none that can be compared.
    assert found["dify"] == ["note"]
    assert found["API_WORKFLOW_RUN_REPOSITORY"] == found["log page"] == found["app logs"] == ["ok"]
    assert found["broker"] == found["api"] == ["FAULT"]
    text = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240).stdout
    assert "check DIFYLOG_AMQP_URL" in text
    assert "hunter2" not in text + done.stdout + done.stderr
