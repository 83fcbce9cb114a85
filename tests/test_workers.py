"""Who has a worker when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

pytest.importorskip("fastapi")
from semblante.server.work import Workers


class Watched:
    """Works that note when they begin, and end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._ends: dict[str, threading.Event] = {}

    def work(self, name: str) -> Callable[[threading.Event], str]:
        self._ends[name] = threading.Event()

        def work(_: threading.Event) -> str:
            self.begun.append(name)
            assert self._ends[name].wait(60)
            return name

        return work

    def works(self, name: str, n: int) -> list[Callable[[threading.Event], str]]:
        return [self.work(f"{name}{number}") for number in range(n)]

    async def until(self, *names: str) -> None:
        """They, and no others, have begun since this was last asked."""
        async with asyncio.timeout(60):
            while len(self.begun) < len(names):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # in which no other begins
        assert sorted(self.begun) == sorted(names)
        self.begun.clear()

    def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()


def test_a_form_takes_the_workers_that_are_free_and_gives_them_to_who_comes() -> None:
    async def scene() -> None:
        workers, watched = Workers(2, 16, 60.0), Watched()
        form = asyncio.create_task(workers.run_each(watched.works("form", 5)))
        await watched.until("form0", "form1")
        other = asyncio.create_task(workers.run_each(watched.works("other", 2)))
        frame = asyncio.create_task(workers.run(watched.work("frame")))
        await asyncio.sleep(0)
        watched.end("form0")
        await watched.until("other0")  # which waited before the frame
        watched.end("form1")
        await watched.until("frame")  # before the form's next
        watched.end("frame")
        assert await frame == "frame"
        await watched.until("form2")
        watched.end("other0")
        await watched.until("other1")
        watched.end("other1")
        assert await other == {0: "other0", 1: "other1"}
        watched.end("form2")
        await watched.until("form3", "form4")
        watched.end("form4", "form3")
        assert await form == {number: f"form{number}" for number in range(5)}
        assert (workers.under_way, workers.is_busy) == (0, False)
        workers.close()

    asyncio.run(scene())


def test_what_waits_is_dropped_and_what_runs_keeps_its_worker() -> None:
    async def scene() -> None:
        workers, watched = Workers(1, 1, 60.0), Watched()
        first = asyncio.create_task(workers.run_each(watched.works("first", 2)))
        await watched.until("first0")
        second = asyncio.create_task(workers.run(watched.work("second")))
        await asyncio.sleep(0)
        assert workers.under_way == 2
        for left in (first, second):
            left.cancel()
        await asyncio.wait([first, second])
        assert (workers.under_way, workers.is_busy) == (0, True)
        third = asyncio.create_task(workers.run(watched.work("third")))
        await watched.until()
        watched.end("first0")
        await watched.until("third")
        watched.end("third")
        assert await third == "third"
        workers.close()

    asyncio.run(scene())
