"""Calls that wait in C, such as a commit of SQLite's, made in the system's threads where gevent has patched threads.

Under gevent all of Dify's requests share one thread. A call that waits in C holds up every one of them, however short
it is when the disk is idle: a commit that comes upon a checkpoint waits for the disk.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _patched(module: str) -> Any:
    """Returns gevent's record of what it has patched, or None where it has not patched `module`."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey is not None and monkey.is_module_patched(module) else None


def call(function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Returns what `function` returns, or raises what it raises; other greenlets go on meanwhile.

    Without gevent it is called right here: other threads go on by themselves.
    """
    if _patched("threading") is None:
        return function(*args, **kwargs)
    from gevent import get_hub

    result: Result = get_hub().threadpool.apply(function, args, kwargs)
    return result


def sleep(seconds: float) -> None:
    """Sleeps in the system's thread that it is called in; gevent's own sleep is for the thread of its greenlets."""
    monkey = _patched("time")
    pause = time.sleep if monkey is None else monkey.get_original("time", "sleep")
    pause(seconds)
