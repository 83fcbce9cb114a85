"""Gives work to a pool of threads, even while Python is shutting down."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def submitted(
    pool: ThreadPoolExecutor, work: Callable[..., _Result], *arguments: Any
) -> Future[_Result]:
    """As `pool.submit`; if the pool takes no more work, do it here, before returning. No pool does
    once the main thread has ended, while a service's other threads may still have pictures."""
    try:
        return pool.submit(work, *arguments)
    except RuntimeError:
        future: Future[_Result] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future
