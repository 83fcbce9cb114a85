"""A fixed number of workers, and a short queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.exceptions import HTTPException

_Result = TypeVar("_Result")


class Workers:
    """Runs what takes long on threads. Whoever would have to wait too long is told so at once."""

    def __init__(self, workers: int, max_waiting: int, answer_s: float) -> None:
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None  # made when there is something to do
        self._most = workers + max_waiting
        self._answer_s = answer_s
        self.under_way = 0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """The result of `work`; raises 503 where too many wait, 504 where it takes too long."""
        if self.under_way >= self._most:
            raise HTTPException(503, "busy: come back in a moment", {"Retry-After": "1"})
        self.under_way += 1
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="semblante")
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # A thread cannot be stopped: it counts until it is done, whoever still waits for it.
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._answer_s)
        except TimeoutError:
            raise HTTPException(504, f"no answer in {self._answer_s:g} s") from None

    def close(self) -> None:
        """Lets what is under way end; what waits is given up."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _done(self, future: asyncio.Future[_Result]) -> None:
        self.under_way -= 1
        if not future.cancelled():
            future.exception()  # it was seen, or nobody waits for it any more
