"""`semblante serve` as a user starts it: the address it prints, and addresses it cannot use."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from browser import answers
from conftest import EXAMPLE, wait_until
from program import PROGRAM, semblante
from semblante.cli.serve import outside_host

pytest.importorskip("fastapi")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another socket listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@contextmanager
def server(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port that it chooses, and the first line that it prints."""
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with server(PROGRAM, "serve", *getattr(request, "param", ())) as started:
        yield started


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "--port {port} is in use on 127.0.0.1"),
        ("nowhere.invalid", "--host nowhere.invalid: this is no address of a machine"),
        ("192.0.2.1", "--host 192.0.2.1 is not an address of this machine"),
    ],
)
def test_addresses_it_cannot_have(host: str, expected: str, taken: int) -> None:
    done = semblante("serve", "--host", host, "--port", taken)
    assert done.returncode == 2, done.stderr
    assert expected.format(port=taken) in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("given", ["option", "variable"])
def test_an_empty_token_is_refused(given: str, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if given == "variable":
        monkeypatch.setenv("SEMBLANTE_TOKEN", "")
    token = ("--token", "") if given == "option" else ()
    done = semblante("serve", "--port", taken, *token)
    assert done.returncode == 2, done.stdout
    assert "an empty token lets everybody in" in done.stderr
    assert done.stdout == ""


def test_a_free_port_is_said_and_ctrl_c_ends_it(
    started: tuple[subprocess.Popen[str], str],
) -> None:
    process, said = started
    found = re.fullmatch(r"semblante: (http://127\.0\.0\.1:([1-9]\d*)/)\n", said)
    assert found, said
    with urllib.request.urlopen(found[1] + "healthz", timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGINT, 130)
    assert complaints == ""


def hears_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as asking:
        asking.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize(
    ("started", "own"),
    [
        (("--host", "0.0.0.0", "--token", "abc"), "127.0.0.1"),
        pytest.param(
            ("--host", "::", "--token", "abc"),
            "localhost",
            marks=pytest.mark.skipif(not hears_ipv6(), reason="this machine has no IPv6"),
        ),
    ],
    indirect=["started"],
)
def test_what_listens_everywhere_says_where_it_is_found(
    started: tuple[subprocess.Popen[str], str], own: str
) -> None:
    """On a page at 0.0.0.0 browsers allow no camera, and other machines cannot open that
    address."""
    process, said = started
    found = re.fullmatch(rf"semblante: (http://{own}:(\d+)/)#token=abc\n", said)
    assert found, said
    with urllib.request.urlopen(found[1] + "healthz", timeout=60) as answer:
        assert answer.status == 200
    assert process.stdout is not None
    others = re.fullmatch(
        rf"semblante: from other machines: http://(.+):{found[2]}/#token=abc\n",
        process.stdout.readline(),
    )
    assert others
    assert others[1] not in ("0.0.0.0", "[::]", own)


@pytest.mark.parametrize("started", [("--host", "0.0.0.0")], indirect=True)
def test_whom_other_machines_can_reach_asks_for_a_token_of_its_own(
    started: tuple[subprocess.Popen[str], str],
) -> None:
    process, said = started
    found = re.fullmatch(r"semblante: (http://127\.0\.0\.1:\d+/)#token=([\w-]{32})\n", said)
    assert found, said
    address, token = found.groups()
    assert process.stdout is not None
    assert process.stdout.readline().endswith(f"/#token={token}\n")  # for other machines
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}v1/models", timeout=60)
    assert refused.value.code == 401
    refused.value.close()
    allowed = urllib.request.Request(
        f"{address}v1/models", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(allowed, timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=60)
    assert complaints.startswith("semblante: other machines can reach 0.0.0.0: they need the token")


def test_a_token_of_the_environment_is_not_printed_and_requests_are_if_asked_for() -> None:
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--access-log"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "SEMBLANTE_TOKEN": "abc"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.fullmatch(
            r"semblante: (http://127\.0\.0\.1:\d+/)#token=\$SEMBLANTE_TOKEN\n", said
        )
        assert address, said
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(address[1] + "v1/models", timeout=60)
        process.send_signal(signal.SIGTERM)
        out, complaints = process.communicate(timeout=30)
    assert '"GET /v1/models HTTP/1.1" 401' in out
    assert "abc" not in out + complaints


def test_a_machine_without_a_way_out_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert outside_host(socket.AF_INET) == socket.gethostname()


def test_a_stream_hears_that_the_server_ends(started: tuple[subprocess.Popen[str], str]) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    process, said = started
    port = int(said.rstrip("/\n").rpartition(":")[2])
    with connect(f"ws://127.0.0.1:{port}/v1/stream") as stream:
        stream.send(EXAMPLE.read_bytes())
        assert '"frame":0' in str(stream.recv(timeout=60)).replace(" ", "")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as ended:
            stream.recv(timeout=60)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1012


# Runs the program, which never has done with a picture.
NEVER_DONE = """
import time
from semblante.cli import main
from semblante.recognise.pipeline import Analyzer

Analyzer.analyze = lambda *_: time.sleep(3600)
main()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_in_the_midst_of_a_picture(times: int) -> None:
    """At once the second time, else when those who wait for an answer have been given a moment."""
    with server(sys.executable, "-c", NEVER_DONE, "serve") as (process, said):
        address = said.removeprefix("semblante: ").rstrip("/\n")
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            picture = EXAMPLE.read_bytes()
            head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}"
            client.sendall(f"{head}\r\n\r\n".encode() + picture)
            one = b'semblante_under_way{kind="pictures"} 1.0'
            metrics = f"{address}/metrics"
            wait_until(lambda: one in urllib.request.urlopen(metrics, timeout=60).read(), step=0.1)
            process.send_signal(signal.SIGINT)
            if times == 2:
                wait_until(lambda: not answers(port))  # it has noticed the first one
                process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    # At most uvicorn's message about the request that it had to cancel after five seconds.
    assert "Traceback" not in complaints
    assert len(complaints.splitlines()) <= 2 - times, complaints


def test_streams_while_all_workers_are_busy() -> None:
    """Whoever leaves keeps no place, or a page that is loaded again and again would be refused; and
    those who stay are told when the server ends."""
    client = pytest.importorskip("websockets.sync.client")
    command = (sys.executable, "-c", NEVER_DONE, "serve", "--workers", "1")
    with server(*command) as (process, said):
        address = said.removeprefix("semblante: ").rstrip("/\n")
        port = int(address.rpartition(":")[2])

        def wait_for(n: int) -> None:
            """Until `n` pictures are under way."""
            line = f'semblante_under_way{{kind="pictures"}} {n}.0'.encode()
            metrics = f"{address}/metrics"
            wait_until(lambda: line in urllib.request.urlopen(metrics, timeout=60).read(), step=0.1)

        picture = EXAMPLE.read_bytes()
        head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}"
        with socket.create_connection(("127.0.0.1", port)) as busy:
            busy.sendall(f"{head}\r\n\r\n".encode() + picture)
            wait_for(1)
            for _ in range(2):
                with client.connect(f"ws://127.0.0.1:{port}/v1/stream") as leaving:
                    leaving.send(picture)
                    wait_for(2)
                    leaving.socket.shutdown(socket.SHUT_RDWR)
                    wait_for(1)
            with client.connect(f"ws://127.0.0.1:{port}/v1/stream") as staying:
                staying.send(picture)
                wait_for(2)
                process.send_signal(signal.SIGINT)
                _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in complaints, complaints
