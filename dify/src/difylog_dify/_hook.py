"""Import hook: provides the promised module names, and runs code after certain modules of Dify are imported.

A `.pth` file imports this module whenever Python starts, in programs that are no Dify as well, and before gevent's
monkey patching. So it imports nothing but what the interpreter itself has loaded already, and it acts only on the exact
module names below. `DIFYLOG_HOOK=off` leaves it out.
"""

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

# Promised module name -> module of this package that defines the promised class.
ALIASES: dict[str, str] = {
    "core.repositories.elasticsearch_workflow_execution_repository": "difylog_dify.repositories.run",
    "core.repositories.elasticsearch_workflow_node_execution_repository": "difylog_dify.repositories.node",
    "repositories.elasticsearch_api_workflow_run_repository": "difylog_dify.repositories.api_run",
    "repositories.elasticsearch_api_workflow_node_execution_repository": "difylog_dify.repositories.api_node",
    "repositories.elasticsearch_workflow_app_log_repository": "difylog_dify.repositories.app_log",
    "extensions.ext_elasticsearch": "difylog_dify.extension",
}

# Module of Dify -> function of difylog_dify.patches that is called with the module once it is imported.
PATCHED: dict[str, str] = {
    "models.workflow": "listen_to_sessions",
    "services.workflow_app_service": "patch_log_page",
    "core.repositories.factory": "patch_core_factory",
    "repositories.factory": "patch_api_factory",
    "extensions.application_services.workflow_writers": "patch_writers",
    "extensions.application_services.workflow_storage": "patch_storage",
    "repositories.workflow.app_log_repository": "patch_log_query",
}


class AliasLoader:
    """Loads a promised module name as a module with the names of the module behind it."""

    def __init__(self, target: str) -> None:
        self.target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002 - the import protocol
        return None

    def exec_module(self, module: ModuleType) -> None:
        from importlib import import_module

        target = import_module(self.target)
        for name in getattr(target, "__all__", ()):
            setattr(module, name, getattr(target, name))
        module.__doc__ = target.__doc__


class PatchingLoader:
    """Loads a module of Dify as its own loader does, and then lets `difylog_dify.patches` look at it."""

    def __init__(self, loader: object, function: str) -> None:
        self._loader = loader
        self._function = function

    def __getattr__(self, name: str) -> object:
        # Resources, source and file names are asked of the loader.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[attr-defined,no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # type: ignore[assignment]
        module.__loader__ = self._loader  # type: ignore[assignment]
        self._loader.exec_module(module)  # type: ignore[attr-defined]
        try:
            from difylog_dify import patches

            getattr(patches, self._function)(module)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the guest, the host starts
            sys.stderr.write(f"difylog-dify: {module.__name__} stays as it is: {type(error).__name__}\n")


class Finder:
    """Finds the names of ALIASES and PATCHED, and nothing else."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname in ALIASES:
            # A Dify that has such a module itself keeps it.
            own = _found_by_others(fullname, path, target)
            return own or ModuleSpec(fullname, AliasLoader(ALIASES[fullname]))  # type: ignore[arg-type]
        function = PATCHED.get(fullname)
        if function is None:
            return None
        spec = _found_by_others(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = PatchingLoader(spec.loader, function)  # type: ignore[assignment]
        return spec


def _found_by_others(fullname: str, path: object, target: object) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = None if finder is Finder else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(fullname, path, target) if find_spec is not None else None
        if spec is not None:
            return spec
    return None


def install() -> None:
    """Puts the finder before all others, once."""
    if os.environ.get("DIFYLOG_HOOK", "").lower() not in ("off", "false", "0") and not installed():
        sys.meta_path.insert(0, Finder)


def uninstall() -> None:
    """Takes the finder away; what is imported stays."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not Finder]


def installed() -> bool:
    """Returns whether the finder is in place."""
    return any(finder is Finder for finder in sys.meta_path)


install()
