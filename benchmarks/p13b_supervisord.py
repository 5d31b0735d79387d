"""P13b: a daemon of a hundred agents, beside ``supervisord`` with a hundred programs.

Each as it is by default, and each is asked through its own client for Python. A program is an
interpreter that waits for its end; procorch runs the same programs, too. An agent is ready when its
factory has returned, a program of supervisord when it has run for a second (``startsecs``).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.p13_daemon import daemon
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale

_SUPERVISORD = "supervisord"
_PROGRAMS = "procorch, the same programs"
_WAITS = "import signal; signal.pause()"
_ASKED = 10
"""How often the status is asked for in a round, and one of them restarted."""


def measure(
    count: int, ready: float, status: Callable[[], Any], restart: Callable[[str], Any]
) -> Samples:
    """One round: what was started is asked and restarted.

    Args:
        count: of agents or programs.
        ready: seconds until all were ready.
        restart: gets the name, and returns when it is ready again.
    """
    found: Samples = {"start": [ready], "status": [], "restart": []}
    for number in range(min(count, _ASKED)):
        for name, call in (("status", status), ("restart", lambda at=number: restart(f"a{at}"))):
            began = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - began)
    return found


@contextmanager
def procorch(count: int, *, programs: bool = False) -> Iterator[Round]:
    """A daemon for each round."""
    if programs:
        what = f"command = [{sys.executable!r}, '-c', {_WAITS!r}]"
        toml = "".join(f"[services.a{number}]\n{what}\n" for number in range(count))
    else:
        what = 'factory = "agents:answerer"'
        toml = "".join(f"[agents.a{number}]\n{what}\n" for number in range(count))

    def once() -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with daemon(Path(folder), toml) as client:
                ready = time.perf_counter() - began
                samples = measure(count, ready, client.status, client.restart)
                began = time.perf_counter()
            return {**samples, "stop": [time.perf_counter() - began]}

    yield once


_CONFIGURATION = """
[unix_http_server]
file={folder}/socket
[supervisord]
nodaemon=true
logfile={folder}/log
pidfile={folder}/pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


@contextmanager
def supervisord(count: int) -> Iterator[Round]:
    """One for each round."""

    def once() -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "supervisord.conf")
            command = f"command={sys.executable} -c '{_WAITS}'"
            programs = "".join(f"[program:a{number}]\n{command}\n" for number in range(count))
            file.write_text(_CONFIGURATION.format(folder=folder) + programs, encoding="utf-8")
            began = time.perf_counter()
            with subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            ) as process:  # fmt: skip
                try:
                    supervisor = _client(folder)
                    ready = time.perf_counter() - began

                    def restart(name: str) -> None:
                        supervisor.stopProcess(name)
                        supervisor.startProcess(name)

                    samples = measure(count, ready, supervisor.getAllProcessInfo, restart)
                    began = time.perf_counter()
                finally:
                    process.terminate()
            return {**samples, "stop": [time.perf_counter() - began]}

    yield once


def _client(folder: str) -> Any:
    """What `supervisorctl` asks through, as soon as all programs run."""
    from xmlrpc.client import ServerProxy

    from supervisor.xmlrpc import SupervisorTransport

    while True:
        transport = SupervisorTransport(None, None, f"unix://{folder}/socket")
        proxy: Any = ServerProxy("http://127.0.0.1", transport=transport)
        supervisor = proxy.supervisor
        with contextlib.suppress(OSError):  # it does not listen yet
            while any(row["statename"] != "RUNNING" for row in supervisor.getAllProcessInfo()):
                time.sleep(0.02)
            return supervisor
        time.sleep(0.02)


ROW = Row(
    id="P13b",
    work="a daemon of 100 agents beside supervisord",
    amount="agents or programs",
    metrics={
        "start": Metric("s"),
        "status": Metric("s"),
        "restart": Metric("s"),
        "stop": Metric("s"),
    },
    contenders={
        OURS: Contender(procorch),
        _PROGRAMS: Contender(lambda amount: procorch(amount, programs=True)),
        _SUPERVISORD: Contender(supervisord, "supervisor"),
    },
    goals=(
        Goal("times", (_SUPERVISORD,), metric="start", target=1.5, stretch=1.0),
        Goal("within", metric="status", target=0.1),
        Goal("times", (_SUPERVISORD,), metric="restart", target=1.0, stretch=0.1),
        Goal("within", metric="stop", target=5.0),
    ),
    full=Scale(rounds=3, amount=100),
    quick=Scale(rounds=1, amount=100),
    smoke=Scale(rounds=1, amount=2),
    notes=(
        "The status of supervisord is a name, a state and a pid; that of procorch has the time "
        "and the memory of every process, too.",
        "supervisord counts a program as started when it has run for a second, also after a "
        "restart; it stops programs one after the other.",
    ),
)
