"""Work for a pool of threads, also when Python is about to end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def submitted(
    pool: ThreadPoolExecutor, work: Callable[..., _Result], *arguments: Any
) -> Future[_Result]:
    """As `pool.submit`. Once the main thread has ended pools take no more, while a service's other
    threads may still have pictures to look at: then it is done here, before this returns."""
    try:
        return pool.submit(work, *arguments)
    except RuntimeError:
        future: Future[_Result] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future
