"""A fixed number of workers, and a short queue before them."""

from __future__ import annotations

import asyncio
import threading
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
        self._under_way: set[threading.Event] = set()

    @property
    def under_way(self) -> int:
        """Pieces of work that run or wait, whether or not somebody still waits for them."""
        return len(self._under_way)

    async def run(self, work: Callable[[threading.Event], _Result]) -> _Result:
        """The result of `work`; raises 503 where too many wait, 504 where it takes too long.

        A thread cannot be stopped. So `work` is given an event, which is set when nobody waits for
        its result any more, and looks at it wherever it can end early.
        """
        if self.under_way >= self._most:
            raise HTTPException(503, "busy: come back in a moment", {"Retry-After": "1"})
        given_up = threading.Event()
        self._under_way.add(given_up)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="semblante")

        def done(future: asyncio.Future[_Result]) -> None:
            self._under_way.discard(given_up)
            if not future.cancelled():
                future.exception()  # it was seen, or nobody waits for it any more

        future = asyncio.get_running_loop().run_in_executor(self._pool, work, given_up)
        # It counts until it is done, whoever still waits for it.
        future.add_done_callback(done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._answer_s)
        except TimeoutError:
            raise HTTPException(504, f"no answer in {self._answer_s:g} s") from None
        finally:
            given_up.set()

    def close(self) -> None:
        """What is under way ends at the next place where it can; what waits is given up."""
        for given_up in self._under_way:
            given_up.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
