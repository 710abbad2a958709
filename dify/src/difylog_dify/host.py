"""What the package needs to know of the Dify around it, found when it is needed: names moved between versions."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

from difylog_dify.client import DifylogUnavailable, Refused
from difylog_dify.settings import current

Result = TypeVar("Result")

# Set while a repository of this package writes a row itself, so that the session events do not publish it again.
writing: ContextVar[bool] = ContextVar("difylog_writing", default=False)


def base_class(*candidates: str) -> Any:
    """Returns the first of the classes, `module:name`, that this version of Dify has; they moved between versions.

    Raises ImportError if it has none of them.
    """
    for candidate in candidates:
        module, _, name = candidate.partition(":")
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            # A module that is there and cannot be imported is Dify's own fault, and is told.
            if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
                raise
        except AttributeError:
            continue
    raise ImportError(f"this version of Dify has no {candidates[0].partition(':')[2]}")


def accepted(function: Callable[..., Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords that `function` takes: factories of other versions pass more or fewer."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(keywords)
    known = {parameter.name for parameter in parameters}
    return {name: value for name, value in keywords.items() if name in known}


def answer(ask: Callable[[], Result], sql: Callable[[], Result]) -> Result:
    """Returns what difylog or PostgreSQL answers, whichever is asked by DIFYLOG_READS."""
    settings = current()
    if not settings.asks_difylog:
        return sql()
    try:
        return ask()
    except (DifylogUnavailable, Refused):
        if settings.falls_back:
            return sql()
        raise


def known(ask: Callable[[], Result | None], sql: Callable[[], Result | None]) -> Result | None:
    """Returns one record by its id: difylog's, or PostgreSQL's where difylog has none (yet)."""
    return answer(lambda: _or_else(ask(), sql), sql)


def _or_else(found: Result | None, other: Callable[[], Result | None]) -> Result | None:
    return found if found is not None else other()
