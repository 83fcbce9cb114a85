"""Run the command line program as users do: in a process of its own, with output and exit code.

Starting Python and importing everything takes longer than most commands do. So one process imports
everything once, waits for as long as the tests run, and forks for each command.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from semblante.cli import main

PROGRAM = Path(sys.executable).parent / "semblante"


def semblante(
    *arguments: object, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `variables` are added to the environment."""
    argv = [str(PROGRAM), *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", **variables}
    asked = {"argv": argv, "cwd": str(cwd or Path.cwd()), "env": env}
    pipes = [os.pipe() for _ in range(2)]
    starter = _starter()
    socket.send_fds(starter, [json.dumps(asked).encode()], [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    with ThreadPoolExecutor() as pool:  # both at once: the command blocks if a pipe is full
        stdout, stderr = pool.map(_whole, [read for read, _ in pipes])
    return subprocess.CompletedProcess(argv, int(starter.recv(16)), stdout, stderr)


# Runs the program, which sends itself a signal once so many results of `analyze` are written.
_SIGNALS_ITSELF = """
import signal, sys
from semblante.cli import main
from semblante.cli.work import Work

which, left = int(sys.argv.pop(1)), int(sys.argv.pop(1))
results = Work.results

def counted(*arguments):
    global left
    for result in results(*arguments):
        yield result
        left -= 1
        if left == 0:
            signal.raise_signal(which)

Work.results = counted
main()
"""


def stopped(
    which: signal.Signals, results: int, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run a command that gets the signal `which` after so many results of `analyze`."""
    program = [sys.executable, "-c", _SIGNALS_ITSELF, str(int(which)), str(results)]
    return subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def _whole(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as file:
        return file.read()


@cache
def _starter() -> socket.socket:
    """Start the process that forks for commands, and return a connection to it. When this process
    exits, it closes the connection, and that ends the other one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        number = its.fileno()
        process = subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number])
    atexit.register(_end, process, ours)
    return ours


def _end(starter: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    starter.wait()


def _start_commands(connection: socket.socket) -> None:
    """Import everything, then run the requested commands one after another until the connection is
    closed."""
    for needed in (
        "matplotlib.figure", "onnxscript", "rich.progress", "semblante.cli.app",
        "semblante.evaluation", "semblante.train.export", "semblante.train.loop",
    ):  # fmt: skip
        with suppress(ImportError):  # optional packages may not be installed
            import_module(needed)
    while True:
        asked, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        if not asked:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            _become(json.loads(asked), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(asked: dict[str, Any], descriptors: list[int]) -> None:
    """Turn this process into the requested command; never returns."""
    for number, descriptor in enumerate([os.open(os.devnull, os.O_RDONLY), *descriptors]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww")
    )
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # waits for threads, as Python does when it exits; `os._exit` does not
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _start_commands(socket.socket(fileno=int(sys.argv[1])))
