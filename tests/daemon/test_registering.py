"""What the configuration says of an agent is what the orchestrator has of it."""

from __future__ import annotations

from pathlib import Path

from procorch import AgentOrchestrator, Shutdown
from procorch.daemon.config.secrets import Redactor
from procorch.daemon.registering import Registrar
from procorch.daemon.specs import AgentSpec, ReadyCheck


def test_a_program_has_the_grace_of_its_shutdown_to_end(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    script = f"trap 'sleep 1; echo in order > {ended}; exit 0' TERM; echo begun; sleep 60 & wait"
    spec = AgentSpec(
        name="slow",
        kind="program",
        command=("sh", "-c", script),
        ready=ReadyCheck(line="begun"),
        settings={"shutdown": Shutdown(grace=30)},
    )
    with AgentOrchestrator() as orch:
        Registrar(orch, tmp_path, Redactor()).add(spec)
        orch.spawn("slow").stop()
    assert ended.read_text() == "in order\n"
