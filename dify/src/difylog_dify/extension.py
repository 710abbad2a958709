"""`extensions.ext_elasticsearch`: for a Dify whose list of extensions names it. Without it the import hook suffices."""

from typing import Any

from difylog_dify import patches
from difylog_dify.settings import current

__all__ = ["init_app", "is_enabled"]


def is_enabled() -> bool:
    """Returns whether the package is enabled."""
    return current().enabled


def init_app(app: Any) -> None:
    """Patches the modules that were imported before the hook was there, and notes the settings with the app."""
    patches.patch_imported()
    app.extensions["difylog"] = current()
