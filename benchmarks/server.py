"""The server under load: its throughput, its answers to a crowd, and whether anything breaks it.

    python benchmarks/server.py

Starts `semblante serve` in a process of its own and talks to it over a socket. `throughput`: 1, 4
and 16 clients at once send the same picture again and again, compared with analysing it in this
process. `crowd`: 200 clients at once send ten pictures each; which statuses do they get, and are
the results correct? `malformed`: 10,000 requests (truncated, of another type, decompression bombs,
random bytes, broken HTTP). `large`: a request that announces 2 GB, and one that sends them without
announcing it. Memory is the server's resident set size. Writes results/server.json.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from PIL import Image
from serving import serving

from semblante import Analyzer
from semblante.files import write_json

ROOT = Path(__file__).resolve().parents[1]
PICTURE = (ROOT / "examples" / "eileen-collins.jpg").read_bytes()
PORT = 8792
MALFORMED = 10_000
GB = 1_000_000_000


def main() -> None:
    results: dict[str, Any] = {"machine": describe("onnxruntime", "fastapi", "uvicorn")}
    with serving(PORT) as process:
        for name, measure in (
            ("throughput", throughput),
            ("crowd", crowd),
            ("malformed", malformed),
            ("large", large),
        ):
            before = resident_mb(process.pid)
            found = asyncio.run(measure(process.pid))
            found["resident_mb"] = {"before": before, "after": resident_mb(process.pid)}
            assert process.poll() is None, "the server is gone"
            results[name] = found
            print(name, json.dumps(found), flush=True)
    started = time.perf_counter()
    with serving(PORT):
        results["seconds_to_serve_again"] = time.perf_counter() - started
    print("serves again after", round(results["seconds_to_serve_again"], 2), "s")
    write_json(Path(__file__).parent / "results" / "server.json", results)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


# -- one request -----------------------------------------------------------------------------------


async def ask(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """POST /v1/analyze; return the status (0 if the connection ended without one) and the body."""
    about = {"Host": f"127.0.0.1:{PORT}", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in about.items())
    request = f"POST /v1/analyze HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body
    return await send(request)


async def send(request: bytes, *, broken_off: bool = False) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        writer.write(request)
        await writer.drain()
        if broken_off:
            writer.write_eof()
        async with asyncio.timeout(90):
            answer = await reader.read()
    except (ConnectionError, TimeoutError):
        answer = b""
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), rest


# -- what is measured ------------------------------------------------------------------------------


async def throughput(pid: int) -> dict[str, Any]:
    seconds = 6.0
    rates = {}
    for clients in (1, 4, 16):
        answered, delays = 0, []
        end = time.perf_counter() + seconds

        async def client(end: float = end) -> int:
            n = 0
            while time.perf_counter() < end:
                started = time.perf_counter()
                status, _ = await ask(PICTURE)
                delays.append(time.perf_counter() - started)  # noqa: B023
                assert status == 200, status
                n += 1
            return n

        started = time.perf_counter()
        answered = sum(await asyncio.gather(*(client() for _ in range(clients))))
        rates[f"{clients} clients"] = {
            "pictures_per_second": answered / (time.perf_counter() - started),
            "median_ms": 1000 * statistics.median(delays),
        }
    analyzer = Analyzer()
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        analyzer.analyze(PICTURE)
        n += 1
    return {**rates, "in_process_pictures_per_second": n / (time.perf_counter() - started)}


async def crowd(pid: int) -> dict[str, Any]:
    [expected] = Analyzer().analyze(PICTURE)
    wanted = json.loads(json.dumps(expected.to_dict()))
    answers: Counter[str] = Counter()
    most = 0.0

    async def client() -> None:
        nonlocal most
        for _ in range(10):
            status, body = await ask(PICTURE)
            if status == 200:
                [found] = json.loads(body)["results"]
                right = found["faces"] == [wanted]
                answers["200, right" if right else "200, wrong"] += 1
            else:
                answers[str(status)] += 1
                await asyncio.sleep(random.random())
            most = max(most, resident_mb(pid))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(200)))
    return {
        "clients": 200, "answers": dict(sorted(answers.items())),
        "seconds": time.perf_counter() - started, "most_resident_mb": most,
    }  # fmt: skip


def bodies(rng: random.Random) -> Iterator[bytes | tuple[bytes, dict[str, str]]]:
    """Endless malformed requests, each as bytes of the whole request or as a body with headers."""
    bomb = png_bomb()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        + PICTURE[:3000]
        + b"\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    small = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(small, "PNG")
    while True:
        yield PICTURE[: rng.randrange(len(PICTURE))], {}
        yield rng.randbytes(rng.randrange(3000)), {}
        yield PICTURE[:4] + rng.randbytes(rng.randrange(3000)), {}
        yield small.getvalue()[:16] + rng.randbytes(60), {}
        damaged = bytearray(PICTURE[:8000])
        for _ in range(10):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        yield bytes(damaged), {}
        yield bomb, {}
        yield form[: rng.randrange(len(form))], kind
        yield form.replace(b"\r\n", b"\n"), kind
        yield rng.randbytes(500), {"Content-Type": rng.choice(["image/png", "text/plain", "x", ""])}
        yield form, {"Content-Type": "multipart/form-data"}
        yield b"%PDF-1.4 " + rng.randbytes(200), {"Content-Type": "image/jpeg"}
        yield b"POST /v1/analyze HTTP/1.1\r\nHost: 127.0.0.1:8792\r\nContent-Length: 99\r\n\r\nabc"
        yield b"POST /v1/analyze HTTP/1.1\r\n" + rng.randbytes(60) + b"\r\n\r\n"
        yield b"GET " + rng.randbytes(40) + b" HTTP/1.1\r\nHost: 127.0.0.1:8792\r\n\r\n"


def png_bomb() -> bytes:
    """A PNG of a few kilobytes whose header claims 60,000 pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = (60_000).to_bytes(4, "big")
    pixels = zlib.compress(bytes(1_000_000), 9)
    head = chunk(b"IHDR", side + side + b"\x08\x00\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def malformed(pid: int) -> dict[str, Any]:
    answers: Counter[str] = Counter()
    made = bodies(random.Random(2013))
    resident: list[float] = []

    async def client(n: int) -> None:
        for _ in range(n):
            what = next(made)
            status, _ = await (
                send(what, broken_off=True) if isinstance(what, bytes) else ask(*what)
            )
            answers[str(status)] += 1
            resident.append(resident_mb(pid))

    started = time.perf_counter()
    # So few clients at once that none is refused because the server is busy.
    await asyncio.gather(*(client(MALFORMED // 8) for _ in range(8)))
    tenth = len(resident) // 10
    return {
        "bodies": MALFORMED,
        "answers": dict(sorted(answers.items())),
        "server_errors": sum(n for status, n in answers.items() if status.startswith("5")),
        "seconds": time.perf_counter() - started,
        "median_resident_mb_of_each_tenth": [
            round(statistics.median(resident[i * tenth : (i + 1) * tenth])) for i in range(10)
        ],
    }


async def large(pid: int) -> dict[str, Any]:
    """Send a request that announces 2 GB, and one in chunks that sends 2 GB unannounced."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n"
    writer.write(f"{head}Content-Length: {2 * GB}\r\n\r\n".encode())
    announced = await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    piece = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    sent, most = 0, 0.0
    try:
        while sent < 2 * GB:
            writer.write(piece)
            await writer.drain()
            sent += 0x100000
            most = max(most, resident_mb(pid))
        chunked = await asyncio.wait_for(reader.readline(), 10)
    except (ConnectionError, TimeoutError):
        try:
            chunked = await asyncio.wait_for(reader.readline(), 10)
        except (ConnectionError, TimeoutError):
            chunked = b"connection closed"
    writer.close()
    return {
        "announced": announced.decode().strip(),
        "sent_in_chunks": chunked.decode().strip(),
        "taken_before_the_refusal_mb": sent / 1e6,
        "most_resident_mb": most,
    }


if __name__ == "__main__":
    main()
