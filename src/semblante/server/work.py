"""A fixed number of workers, for which all requests wait in turn."""

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
    """Runs what takes long on threads. Whoever would have to wait too long is told so at once."""

    def __init__(self, workers: int, max_waiting: int, answer_s: float) -> None:
        self._workers = workers
        self._free = asyncio.Semaphore(workers)  # who has waited longest is next
        self._pool: ThreadPoolExecutor | None = None  # made when there is something to do
        self._most = workers + max_waiting
        self._answer_s = answer_s
        self._asked: set[threading.Event] = set()
        self._at_work = 0

    @property
    def under_way(self) -> int:
        """Requests that somebody waits for."""
        return len(self._asked)

    @property
    def is_busy(self) -> bool:
        """Does a thread run, whether or not somebody still waits for it?"""
        return self._at_work > 0

    async def run(self, work: Callable[[threading.Event], _Result]) -> _Result:
        """The result of `work`, as from `run_each`."""
        return (await self.run_each([work]))[0]

    async def run_each(
        self, works: Sequence[Callable[[threading.Event], _Result]]
    ) -> dict[int, _Result]:
        """The results by number, of all `works` or of those that are done when time is up.

        One at a time waits for its turn among those of other requests; the next begins beside it
        only where a worker has nothing else to do. Raises 503 where too many wait, 504 where none
        is done in time. What nobody waits for any more, since time is up or this is cancelled, is
        not begun. A thread cannot be stopped: so each work is given an event, which is set then,
        and looks at it wherever it can end early.
        """
        if self.under_way >= self._most:
            raise HTTPException(503, "busy: come back in a moment", {"Retry-After": "1"})
        given_up = threading.Event()
        self._asked.add(given_up)
        found: dict[int, _Result] = {}
        running: dict[asyncio.Future[_Result], int] = {}
        begun = 0
        try:
            async with asyncio.timeout(self._answer_s):
                while len(found) < len(works):
                    if begun < len(works) and not (running and self._free.locked()):
                        await self._free.acquire()
                        running[self._begin(works[begun], given_up)] = begun
                        begun += 1
                        continue
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for future in done:
                        found[running.pop(future)] = future.result()
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
        """On a worker that is free, and is so again when the work is done, whoever waits for it."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="semblante")

        def done(future: asyncio.Future[_Result]) -> None:
            self._at_work -= 1
            self._free.release()
            if not future.cancelled():
                future.exception()  # it was seen, or nobody waits for it any more

        future = asyncio.get_running_loop().run_in_executor(self._pool, work, given_up)
        self._at_work += 1
        future.add_done_callback(done)
        return future

    def close(self) -> None:
        """What is under way ends at the next place where it can; what waits is given up."""
        for given_up in self._asked:
            given_up.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of `work`, which is cancelled, with 400, where the client leaves before.

    The body of `request` must have been read.
    """
    working, disconnecting = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(400, "the request was broken off")
        return working.result()
    finally:
        working.cancel()
        disconnecting.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
