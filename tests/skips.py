"""Lets no skip go unseen: with SEMBLANTE_NO_SKIPS=1, as in .ci/run, a skip fails the run.

Tests are skipped where what they need is missing, so that a checkout without everything can be
tested. Where everything should be there, a skip means that something was forgotten.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

# What no machine can be asked to have.
ALLOWED: Final = (
    "this machine has no IPv6",  # containers often have none
    "pages are huge here",  # a setting of the kernel
)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Processes of pytest-xdist have no terminal: they report to the one that has.
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or os.environ.get("SEMBLANTE_NO_SKIPS") != "1":
        return
    unforeseen = [line for report in terminal.stats.get("skipped", ()) if (line := _why(report))]
    if unforeseen:
        terminal.ensure_newline()
        terminal.section("skipped, though SEMBLANTE_NO_SKIPS=1", red=True)
        for line in sorted(unforeseen):
            terminal.write_line(line)
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


def _why(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """What was skipped and why; None if it is allowed. A module that was skipped when it was
    collected has a report as a test has."""
    assert isinstance(report.longrepr, tuple)
    reason = report.longrepr[2].removeprefix("Skipped: ")
    return None if reason in ALLOWED else f"{report.nodeid}: {reason}"
