"""What is changed in Dify's modules when they are imported, and only where they are known.

Each function looks at names and signatures first. What is not as expected stays as it is, the log says so, and
`difylog-dify doctor` lists it. `undo` puts everything back.
"""

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from difylog_dify import _hook
from difylog_dify.settings import current

logger = logging.getLogger(__name__)

# What was done with each module, for `doctor`.
outcomes: dict[str, str] = {}
_undo: list[Callable[[], None]] = []

LOG_PAGE = {
    "self", "session", "app_model", "keyword", "status", "created_at_before", "created_at_after", "page", "limit",
    "detail", "created_by_end_user_session_id", "created_by_account",
}  # fmt: skip

LOG_QUERY = LOG_PAGE - {"session", "app_model"} | {"tenant_id", "app_id"}

# Class in a module of the newest versions, the function that makes it, its parameters, and the subclass of it.
_OF_RUN = {"session_factory", "tenant_id", "user", "app_id", "triggered_from"}
WRITERS: tuple[Any, ...] = (
    (
        "SQLAlchemyWorkflowExecutionRepository", "create_workflow_execution_repository", _OF_RUN,
        "run.ElasticsearchWorkflowExecutionRepository",
    ),
    (
        "SQLAlchemyWorkflowNodeExecutionRepository", "create_workflow_node_execution_repository", _OF_RUN,
        "node.ElasticsearchWorkflowNodeExecutionRepository",
    ),
)  # fmt: skip
STORAGE: tuple[Any, ...] = (
    (
        "DifyAPISQLAlchemyWorkflowRunRepository", "create_api_workflow_run_repository", {"session_maker"},
        "api_run.ElasticsearchAPIWorkflowRunRepository",
    ),
    (
        "DifyAPISQLAlchemyWorkflowNodeExecutionRepository", "create_api_workflow_node_execution_repository",
        {"session_maker"}, "api_node.ElasticsearchAPIWorkflowNodeExecutionRepository",
    ),
)  # fmt: skip

# Method of the factory, the parameters of every known version, those of some, the setting that takes a class path, and
# the class that takes its place.
CORE_FACTORY: tuple[Any, ...] = (
    (
        "create_workflow_execution_repository", {"session_factory", "user", "app_id", "triggered_from"}, {"tenant_id"},
        "CORE_WORKFLOW_EXECUTION_REPOSITORY", "run.ElasticsearchWorkflowExecutionRepository",
    ),
    (
        "create_workflow_node_execution_repository", {"session_factory", "user", "app_id", "triggered_from"},
        {"tenant_id", "upload_file"}, "CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY",
        "node.ElasticsearchWorkflowNodeExecutionRepository",
    ),
)  # fmt: skip
API_FACTORY: tuple[Any, ...] = (
    (
        "create_api_workflow_run_repository", {"session_maker"}, set(), "API_WORKFLOW_RUN_REPOSITORY",
        "api_run.ElasticsearchAPIWorkflowRunRepository",
    ),
    (
        "create_api_workflow_node_execution_repository", {"session_maker"}, set(),
        "API_WORKFLOW_NODE_EXECUTION_REPOSITORY", "api_node.ElasticsearchAPIWorkflowNodeExecutionRepository",
    ),
)  # fmt: skip


def patch_imported() -> None:
    """Looks at modules that were imported before the import hook was there, unless it has looked at any."""
    if outcomes:
        return
    for name, function in _hook.PATCHED.items():
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            globals()[function](module)


def listen_to_sessions(module: ModuleType) -> None:
    """Publishes committed app logs and offloads; called with `models.workflow`."""
    names = ("WorkflowAppLog", "WorkflowNodeExecutionOffload", "WorkflowRun")
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        _stay_out("app logs", f"models.workflow has no {missing[0]}")
        return
    if not current().publishes:
        outcomes["app logs"] = "not published: no DIFYLOG_AMQP_URL, or disabled"
        return
    from difylog_dify.sessions import Listener

    listener = Listener(module)
    listener.start()
    _undo.append(listener.stop)
    outcomes["app logs"] = "published after Dify's commit"


def patch_log_page(module: ModuleType) -> None:
    """Answers the log page by difylog; called with `services.workflow_app_service`."""
    service = getattr(module, "WorkflowAppService", None)
    original = getattr(service, "get_paginate_workflow_app_logs", None)
    if service is None or original is None:
        _stay_out("log page", "services.workflow_app_service is not as in a known version")
        return
    if set(inspect.signature(original).parameters) != LOG_PAGE:
        _stay_out("log page", "get_paginate_workflow_app_logs has another signature than in known versions")
        return
    if not current().asks_difylog:
        outcomes["log page"] = "PostgreSQL, by DIFYLOG_READS"
        return

    @functools.wraps(original)
    def paginate(self: Any, **arguments: Any) -> Any:
        from difylog_dify import log_page

        return log_page.paginate(functools.partial(original, self), self, **arguments)

    _replace(service, "get_paginate_workflow_app_logs", paginate)
    outcomes["log page"] = "difylog"


def patch_core_factory(module: ModuleType) -> None:
    """Takes the place of the closed set of storages in versions without class paths."""
    _patch_factory(getattr(module, "DifyCoreRepositoryFactory", None), CORE_FACTORY)


def patch_api_factory(module: ModuleType) -> None:
    """As `patch_core_factory`, for the service layer."""
    _patch_factory(getattr(module, "DifyAPIRepositoryFactory", None), API_FACTORY)


def _patch_factory(factory: Any, methods: tuple[Any, ...]) -> None:
    for name, always, sometimes, setting, class_path in methods:
        config = _dify_config()
        if hasattr(config, setting):
            outcomes[name] = f"Dify's own, by the class path in {setting}"
            continue
        if not current().explicit:
            outcomes[name] = "Dify's own; set DIFYLOG_ENABLED=true to have it patched"
            continue
        original = factory.__dict__.get(name) if factory is not None else None
        if not isinstance(original, (classmethod, staticmethod)):
            _stay_out(name, "the factory has no such method")
            continue
        parameters = set(inspect.signature(getattr(factory, name)).parameters)
        if not always <= parameters <= always | sometimes:
            _stay_out(name, "the factory's method has another signature than in known versions")
            continue
        _replace(factory, name, _creator(getattr(factory, name), class_path))
        outcomes[name] = "patched"


def patch_writers(module: ModuleType) -> None:
    """Versions that choose among closed storages: the relational one becomes this package's subclass of it."""
    _patch_classes(module, WRITERS)


def patch_storage(module: ModuleType) -> None:
    """As `patch_writers`, for the service layer."""
    _patch_classes(module, STORAGE)


def _patch_classes(module: ModuleType, classes: tuple[Any, ...]) -> None:
    for name, function, parameters, class_path in classes:
        if not current().explicit:
            outcomes[name] = "Dify's own; set DIFYLOG_ENABLED=true to have it patched"
            continue
        create, own = getattr(module, function, None), getattr(module, name, None)
        if not inspect.isfunction(create) or not isinstance(own, type):
            _stay_out(name, f"{module.__name__} is not as in a known version")
            continue
        if set(inspect.signature(create).parameters) != parameters:
            _stay_out(name, f"{function} has another signature than in known versions")
            continue
        found = _repository(class_path)
        if found is None or not issubclass(found, own):
            _stay_out(name, "it is not the class that this package extends")
            continue
        _replace(module, name, found)
        outcomes[name] = "patched"


def _repository(class_path: str) -> Any:
    from importlib import import_module

    module, _, name = class_path.partition(".")
    try:
        return getattr(import_module(f"difylog_dify.repositories.{module}"), name)
    except Exception:
        logger.exception("%s cannot be made: Dify's own repository is used", name)
        return None


def patch_log_query(module: ModuleType) -> None:
    """Answers the log page by difylog in the newest versions, whose query returns values."""
    repository = getattr(module, "WorkflowAppLogRepository", None)
    original = getattr(repository, "get_paginated", None)
    values = ("Page", "Item", "RunSummary", "Account", "EndUser")
    if original is None or not all(hasattr(module, f"WorkflowAppLog{value}") for value in values):
        _stay_out("log page", f"{module.__name__} is not as in a known version")
        return
    if set(inspect.signature(original).parameters) != LOG_QUERY:
        _stay_out("log page", "get_paginated has another signature than in known versions")
        return
    if not current().asks_difylog:
        outcomes["log page"] = "PostgreSQL, by DIFYLOG_READS"
        return

    @functools.wraps(original)
    def get_paginated(self: Any, **arguments: Any) -> Any:
        from difylog_dify import log_query

        return log_query.paginate(module, self, functools.partial(original, self), arguments)

    _replace(repository, "get_paginated", get_paginated)
    outcomes["log page"] = "difylog"


def _creator(original: Callable[..., Any], class_path: str) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        repository = _repository(class_path)
        return original(*args, **kwargs) if repository is None else repository(**arguments)

    return staticmethod(create)


def _dify_config() -> Any:
    from configs import dify_config

    return dify_config


def _replace(owner: Any, name: str, new: Any) -> None:
    original = owner.__dict__[name]
    setattr(owner, name, new)
    _undo.append(lambda: setattr(owner, name, original))


def _stay_out(what: str, why: str) -> None:
    outcomes[what] = f"left alone: {why}"
    logger.warning("%s: Dify is left alone: %s", what, why)


def undo() -> None:
    """Puts back everything that was changed in this process."""
    while _undo:
        _undo.pop()()
    outcomes.clear()
