"""The import hook: the promised names, and programs that are no Dify."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import STANDIN
from difylog_dify import _hook

PROMISED = [
    ("core.repositories.elasticsearch_workflow_execution_repository", "ElasticsearchWorkflowExecutionRepository"),
    (
        "core.repositories.elasticsearch_workflow_node_execution_repository",
        "ElasticsearchWorkflowNodeExecutionRepository",
    ),
    ("repositories.elasticsearch_api_workflow_run_repository", "ElasticsearchAPIWorkflowRunRepository"),
    ("repositories.elasticsearch_workflow_app_log_repository", "ElasticsearchWorkflowAppLogRepository"),
    ("extensions.ext_elasticsearch", "init_app"),
]


def python(code: str, *folders: Path, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DIFYLOG", "ELASTICSEARCH"))}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, folders))} | variables
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("module", "name"), PROMISED)
def test_the_promised_names_can_be_imported(module: str, name: str) -> None:
    python(f"from importlib import import_module; getattr(import_module('{module}'), '{name}')", STANDIN)


def test_python_starts_with_nothing_more_than_the_hook() -> None:
    code = "import sys; print(sorted(m for m in sys.modules if m.startswith(('difylog', 'threading', 'ssl', 'kombu'))))"
    assert "['difylog_dify', 'difylog_dify._hook']" in python(code)


def test_it_can_be_left_out() -> None:
    assert "False" in python("from difylog_dify import _hook; print(_hook.installed())", DIFYLOG_HOOK="off")


def test_a_module_of_dify_with_a_promised_name_stays_dify_s(tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions/__init__.py").touch()
    (tmp_path / "extensions/ext_elasticsearch.py").write_text("own = True\n")
    assert "True" in python("import extensions.ext_elasticsearch as e; print(e.own)", tmp_path)


def test_other_modules_of_the_same_packages_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/__init__.py").touch()
    (tmp_path / "services/workflow_app_service.py").write_text("class Unrelated: pass\n")
    code = (
        "import services.workflow_app_service as s; print(s.Unrelated, type(s.__loader__).__name__, s.__spec__.origin)"
    )
    found = python(code, tmp_path)
    assert "Unrelated" in found
    assert "SourceFileLoader" in found
    assert "log page: Dify is left alone" in found


def test_a_fault_of_the_package_does_not_stop_dify(tmp_path: Path) -> None:
    code = (
        "import difylog_dify.patches as p; p.patch_log_page = None; import services.workflow_app_service as s; "
        "print(s.WorkflowAppService)"
    )
    found = python(code, STANDIN)
    assert "WorkflowAppService" in found
    assert "stays as it is" in found


def test_without_a_pth_the_repositories_bring_the_patches_along() -> None:
    code = (
        "import services.workflow_app_service as s, models.workflow; from difylog_dify import patches; "
        "print(patches.outcomes); import difylog_dify.repositories.run; print(patches.outcomes)"
    )
    api = {"DIFYLOG_API_URL": "http://127.0.0.1:1", "DIFYLOG_API_KEY": "k", "DIFYLOG_AMQP_URL": "amqp://127.0.0.1:1"}
    before, after = python(code, STANDIN, DIFYLOG_HOOK="off", **api).splitlines()
    assert before == "{}"
    assert "'log page': 'difylog'" in after
    assert "published after" in after


def test_it_is_undone() -> None:
    _hook.uninstall()
    try:
        assert not _hook.installed()
    finally:
        _hook.install()
    assert _hook.installed()
