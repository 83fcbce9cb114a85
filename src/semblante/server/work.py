"""A fixed number of worker threads, for which all requests wait in turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

_Result = TypeVar("_Result")


class Workers:
    """Runs long work on threads. A request is refused at once if too many wait already."""

    def __init__(self, workers: int, max_waiting: int, answer_s: float) -> None:
        self._workers = workers
        self._free = asyncio.Semaphore(workers)  # first come, first served
        self._pool: ThreadPoolExecutor | None = None  # created for the first work
        self._max_under_way = workers + max_waiting
        self._answer_s = answer_s
        self._asked: set[threading.Event] = set()
        self._at_work = 0

    @property
    def under_way(self) -> int:
        """The number of requests that somebody waits for."""
        return len(self._asked)

    @property
    def is_busy(self) -> bool:
        """Whether a thread is working, even if nobody waits for its result any more."""
        return self._at_work > 0

    async def run(self, work: Callable[[threading.Event], _Result]) -> _Result:
        """Return the result of a single `work`, see `run_each`."""
        return (await self.run_each([work]))[0]

    async def run_each(
        self, works: Sequence[Callable[[threading.Event], _Result]]
    ) -> dict[int, _Result]:
        """Return the results by number, of all `works`, or of those done when time is up.

        Normally one of the works runs, or waits for its turn among those of other requests; further
        ones run beside it only while a worker is free. Raises 503 if too many requests wait, 504 if
        no work is done in time. When time is up or this call is cancelled, the remaining works are
        not begun. A thread cannot be stopped, so each work is given an event, which is set then,
        and should check it wherever it can end early.
        """
        if self.under_way >= self._max_under_way:
            raise HTTPException(
                503, "the server is busy: try again in a moment", {"Retry-After": "1"}
            )
        given_up = threading.Event()
        self._asked.add(given_up)
        found: dict[int, _Result] = {}
        running: dict[asyncio.Future[_Result], int] = {}

        async def collect() -> None:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                found[running.pop(future)] = future.result()

        try:
            async with asyncio.timeout(self._answer_s):
                for number, work in enumerate(works):
                    while running and self._free.locked():
                        await collect()
                    await self._free.acquire()
                    running[self._begin(work, given_up)] = number
                while running:
                    await collect()
        except TimeoutError:
            if not found:
                raise HTTPException(504, f"no answer in {self._answer_s:g} s") from None
        finally:
            given_up.set()
            self._asked.discard(given_up)
        return found

    def _begin(
        self, work: Callable[[threading.Event], _Result], given_up: threading.Event
    ) -> asyncio.Future[_Result]:
        """Run `work` on a free worker, and free the worker when it is done, even if nobody
        waits."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="semblante")

        def done(future: asyncio.Future[_Result]) -> None:
            self._at_work -= 1
            self._free.release()
            if not future.cancelled():
                future.exception()  # mark it as retrieved: nobody may wait for the result any more

        future = asyncio.get_running_loop().run_in_executor(self._pool, work, given_up)
        self._at_work += 1
        future.add_done_callback(done)
        return future

    def close(self) -> None:
        """Tell running works to end as soon as they can, and cancel those that wait."""
        for given_up in self._asked:
            given_up.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class DisconnectedError(Exception):
    """The client has left before its answer, or has made it pointless."""


async def unless(disconnecting: asyncio.Task[Any], work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of `work`. If `disconnecting` is done first, `work` is cancelled, and this
    raises `DisconnectedError`."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise DisconnectedError
        return working.result()
    finally:
        working.cancel()


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of `work`. If the client disconnects first, `work` is cancelled, and this
    raises 400.

    The body of `request` must have been read.
    """
    disconnecting = asyncio.create_task(_disconnected(request))
    try:
        return await unless(disconnecting, work)
    except DisconnectedError:
        raise HTTPException(400, "the connection was closed before the answer") from None
    finally:
        disconnecting.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
