"""The live stream: frames in, faces out. Frames that come too fast are dropped, not queued."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from semblante.errors import ImageError
from semblante.images import load_image
from semblante.recognise.following import FaceFollower
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.tracks import Tracker
from semblante.server.settings import PROTOCOL, Settings
from semblante.server.work import DisconnectedError, Workers, unless

# A stream whose client sends nothing for so long is closed.
_SILENCE_S: Final = 30.0
# New faces are searched for in frames of this size, in pixels: people in front of a camera are
# large enough for that, and the search stays short.
_SEARCH_SIDE: Final = 320


class _NotAFrameError(Exception):
    """Something other than a frame was received; `code` (RFC 6455, section 7.4.1) ends the
    stream."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def accept(websocket: WebSocket) -> None:
    """Accept a connection, with our subprotocol if the client offers it, as the page does."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(PROTOCOL if PROTOCOL in offered else None)


async def stream(
    websocket: WebSocket,
    analyzer: Analyzer,
    workers: Workers,
    settings: Settings,
    count_answered: Callable[[bool], None],
) -> None:
    """Serve one client until it disconnects; `count_answered` is called after each answer with
    whether the frame was analysed.

    Each binary message is a picture. Each answer is a JSON object: `frame` (the message's number,
    from 0), `dropped` (frames skipped since the last answer), `time_s` since the connection was
    made, `width`, `height`, `faces` as elsewhere in the API, `error` if the picture could not be
    read or the server was too busy.
    """
    await accept(websocket)
    follower = FaceFollower(
        analyzer.detector, analyzer.classifier, Tracker(),
        look_every_s=0.1, search_every_s=0.4, search_side=_SEARCH_SIDE,
    )  # fmt: skip
    latest: asyncio.Queue[tuple[int, bytes] | Exception] = asyncio.Queue(1)
    reader = asyncio.create_task(_read(websocket, latest, settings.max_frame))
    last, started = -1, time.monotonic()
    turn = threading.Lock()  # `follower` takes one frame at a time
    try:
        while True:
            async with asyncio.timeout(_SILENCE_S):  # since the last answer: clients wait for it
                came = await latest.get()
            if isinstance(came, Exception):
                raise came
            number, data = came
            time_s = time.monotonic() - started
            try:
                work = partial(_analyzed, data, follower, turn, time_s, settings)
                found = await unless(reader, workers.run(work))
            except DisconnectedError:  # or it has sent something else: the reason comes next
                continue
            except HTTPException as error:  # too busy; the next frame may be analysed
                found = _failed(error.detail)
            await websocket.send_json(
                {"frame": number, "dropped": number - last - 1, "time_s": round(time_s, 3), **found}
            )
            last = number
            count_answered(found["error"] is None)
    except WebSocketDisconnect:
        pass
    except TimeoutError:
        await websocket.close(1001, f"no frame in {_SILENCE_S:g} s")  # 1000 would mean a normal end
    except _NotAFrameError as error:
        await websocket.close(error.code, str(error))
    finally:
        reader.cancel()


async def _read(
    websocket: WebSocket, latest: asyncio.Queue[tuple[int, bytes] | Exception], limit: int
) -> None:
    """Put each frame into `latest`, in place of one that was not taken yet; at the end, the
    error."""
    came: tuple[int, bytes] | Exception
    for number in itertools.count():
        try:
            came = number, await _frame(websocket, limit)
        except Exception as end:
            came = end
        if latest.full():
            latest.get_nowait()
        latest.put_nowait(came)
        if isinstance(came, Exception):
            return


async def _frame(websocket: WebSocket, limit: int) -> bytes:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    data: bytes | None = message.get("bytes")
    if data is None:
        raise _NotAFrameError(1003, "expected pictures as binary messages")
    if len(data) > limit:
        raise _NotAFrameError(1009, f"a frame of more than {limit} bytes")
    return data


def _analyzed(
    data: bytes,
    follower: FaceFollower,
    turn: threading.Lock,
    time_s: float,
    settings: Settings,
    given_up: threading.Event,
) -> dict[str, Any]:
    """Return what was found in one frame, as fields of an answer."""
    try:
        image = load_image(data, max_pixels=settings.max_pixels)
    except ImageError as error:
        return _failed(str(error))
    if not turn.acquire(blocking=False):
        return _failed("busy with an earlier frame")
    try:
        if given_up.is_set():  # a later frame may have been followed, and time never goes back
            return _failed("given up")
        faces = [face.to_dict() for face in follower.faces(image, time_s)]
    finally:
        turn.release()
    height, width = image.shape[:2]
    return {"width": width, "height": height, "faces": faces, "error": None}


def _failed(error: str) -> dict[str, Any]:
    return {"width": None, "height": None, "faces": [], "error": error}
