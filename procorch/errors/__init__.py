"""Every error of procorch, in one tree::

    AgentError
    |-- ModelThrottled, NetworkError                     retryable
    |-- ContextWindowOverflow, StructuredOutputFailed, AlreadyRunning, NoMessages,
    |   InvalidContinue, StreamError, CacheMiss, ContentFiltered, ModelRetired, AuthError,
    |   BudgetExceeded
    |-- Aborted
    |   `-- RequestCancelled
    |-- PluginError
    |   `-- AgentStopped
    |-- AgentFailure                                     retryable where the original says so
    |   `-- CommandFailed, UnknownField                  not retryable
    |-- AgentCrashed                                     retryable
    |   |-- AgentHung, CommandCrashed
    |   `-- MemoryLimitExceeded
    |-- RequestTimeout (also a TimeoutError)
    |-- StartError                                       retryable unless permanent
    |   `-- ClusterError, McpServerError
    |-- McpToolError                                     retryable where the server was lost
    |-- ConversationError
    |   |-- UnknownConversation, ConversationExists
    |   `-- ConversationStoreError
    |       `-- ConversationStoreBusy, ConversationStoreMismatch, ConversationStoreDamaged
    |-- ReloadError, PoisonRequest, MailboxFull, TakesNoRequests
    `-- SerializationError, MessageTooLarge, ProtocolError

This package has the public names; the classes are in the modules beside it.
"""

from procorch.errors.agents import (
    Aborted,
    AgentCrashed,
    AgentHung,
    AgentStopped,
    MailboxFull,
    MemoryLimitExceeded,
    MessageTooLarge,
    PluginError,
    PoisonRequest,
    ProtocolError,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
    StartError,
    TakesNoRequests,
)
from procorch.errors.base import AgentError, AgentFailure
from procorch.errors.cluster import ClusterError
from procorch.errors.conversations import (
    ConversationError,
    ConversationExists,
    ConversationStoreBusy,
    ConversationStoreDamaged,
    ConversationStoreError,
    ConversationStoreMismatch,
    UnknownConversation,
)
from procorch.errors.mcp import McpServerError, McpToolError
from procorch.errors.models import (
    AlreadyRunning,
    AuthError,
    BudgetExceeded,
    CacheMiss,
    ContentFiltered,
    ContextWindowOverflow,
    InvalidContinue,
    ModelRetired,
    ModelThrottled,
    NetworkError,
    NoMessages,
    StreamError,
    StructuredOutputFailed,
)
from procorch.errors.programs import CommandCrashed, CommandFailed, UnknownField
from procorch.errors.releases import ReloadError

__all__ = [
    "Aborted",
    "AgentCrashed",
    "AgentError",
    "AgentFailure",
    "AgentHung",
    "AgentStopped",
    "AlreadyRunning",
    "AuthError",
    "BudgetExceeded",
    "CacheMiss",
    "ClusterError",
    "CommandCrashed",
    "CommandFailed",
    "ContentFiltered",
    "ContextWindowOverflow",
    "ConversationError",
    "ConversationExists",
    "ConversationStoreBusy",
    "ConversationStoreDamaged",
    "ConversationStoreError",
    "ConversationStoreMismatch",
    "InvalidContinue",
    "MailboxFull",
    "McpServerError",
    "McpToolError",
    "MemoryLimitExceeded",
    "MessageTooLarge",
    "ModelRetired",
    "ModelThrottled",
    "NetworkError",
    "NoMessages",
    "PluginError",
    "PoisonRequest",
    "ProtocolError",
    "ReloadError",
    "RequestCancelled",
    "RequestTimeout",
    "SerializationError",
    "StartError",
    "StreamError",
    "StructuredOutputFailed",
    "TakesNoRequests",
    "UnknownConversation",
    "UnknownField",
]
