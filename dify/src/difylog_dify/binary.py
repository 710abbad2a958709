"""Runs the `difylog` program with what the Dify around it knows: database, file storage, search engine, broker."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from difylog_dify.settings import variables


def find() -> str | None:
    """Returns the path of the program: DIFYLOG_BINARY, beside this Python, or on PATH."""
    if given := variables().get("DIFYLOG_BINARY"):
        return given if os.access(given, os.X_OK) else None
    beside = Path(sys.executable).parent / "difylog"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("difylog")


def environment(given: Mapping[str, str], config: Any = None) -> dict[str, str]:
    """Returns the variables for the program: those of `given`, and what `config`, Dify's settings, adds.

    A variable of difylog that is set already stays.
    """
    # The package's own variables mean nothing to the program, and some are spelled like keys of it.
    foreign = [
        name for name in given if name.startswith("DIFYLOG_") and not name.startswith(("DIFYLOG__", "DIFYLOG_CONFIG"))
    ]
    env = {name: value for name, value in given.items() if name not in foreign}
    if given.get("DIFYLOG_AMQP_URL"):
        env.setdefault("AMQP_URL", given["DIFYLOG_AMQP_URL"])
    if given.get("DIFYLOG_AMQP_URL_FILE"):
        env.setdefault("AMQP_URL_FILE", given["DIFYLOG_AMQP_URL_FILE"])
    for name in ("CA_FILE", "VERIFY"):
        if given.get(f"DIFYLOG_AMQP_{name}"):
            env.setdefault(f"DIFYLOG__AMQP__{name}", given[f"DIFYLOG_AMQP_{name}"])
    # Both at once are a contradiction that stops the program.
    if env.get("AMQP_URL") and env.get("AMQP_URL_FILE"):
        del env["AMQP_URL_FILE"]
    if given.get("ELASTICSEARCH_HOSTS") and given.get("ELASTICSEARCH_ENABLED", "true").lower() not in ("false", "0"):
        env.setdefault("DIFYLOG__STORE__KIND", "elastic")
    if not any(env.get(name) for name in ("PG_URL", "PG_URL_FILE", "DIFYLOG__POSTGRES__URL")):
        _add_database(env, given, config)
    _add_storage(env, given, config)
    return env


def _value(name: str, given: Mapping[str, str], config: Any, default: str = "") -> str:
    value = getattr(config, name, None) if config is not None else None
    return str(value) if value not in (None, "") else given.get(name, default)


def _add_database(env: dict[str, str], given: Mapping[str, str], config: Any) -> None:
    if _value("DB_TYPE", given, config, "postgresql") != "postgresql":
        return
    user, host = _value("DB_USERNAME", given, config, "postgres"), _value("DB_HOST", given, config)
    if not host:
        return
    port, name = _value("DB_PORT", given, config, "5432"), _value("DB_DATABASE", given, config, "dify")
    env["PG_URL"] = f"postgres://{quote(user, safe='')}@{host}:{port}/{quote(name, safe='')}"
    if password := _value("DB_PASSWORD", given, config):
        env.setdefault("PG_PASSWORD", password)


def _add_storage(env: dict[str, str], given: Mapping[str, str], config: Any) -> None:
    if any(name.startswith("DIFYLOG__MIGRATE__DIFY_") for name in env):
        return
    kind = _value("STORAGE_TYPE", given, config)
    if kind in ("local", "opendal") and given.get("OPENDAL_SCHEME", "fs") == "fs":
        root = given.get("OPENDAL_FS_ROOT") or _value("STORAGE_LOCAL_PATH", given, config, "storage")
        if os.path.isdir(root):
            env["DIFYLOG__MIGRATE__DIFY_STORAGE_DIR"] = os.path.abspath(root)
    elif kind == "s3" and (bucket := _value("S3_BUCKET_NAME", given, config)):
        section = "DIFYLOG__MIGRATE__DIFY_S3__"
        env[f"{section}BUCKET"] = bucket
        for key, name in (
            ("REGION", "S3_REGION"), ("ENDPOINT", "S3_ENDPOINT"),
            ("ACCESS_KEY_ID", "S3_ACCESS_KEY"), ("SECRET_ACCESS_KEY", "S3_SECRET_KEY"),
        ):  # fmt: skip
            if value := _value(name, given, config):
                env[section + key] = value


def dify_config() -> Any:
    """Returns Dify's settings, or None outside a Dify."""
    try:
        from configs import dify_config as config
    except ImportError:
        return None
    return config


def execute(arguments: Sequence[str]) -> NoReturn:
    """Becomes the program, so that signals and the exit code are its own. Exits with 127 if there is none."""
    path = find()
    if path is None:
        sys.stderr.write("no program `difylog`: install its wheel (dify/README.md, Install), or set DIFYLOG_BINARY\n")
        sys.exit(127)
    sys.stdout.flush()
    os.execve(path, [path, *arguments], environment(variables(), dify_config()))  # noqa: S606 - a program, no shell
