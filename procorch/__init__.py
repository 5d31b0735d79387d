"""An OTP-grade supervisor for agents, each in its own OS process.

Names are loaded when they are first used, so ``import procorch`` costs next to nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it, whose import alone would cost most of ours

if TYPE_CHECKING:
    from typing import Any

    from procorch.agents.agent import Agent as Agent
    from procorch.agents.approval import ToolDecisions as ToolDecisions
    from procorch.agents.command import command as command
    from procorch.agents.context import Context as Context
    from procorch.agents.current import current as current
    from procorch.agents.mcp_servers import Http as Http
    from procorch.agents.mcp_servers import Stdio as Stdio
    from procorch.agents.options import AgentOptions as AgentOptions
    from procorch.agents.permits import Permit as Permit
    from procorch.agents.readiness import ReadyCheck as ReadyCheck
    from procorch.agents.stream_events import ReasoningEvent as ReasoningEvent
    from procorch.agents.stream_events import StreamEvent as StreamEvent
    from procorch.agents.stream_events import TextEvent as TextEvent
    from procorch.agents.stream_events import ToolCallEvent as ToolCallEvent
    from procorch.agents.stream_events import ToolResultEvent as ToolResultEvent
    from procorch.agents.stream_events import UsageEvent as UsageEvent
    from procorch.api.children import ChildCounts as ChildCounts
    from procorch.api.children import ChildInfo as ChildInfo
    from procorch.api.conversations.conversation import Conversation as Conversation
    from procorch.api.conversations.reader import ConversationInfo as ConversationInfo
    from procorch.api.handle import OrchestratedHandle as OrchestratedHandle
    from procorch.api.info import AgentInfo as AgentInfo
    from procorch.api.main_program import run as run
    from procorch.api.orchestrator import AgentOrchestrator as AgentOrchestrator
    from procorch.batch.errors import BatchError as BatchError
    from procorch.batch.errors import BatchHalted as BatchHalted
    from procorch.batch.errors import BatchInputChanged as BatchInputChanged
    from procorch.batch.errors import BatchInputError as BatchInputError
    from procorch.batch.errors import BatchInputWarning as BatchInputWarning
    from procorch.batch.errors import JournalBusy as JournalBusy
    from procorch.batch.errors import JournalDamaged as JournalDamaged
    from procorch.batch.errors import JournalError as JournalError
    from procorch.batch.errors import JournalFenced as JournalFenced
    from procorch.batch.errors import JournalMismatch as JournalMismatch
    from procorch.batch.items import BatchFailure as BatchFailure
    from procorch.batch.items import BatchItem as BatchItem
    from procorch.batch.items import BatchSuccess as BatchSuccess
    from procorch.batch.report import BatchSummary as BatchSummary
    from procorch.batch.runner import BatchRun as BatchRun
    from procorch.batch.start import run_batch as run_batch
    from procorch.bench import Comparison as Comparison
    from procorch.bench import Measurement as Measurement
    from procorch.bench import Statistics as Statistics
    from procorch.bench import compare as compare
    from procorch.bench import measure as measure
    from procorch.daemon.client.client import DaemonClient as DaemonClient
    from procorch.daemon.client.client import connect as connect
    from procorch.daemon.client.client_async import AsyncDaemonClient as AsyncDaemonClient
    from procorch.daemon.client.client_async import AsyncRemoteHandle as AsyncRemoteHandle
    from procorch.daemon.client.client_async import connect_async as connect_async
    from procorch.daemon.client.handles import RemoteHandle as RemoteHandle
    from procorch.daemon.client.pieces import RemoteStream as RemoteStream
    from procorch.daemon.client.remote import RemoteResult as RemoteResult
    from procorch.daemon.errors import AccessRefused as AccessRefused
    from procorch.daemon.errors import BadRequest as BadRequest
    from procorch.daemon.errors import ConfigErrors as ConfigErrors
    from procorch.daemon.errors import DaemonBusy as DaemonBusy
    from procorch.daemon.errors import DaemonEnding as DaemonEnding
    from procorch.daemon.errors import DaemonError as DaemonError
    from procorch.daemon.errors import DaemonUnresponsive as DaemonUnresponsive
    from procorch.daemon.errors import NoDaemon as NoDaemon
    from procorch.daemon.errors import UnknownAgent as UnknownAgent
    from procorch.errors import Aborted as Aborted
    from procorch.errors import AgentCrashed as AgentCrashed
    from procorch.errors import AgentError as AgentError
    from procorch.errors import AgentFailure as AgentFailure
    from procorch.errors import AgentHung as AgentHung
    from procorch.errors import AgentStopped as AgentStopped
    from procorch.errors import AlreadyRunning as AlreadyRunning
    from procorch.errors import AuthError as AuthError
    from procorch.errors import BudgetExceeded as BudgetExceeded
    from procorch.errors import CacheMiss as CacheMiss
    from procorch.errors import ClusterError as ClusterError
    from procorch.errors import CommandCrashed as CommandCrashed
    from procorch.errors import CommandFailed as CommandFailed
    from procorch.errors import ContentFiltered as ContentFiltered
    from procorch.errors import ContextWindowOverflow as ContextWindowOverflow
    from procorch.errors import ConversationError as ConversationError
    from procorch.errors import ConversationExists as ConversationExists
    from procorch.errors import ConversationStoreBusy as ConversationStoreBusy
    from procorch.errors import ConversationStoreDamaged as ConversationStoreDamaged
    from procorch.errors import ConversationStoreError as ConversationStoreError
    from procorch.errors import ConversationStoreMismatch as ConversationStoreMismatch
    from procorch.errors import InvalidContinue as InvalidContinue
    from procorch.errors import MailboxFull as MailboxFull
    from procorch.errors import McpServerError as McpServerError
    from procorch.errors import McpToolError as McpToolError
    from procorch.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from procorch.errors import MessageTooLarge as MessageTooLarge
    from procorch.errors import ModelRetired as ModelRetired
    from procorch.errors import ModelThrottled as ModelThrottled
    from procorch.errors import NetworkError as NetworkError
    from procorch.errors import NoMessages as NoMessages
    from procorch.errors import PluginError as PluginError
    from procorch.errors import PoisonRequest as PoisonRequest
    from procorch.errors import ProtocolError as ProtocolError
    from procorch.errors import ReloadError as ReloadError
    from procorch.errors import RequestCancelled as RequestCancelled
    from procorch.errors import RequestTimeout as RequestTimeout
    from procorch.errors import SerializationError as SerializationError
    from procorch.errors import StartError as StartError
    from procorch.errors import StreamError as StreamError
    from procorch.errors import StructuredOutputFailed as StructuredOutputFailed
    from procorch.errors import TakesNoRequests as TakesNoRequests
    from procorch.errors import UnknownConversation as UnknownConversation
    from procorch.errors import UnknownField as UnknownField
    from procorch.executor.agent_executor import AgentExecutor as AgentExecutor
    from procorch.futures.reply import ReplyFuture as ReplyFuture
    from procorch.futures.stream import StreamReply as StreamReply
    from procorch.futures.watch import EventStream as EventStream
    from procorch.launch.ray.backend import RayBackend as RayBackend
    from procorch.messages import AgentMessage as AgentMessage
    from procorch.messages import AgentRequest as AgentRequest
    from procorch.messages import AgentResult as AgentResult
    from procorch.messages import AssistantMessage as AssistantMessage
    from procorch.messages import ContentBlock as ContentBlock
    from procorch.messages import Cost as Cost
    from procorch.messages import CustomMessage as CustomMessage
    from procorch.messages import ExtensionBlock as ExtensionBlock
    from procorch.messages import ImageBlock as ImageBlock
    from procorch.messages import LlmMessage as LlmMessage
    from procorch.messages import RequestMetrics as RequestMetrics
    from procorch.messages import StopReason as StopReason
    from procorch.messages import TextBlock as TextBlock
    from procorch.messages import ThinkingBlock as ThinkingBlock
    from procorch.messages import ToolCallBlock as ToolCallBlock
    from procorch.messages import ToolResultMessage as ToolResultMessage
    from procorch.messages import Usage as Usage
    from procorch.messages import UserMessage as UserMessage
    from procorch.pool.agent_pool import AgentPool as AgentPool
    from procorch.pool.outcome import Failure as Failure
    from procorch.pool.outcome import Outcome as Outcome
    from procorch.pool.outcome import Success as Success
    from procorch.pool.replicas import PoolInfo as PoolInfo
    from procorch.pool.results import Results as Results
    from procorch.runtime.output_sink import OutputSink as OutputSink
    from procorch.supervision.budgets import Budget as Budget
    from procorch.supervision.budgets import ModelUse as ModelUse
    from procorch.supervision.keywords import Settings as Settings
    from procorch.supervision.limits import Backoff as Backoff
    from procorch.supervision.limits import Intensity as Intensity
    from procorch.supervision.limits import Shutdown as Shutdown
    from procorch.supervision.notices import AgentEvent as AgentEvent
    from procorch.supervision.notices import BackingOff as BackingOff
    from procorch.supervision.notices import Crashed as Crashed
    from procorch.supervision.notices import Escalated as Escalated
    from procorch.supervision.notices import Hung as Hung
    from procorch.supervision.notices import Lost as Lost
    from procorch.supervision.notices import NodeJoined as NodeJoined
    from procorch.supervision.notices import NodeLost as NodeLost
    from procorch.supervision.notices import Notice as Notice
    from procorch.supervision.notices import Ready as Ready
    from procorch.supervision.notices import Recovered as Recovered
    from procorch.supervision.notices import Reloaded as Reloaded
    from procorch.supervision.notices import ReloadFailed as ReloadFailed
    from procorch.supervision.notices import Reloading as Reloading
    from procorch.supervision.notices import RequestDone as RequestDone
    from procorch.supervision.notices import RequestStarted as RequestStarted
    from procorch.supervision.notices import Restarting as Restarting
    from procorch.supervision.notices import Starting as Starting
    from procorch.supervision.notices import Stopped as Stopped
    from procorch.supervision.notices import Throttled as Throttled
    from procorch.supervision.notices import Unreaped as Unreaped
    from procorch.supervision.policy import DefaultSupervisor as DefaultSupervisor
    from procorch.supervision.policy import PoolSupervisor as PoolSupervisor
    from procorch.supervision.policy import ServiceSupervisor as ServiceSupervisor
    from procorch.supervision.policy import SupervisorAction as SupervisorAction
    from procorch.supervision.policy import SupervisorPolicy as SupervisorPolicy
    from procorch.supervision.shared_limit import Limit as Limit
    from procorch.supervision.shared_limit import LimitState as LimitState
    from procorch.supervision.states import AgentStatus as AgentStatus
    from procorch.supervision.throttle import Pause as Pause
    from procorch.supervision.throttle import Throttle as Throttle

__version__ = "0.1.0"

_HOMES = {
    "agents.agent": "Agent",
    "agents.command": "command",
    "agents.context": "Context",
    "agents.current": "current",
    "agents.approval": "ToolDecisions",
    "agents.stream_events": (
        "ReasoningEvent StreamEvent TextEvent ToolCallEvent ToolResultEvent UsageEvent"
    ),
    "agents.mcp_servers": "Http Stdio",
    "agents.options": "AgentOptions",
    "agents.permits": "Permit",
    "agents.readiness": "ReadyCheck",
    "api.children": "ChildCounts ChildInfo",
    "api.conversations.conversation": "Conversation",
    "api.conversations.reader": "ConversationInfo",
    "api.handle": "OrchestratedHandle",
    "api.info": "AgentInfo",
    "api.main_program": "run",
    "api.orchestrator": "AgentOrchestrator",
    "batch.errors": (
        "BatchError BatchHalted BatchInputChanged BatchInputError BatchInputWarning JournalBusy "
        "JournalDamaged JournalError JournalFenced JournalMismatch"
    ),
    "batch.items": "BatchFailure BatchItem BatchSuccess",
    "batch.report": "BatchSummary",
    "batch.runner": "BatchRun",
    "batch.start": "run_batch",
    "bench": "Comparison Measurement Statistics compare measure",
    "daemon.client.client": "DaemonClient connect",
    "daemon.client.client_async": "AsyncDaemonClient AsyncRemoteHandle connect_async",
    "daemon.errors": (
        "AccessRefused BadRequest ConfigErrors DaemonBusy DaemonEnding DaemonError "
        "DaemonUnresponsive NoDaemon UnknownAgent"
    ),
    "daemon.client.handles": "RemoteHandle",
    "daemon.client.pieces": "RemoteStream",
    "daemon.client.remote": "RemoteResult",
    "errors": (
        "Aborted AgentCrashed AgentError AgentFailure AgentHung AgentStopped AlreadyRunning "
        "AuthError BudgetExceeded CacheMiss ClusterError CommandCrashed CommandFailed "
        "ContentFiltered ContextWindowOverflow ConversationError ConversationExists "
        "ConversationStoreBusy ConversationStoreDamaged ConversationStoreError "
        "ConversationStoreMismatch InvalidContinue MailboxFull McpServerError "
        "McpToolError MemoryLimitExceeded "
        "MessageTooLarge ModelRetired ModelThrottled NetworkError NoMessages PluginError "
        "PoisonRequest ProtocolError ReloadError RequestCancelled RequestTimeout "
        "SerializationError StartError StreamError StructuredOutputFailed TakesNoRequests "
        "UnknownConversation UnknownField"
    ),
    "executor.agent_executor": "AgentExecutor",
    "futures.reply": "ReplyFuture",
    "futures.stream": "StreamReply",
    "futures.watch": "EventStream",
    "launch.ray.backend": "RayBackend",
    "messages": (
        "AgentMessage AgentRequest AgentResult AssistantMessage ContentBlock Cost CustomMessage "
        "ExtensionBlock ImageBlock LlmMessage RequestMetrics StopReason TextBlock ThinkingBlock "
        "ToolCallBlock ToolResultMessage Usage UserMessage"
    ),
    "pool.agent_pool": "AgentPool",
    "pool.outcome": "Failure Outcome Success",
    "pool.replicas": "PoolInfo",
    "pool.results": "Results",
    "runtime.output_sink": "OutputSink",
    "supervision.budgets": "Budget ModelUse",
    "supervision.keywords": "Settings",
    "supervision.limits": "Backoff Intensity Shutdown",
    "supervision.notices": (
        "AgentEvent BackingOff Crashed Escalated Hung Lost NodeJoined NodeLost Notice Ready "
        "Recovered ReloadFailed Reloaded Reloading RequestDone RequestStarted Restarting Starting "
        "Stopped Throttled Unreaped"
    ),
    "supervision.policy": (
        "DefaultSupervisor PoolSupervisor ServiceSupervisor SupervisorAction SupervisorPolicy"
    ),
    "supervision.shared_limit": "Limit LimitState",
    "supervision.states": "AgentStatus",
    "supervision.throttle": "Pause Throttle",
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)

_MOVED = {
    "adapters": "agents.adapters",
    "agent": "agents.agent",
    "children": "api.children",
    "context": "agents.context",
    "errors.plain": "errors.plain_data",
    "errors.words": "errors.texts",
    "handle": "api.handle",
    "info": "api.info",
    "orchestrator": "api.orchestrator",
    "registry": "api.registry",
    "runtime.chunks": "futures.chunk",
    "runtime.events": "futures.watch",
    "runtime.reply": "futures.reply",
    "runtime.stream": "futures.stream",
    "turns": "agents.model_turns",
}
"""Modules that had another name in version 0.1: pickles and imports by that name find them."""


class _Moved:
    """Finds modules by their names of version 0.1, with a `DeprecationWarning`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        package, _, old = name.partition(".")
        if package != __name__ or old not in _MOVED:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        """Python makes an empty module."""

    def exec_module(self, module: Any) -> None:
        import importlib
        import warnings

        old = module.__name__
        new = f"{__name__}.{_MOVED[old.partition('.')[2]]}"
        warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
        real = importlib.import_module(new)
        module.__getattr__ = lambda name: getattr(real, name)


sys.meta_path.append(_Moved())  # behind all others: it is asked for what is not there


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
