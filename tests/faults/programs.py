"""Parts of programs that tests run, here and on a cluster (tests/ray)."""

from __future__ import annotations

HIDING = """
def factory():
    if hides:
        if os.fork() == 0:  # a daemon
            os.setsid()
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                while True:
                    signal.pause()
            os._exit(0)
        os.wait()
    def handle(x):
        if x == "stuck":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                pass
        if x == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        return x
    return handle
"""
"""Row 13: an agent that blocks all signals, or stops itself, with a daemon if ``hides`` is true."""

CLOCK = """
import time
from procorch import AgentOrchestrator, DefaultSupervisor

real = time.time

def factory():
    import time
    real = time.time
    import procorch
    def handle(shift):
        time.time = lambda: real() + shift
        time.time_ns = lambda: int((real() + shift) * 1e9)
        procorch.current().progress()
        assert 0 < procorch.current().remaining() <= 20
        return shift
    return handle

with AgentOrchestrator(supervisor=DefaultSupervisor(), **settings) as orch:
    orch.add_agent("a", factory, heartbeat_timeout=10, max_age=1000)
    handle = orch.spawn("a")
    for day in (86400, -86400, 0):
        reply = handle.deliver(day, timeout=20)
        time.time = lambda: real() + day
        time.time_ns = lambda: int((real() + day) * 1e9)
        assert reply.result().output == day
        metrics = reply.result().metrics
        assert 0 <= metrics.queued < 10 and 0 <= metrics.wall < 10, metrics
    assert handle.generation == 1
"""
"""Row 17: the wall clock moves by a day for a program and its agent. ``settings`` are those of the
orchestrator."""
