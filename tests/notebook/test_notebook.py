"""Agents from a Jupyter notebook and from IPython: ``tox -e notebook``."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import psutil
import pytest

from tests.process.conftest import host_environment

CELLS = [
    """
    import os
    from dataclasses import dataclass
    from procorch import AgentOrchestrator, DefaultSupervisor

    @dataclass
    class Point:
        x: int

    def factory():
        return lambda point: Point(point.x * 2)
    """,
    """
    orch = AgentOrchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    handle.deliver(Point(21)).result().output
    """,
    # Jupyter runs an event loop: a cell may await.
    "(await handle.submit(Point(5))).output == Point(10)",
    """
    os.kill(handle.pid, 9)
    handle.deliver(Point(1)).exception()
    handle.deliver(Point(4)).result().output
    """,
    "handle.pid",
]


@pytest.fixture(params=["zygote", "spawn"])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    monkeypatch.setenv("PYTHONPATH", host_environment()["PYTHONPATH"])


def shown(cell: Any) -> str:
    return str(cell.outputs[-1]["data"]["text/plain"])


@pytest.mark.usefixtures("start_method")
@pytest.mark.timeout(120)
def test_a_notebook_has_agents_and_leaves_nothing_behind(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in CELLS]
    )
    client = nbclient.NotebookClient(book, timeout=60, resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert shown(book.cells[1]) == "Point(x=42)"
    assert shown(book.cells[2]) == "True"
    assert shown(book.cells[3]) == "Point(x=8)"
    # The kernel has been shut down.
    assert not psutil.pid_exists(int(shown(book.cells[4])))


@pytest.mark.usefixtures("start_method")
def test_ipython_has_agents(tmp_path: Path) -> None:
    script = (
        "\n".join(map(textwrap.dedent, CELLS[:2]))
        + "\nprint(handle.deliver(Point(3)).result().output)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", script],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "Point(x=6)" in done.stdout
    assert done.returncode == 0
