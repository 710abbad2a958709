"""`difylog-dify doctor`: what the package finds in the Dify around it, which settings are in force, what to do."""

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from difylog_dify import __version__, _hook, binary, settings

OK, NOTE, FAULT = "ok", "note", "FAULT"
# The oldest version whose repositories are known.
OLDEST = (1, 10)
# A tenant that nobody has.
NOBODY = "00000000-0000-0000-0000-000000000000"
CLASS_PATHS = {
    "CORE_WORKFLOW_EXECUTION_REPOSITORY": (
        "core.repositories.elasticsearch_workflow_execution_repository.ElasticsearchWorkflowExecutionRepository"
    ),
    "CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        "core.repositories.elasticsearch_workflow_node_execution_repository."
        "ElasticsearchWorkflowNodeExecutionRepository"
    ),
    "API_WORKFLOW_RUN_REPOSITORY": (
        "repositories.elasticsearch_api_workflow_run_repository.ElasticsearchAPIWorkflowRunRepository"
    ),
    "API_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        "repositories.elasticsearch_api_workflow_node_execution_repository."
        "ElasticsearchAPIWorkflowNodeExecutionRepository"
    ),
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    what: str
    state: str
    text: str


def _hook_finding() -> Iterator[Finding]:
    if _hook.installed() and _hook.Finder in sys.meta_path:
        yield Finding("import hook", OK, f"difylog-dify {__version__}")
    else:
        yield Finding(
            "import hook", FAULT, "not there: install the package into Dify's environment (a .pth installs it)"
        )


def _settings_finding() -> Iterator[Finding]:
    found = settings.current()
    if found.problem:
        yield Finding("settings", FAULT, f"{found.problem}; the package stays out until that is mended")
    elif not found.enabled:
        yield Finding("settings", NOTE, "disabled by DIFYLOG_ENABLED or ELASTICSEARCH_ENABLED")
    else:
        yield Finding("settings", OK, f"mode {found.mode}, reads {found.reads}, deletes {found.deletes}")
        if not found.amqp_url:
            yield Finding(
                "settings", FAULT, "DIFYLOG_AMQP_URL is not set: nothing is published, PostgreSQL is complete"
            )
        if found.primary and not found.asks_difylog:
            yield Finding("settings", FAULT, "mode primary without reads: set DIFYLOG_API_URL and DIFYLOG_API_KEY")


def _dify_finding() -> Iterator[Finding]:
    config = binary.dify_config()
    if config is None:
        yield Finding("dify", FAULT, "not found: run this in the folder of Dify's API, /app/api in its image")
        return
    version = getattr(getattr(config, "project", None), "version", None) or getattr(
        config, "CURRENT_VERSION", "unknown"
    )
    yield _version_finding(str(version))
    for name, promised in CLASS_PATHS.items():
        value = getattr(config, name, None)
        if value is None:
            yield Finding(name, NOTE, "this version takes no class paths: its factories are patched, see below")
            continue
        module, _, cls = str(value).rpartition(".")
        ours = module in _hook.ALIASES or module.startswith("difylog_dify.")
        if not ours:
            yield Finding(name, NOTE, f"is Dify's own; set it to {promised}")
            continue
        try:
            found = getattr(importlib.import_module(module), cls)
        except Exception as error:  # noqa: BLE001 - whatever Dify raises is told
            yield Finding(name, FAULT, f"{value} cannot be loaded: {type(error).__name__}: {error}")
        else:
            yield from _class_finding(name, found)


def _version_finding(version: str) -> Finding:
    parts = re.match(r"([0-9]+)\.([0-9]+)", version)
    if parts is None:
        return Finding("dify", NOTE, f"version {version}, which is none that can be compared: look at every line below")
    if (int(parts[1]), int(parts[2])) < OLDEST:
        known = ".".join(map(str, OLDEST))
        return Finding(
            "dify", FAULT, f"version {version}: only {known} and later are known; upgrade Dify, or use Celery"
        )
    return Finding("dify", OK, f"version {version}")


def _class_finding(name: str, found: Any) -> Iterator[Finding]:
    base = next((cls for cls in found.__mro__[1:] if "SQLAlchemy" in cls.__name__), None)
    if base is None:
        yield Finding(name, FAULT, "the module is Dify's own, not this package's")
    elif name.startswith("CORE_") and not hasattr(base, "_to_db_model"):
        yield Finding(name, FAULT, f"{base.__name__} of this version is not known: saves go to PostgreSQL only")
    else:
        yield Finding(name, OK, f"over {base.__name__}")


def _patches_finding() -> Iterator[Finding]:
    from difylog_dify import patches

    for module in _hook.PATCHED:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            # Some are of other versions.
            if not error.name or not (module == error.name or module.startswith(f"{error.name}.")):
                yield Finding(module, NOTE, f"cannot be imported here: there is no module {error.name}")
        except Exception as error:  # noqa: BLE001 - see above
            yield Finding(module, NOTE, f"cannot be imported here: {type(error).__name__}")
    for what, outcome in patches.outcomes.items():
        yield Finding(what, FAULT if outcome.startswith("left alone") else OK, outcome)


def _broker_finding() -> Iterator[Finding]:
    found = settings.current()
    if not found.publishes:
        return
    from difylog_dify.broker import Publisher

    publisher = Publisher(found)
    try:
        channel = publisher._open()
        channel.exchange_declare(found.amqp_exchange, "topic", passive=True)
    except Exception as error:  # noqa: BLE001 - see Publisher.publish
        code: Any = getattr(error, "reply_code", "")
        advice = {
            403: "check user and password in DIFYLOG_AMQP_URL, and the user's rights",
            404: "start `difylog worker` or run `difylog setup` once",
            530: "check the virtual host in DIFYLOG_AMQP_URL, and the user's rights",
        }.get(code, "check DIFYLOG_AMQP_URL, and DIFYLOG_AMQP_CA_FILE for amqps; is the broker running?")
        yield Finding("broker", FAULT, f"{publisher.address}: {type(error).__name__} {code}; {advice}")
    else:
        yield Finding("broker", OK, f"{publisher.address}, exchange {found.amqp_exchange}")
    finally:
        publisher.close(politely=True)


def _api_finding() -> Iterator[Finding]:
    found = settings.current()
    if not found.enabled or not found.api_url:
        return
    from difylog_dify.client import Client, DifylogUnavailable, Forbidden, Refused

    client = Client(found)
    try:
        client.get(f"/v1/admin/runs/{NOBODY}")
        # Absent is the right answer above, and the wrong one here.
        if client.get(f"/v1/tenants/{NOBODY}/runs", {"limit": 1}) is None:
            yield Finding("api", FAULT, "DIFYLOG_API_URL: no API below this path; give what comes before /v1")
            return
        yield Finding("api", OK, "answers, and the key reaches every tenant")
        yield from _deletes_finding(client)
    except Forbidden as error:
        yield Finding("api", FAULT, f"{error.reason}; the key must be an admin's to serve every workspace")
    except (DifylogUnavailable, Refused) as error:
        reason = error.reason if isinstance(error, DifylogUnavailable) else str(error)
        yield Finding("api", FAULT, f"DIFYLOG_API_URL: {reason}")
    finally:
        client.close()


def _deletes_finding(client: Any) -> Iterator[Finding]:
    from difylog_dify.client import Forbidden

    if settings.current().deletes != "both":
        return
    try:
        client.post(f"/v1/tenants/{NOBODY}/deletions", {"run_ids": [], "dry_run": True})
    except Forbidden:
        yield Finding(
            "api", FAULT, "the key may not delete: runs that Dify deletes would stay; give it the right `delete`, "
            "or set DIFYLOG_DELETES=postgres",
        )  # fmt: skip


def _spool_finding() -> Iterator[Finding]:
    found = settings.current()
    if not found.publishes:
        return
    if not found.spool_bytes:
        yield Finding(
            "spool", NOTE, "none (DIFYLOG_SPOOL_BYTES is 0): what a broker outage outlasts is lost to difylog"
        )
        return
    from difylog_dify.spool import Spool, SpoolError

    spool = Spool(found.spool_dir, found.spool_bytes)
    try:
        counts = spool.counts()
    except SpoolError as error:
        yield Finding("spool", FAULT, str(error))
        return
    finally:
        spool.close()
    text = ", ".join(f"{value} {name}" for name, value in counts.items())
    yield Finding("spool", FAULT if counts["left_out"] or counts["set_aside"] else OK, f"{found.spool_dir}: {text}")
    if found.spool_dir.startswith("/var/tmp"):  # noqa: S108 - the default
        yield Finding("spool", NOTE, "goes with the container; set DIFYLOG_SPOOL_DIR to a folder of a local volume")


def _binary_finding() -> Iterator[Finding]:
    path = binary.find()
    text = path or "not found; only `flask elasticsearch` needs it: install its wheel (dify/README.md, Install)"
    yield Finding("program", OK if path else NOTE, text)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _hook_finding, _settings_finding, _dify_finding, _patches_finding, _broker_finding, _api_finding, _spool_finding,
    _binary_finding,
)  # fmt: skip


def _retry_spool() -> int:
    from difylog_dify.spool import Spool, SpoolError

    found = settings.current()
    try:
        count = Spool(found.spool_dir, found.spool_bytes).retry()
    except SpoolError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{count} events will be tried again\n")
    return 0


def examine() -> list[Finding]:
    """Returns every finding. Publishes nothing, changes nothing but the spool's folder, which it creates."""
    return [finding for check in CHECKS for finding in check()]


def main(arguments: list[str] | None = None) -> int:
    """Prints the findings; returns 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="difylog-dify")
    commands = {
        "doctor": "say what was found, and what to do",
        "retry-spool": "try events again that the broker refused for good, after its limits were raised",
    }
    parser.add_argument("command", choices=list(commands), help="; ".join(f"{k}: {v}" for k, v in commands.items()))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.command == "retry-spool":
        return _retry_spool()
    # The script lies beside Python; Dify's modules lie in the folder of its API.
    for folder in (os.getcwd(), "/app/api"):
        if Path(folder, "app_factory.py").exists() and folder not in sys.path:
            sys.path.insert(0, folder)
    findings = examine()
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            sys.stdout.write(f"{finding.state:5} {finding.what:{width}}  {finding.text}\n")
    return int(any(finding.state == FAULT for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
