"""The root of the package: exactly what is public, and light to import."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procorch
from procorch import errors, messages
from procorch.supervision import notices

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HEAVY = {"asyncio", "click", "dill", "msgspec", "multiprocess", "psutil", "rich"}
OF_OTHERS = (HEAVY - {"msgspec"}) | {"procorch.agents.command", "procorch.agents.child_program"}
"""What an orchestrator without programs as agents does not load before it starts one."""
MEANT = """
Agent AgentOptions AgentOrchestrator AgentPool AgentStatus Context DefaultSupervisor
OrchestratedHandle ReplyFuture SupervisorAction SupervisorPolicy current
Aborted AgentCrashed AgentError AgentFailure AgentHung AgentStopped AlreadyRunning AuthError
CacheMiss ContentFiltered ContextWindowOverflow InvalidContinue MailboxFull MemoryLimitExceeded
MessageTooLarge ModelRetired ModelThrottled NetworkError NoMessages PluginError PoisonRequest
ProtocolError RequestCancelled RequestTimeout SerializationError StartError StreamError
StructuredOutputFailed
AgentMessage AgentRequest AgentResult AssistantMessage ContentBlock Cost CustomMessage
ExtensionBlock ImageBlock LlmMessage RequestMetrics StopReason TextBlock ThinkingBlock
ToolCallBlock ToolResultMessage Usage UserMessage
Backoff Shutdown Outcome
"""


@pytest.mark.parametrize("name", procorch.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(procorch, name)
    if isinstance(value, type | types.FunctionType):
        assert value.__name__ == name
        assert value.__module__.startswith("procorch.")
        assert inspect.getdoc(value)


def test_the_names_of_the_contract_are_public() -> None:
    assert set(MEANT.split()) <= set(procorch.__all__)


def test_what_is_public_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(procorch.__file__).read_text())
    typed = [
        (f"procorch.{node.module.removeprefix('procorch.')}", alias.name, alias.asname)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("procorch.")
        for alias in node.names
    ]
    assert sorted(name for _, name, _ in typed) == sorted(procorch.__all__)
    for module, name, alias in typed:
        assert alias == name  # the form that re-exports
        assert getattr(importlib.import_module(module), name) is getattr(procorch, name)


@pytest.mark.parametrize("module", [errors, messages, notices], ids=lambda module: module.__name__)
def test_all_errors_messages_and_events_are_public(module: Any) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__.startswith(module.__name__)
        and not name.startswith("_")
    }
    assert defined <= set(procorch.__all__)


def test_nothing_else_is_there() -> None:
    visible = {name for name in dir(procorch) if not name.startswith("_")}
    visible -= {name for name in visible if isinstance(vars(procorch).get(name), types.ModuleType)}
    assert visible - {"annotations", "Any", "TYPE_CHECKING"} == set(procorch.__all__)
    assert sorted(set(procorch.__all__)) == procorch.__all__
    with pytest.raises(AttributeError, match="module 'procorch' has no attribute 'nonsense'"):
        procorch.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        exec("from procorch import nonsense")


def test_a_star_import_gives_all_of_it() -> None:
    names: dict[str, Any] = {}
    exec("from procorch import *", names)
    assert set(procorch.__all__) <= set(names)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import procorch", HEAVY | {"logging", "threading", "inspect", "dataclasses"}),
        ("from procorch import AgentError, AgentResult", HEAVY),
        ("from procorch import AgentOptions, current", HEAVY),
        ("from procorch import AgentOrchestrator", OF_OTHERS),
    ],
    ids=["root", "errors and messages", "agents", "orchestrator"],
)
def test_an_import_loads_no_more_than_it_needs(
    run_python: Run, code: str, unwanted: set[str]
) -> None:
    done = run_python(
        "import json, sys\n"
        "before = set(sys.modules)\n"
        f"{code}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    assert done.stderr == ""
    modules = json.loads(done.stdout)
    loaded = {*modules, *(name.partition(".")[0] for name in modules)}
    assert "procorch" in loaded
    assert not loaded & unwanted
