"""Patches: known signatures only, everything undone, and a Dify without class paths."""

from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import configs
import core.repositories.factory as factory_module
import pytest
import services.workflow_app_service as service_module

from conftest import APP
from difylog_dify import patches

pytestmark = pytest.mark.usefixtures("patched")
API = {"api_url": "http://127.0.0.1:1", "api_key": "k"}


@pytest.fixture
def without_class_paths() -> Iterator[None]:
    saved = dict(vars(configs.dify_config))
    for name in configs.PATHS:
        delattr(configs.dify_config, name)
    yield
    vars(configs.dify_config).update(saved)


def module_with(**names: Any) -> ModuleType:
    found = ModuleType("stand_in")
    vars(found).update(names)
    return found


def test_the_log_page_is_patched_and_put_back(configure: Callable[..., Any]) -> None:
    configure(**API)
    service = service_module.WorkflowAppService
    original = service.get_paginate_workflow_app_logs
    patches.patch_log_page(service_module)
    assert service.get_paginate_workflow_app_logs.__wrapped__ is original
    assert patches.outcomes == {"log page": "difylog"}
    patches.undo()
    assert service.get_paginate_workflow_app_logs is original


@pytest.mark.parametrize(
    "service",
    [
        None,
        type("S", (), {}),
        type("S", (), {"get_paginate_workflow_app_logs": lambda self, *, session, app_model, new_filter=None: None}),
    ],
)
def test_an_unknown_log_page_is_left_alone(
    configure: Callable[..., Any], service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configure(**API)
    before = dict(vars(service)) if service else {}
    patches.patch_log_page(module_with(WorkflowAppService=service))
    assert patches.outcomes["log page"].startswith("left alone")
    assert "Dify is left alone" in caplog.text
    assert (dict(vars(service)) if service else {}) == before


def test_models_of_another_kind_are_left_alone(configure: Callable[..., Any]) -> None:
    configure(amqp_url="amqp://h")
    patches.listen_to_sessions(module_with(WorkflowAppLog=object))
    assert patches.outcomes["app logs"].startswith("left alone")


def test_factories_that_take_class_paths_are_not_patched(configure: Callable[..., Any]) -> None:
    configure(enabled="true")
    before = dict(vars(factory_module.DifyCoreRepositoryFactory))
    patches.patch_core_factory(factory_module)
    assert dict(vars(factory_module.DifyCoreRepositoryFactory)) == before
    assert all("class path" in outcome for outcome in patches.outcomes.values())


@pytest.mark.usefixtures("without_class_paths")
def test_factories_without_class_paths_are_patched_if_asked_and_put_back(
    configure: Callable[..., Any], sessions: Any, account: Any
) -> None:
    factory = factory_module.DifyCoreRepositoryFactory
    arguments = {"session_factory": sessions, "user": account, "app_id": APP, "triggered_from": "app-run"}
    configure()
    patches.patch_core_factory(factory_module)
    assert type(factory.create_workflow_execution_repository(**arguments)).__name__.startswith("SQLAlchemy")
    configure(enabled="true")
    patches.patch_core_factory(factory_module)
    assert patches.outcomes["create_workflow_execution_repository"] == "patched"
    made = factory.create_workflow_execution_repository(**arguments)
    assert type(made).__name__ == "ElasticsearchWorkflowExecutionRepository"
    made = factory.create_workflow_node_execution_repository(sessions, account, APP, "workflow-run")
    assert type(made).__name__ == "ElasticsearchWorkflowNodeExecutionRepository"
    patches.undo()
    assert type(factory.create_workflow_execution_repository(**arguments)).__name__.startswith("SQLAlchemy")


class Unknown:
    @classmethod
    def create_workflow_execution_repository(cls, session_factory: Any, context: Any) -> str:
        return "Dify's own"


class Later:
    """As the newest versions have it: a tenant and an upload function more."""

    @classmethod
    def create_workflow_execution_repository(
        cls, session_factory: Any, tenant_id: str, user: Any, app_id: str, triggered_from: Any
    ) -> str:
        return "Dify's own"

    @staticmethod
    def create_workflow_node_execution_repository(
        session_factory: Any, tenant_id: str, user: Any, app_id: str, triggered_from: Any, *, upload_file: Any
    ) -> str:
        return "Dify's own"


@pytest.mark.usefixtures("without_class_paths")
@pytest.mark.parametrize("factory", [None, SimpleNamespace(), Unknown])
def test_unknown_factories_are_left_alone(configure: Callable[..., Any], factory: Any) -> None:
    configure(enabled="true")
    patches.patch_core_factory(module_with(DifyCoreRepositoryFactory=factory))
    assert all(outcome.startswith("left alone") for outcome in patches.outcomes.values())
    if factory is Unknown:
        assert Unknown.create_workflow_execution_repository(1, 2) == "Dify's own"


@pytest.mark.usefixtures("without_class_paths")
def test_later_factories_are_known(configure: Callable[..., Any], sessions: Any, account: Any) -> None:
    configure(enabled="true")
    patches.patch_core_factory(module_with(DifyCoreRepositoryFactory=Later))
    arguments = {"session_factory": sessions, "tenant_id": "t", "user": account, "app_id": APP}
    made = Later.create_workflow_node_execution_repository(**arguments, triggered_from="single-step", upload_file=print)
    assert type(made).__name__ == "ElasticsearchWorkflowNodeExecutionRepository"


@pytest.mark.usefixtures("without_class_paths")
def test_a_repository_that_cannot_be_made_is_dify_s_own(
    configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    configure(enabled="true")
    monkeypatch.setitem(sys.modules, "difylog_dify.repositories.run", None)
    patches.patch_core_factory(module_with(DifyCoreRepositoryFactory=Later))
    assert Later.create_workflow_execution_repository(1, "t", 2, APP, "app-run") == "Dify's own"


def test_the_extension_patches_what_was_imported_before_the_hook(configure: Callable[..., Any]) -> None:
    from extensions.ext_elasticsearch import init_app, is_enabled

    configure(**API)
    app = SimpleNamespace(extensions={})
    assert is_enabled()
    init_app(app)
    assert patches.outcomes["log page"] == "difylog"
    assert app.extensions["difylog"].api_url == API["api_url"]
