"""What is said: messages and their content blocks, results, usage, cost.

This package has the names; the classes are in `content` and `results`.
"""

from procorch.messages.content import (
    AgentMessage,
    AssistantMessage,
    ContentBlock,
    Cost,
    CustomMessage,
    ExtensionBlock,
    ImageBlock,
    LlmMessage,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
    user_text,
)
from procorch.messages.results import (
    AgentRequest,
    AgentResult,
    Out,
    RequestMetrics,
    _plain_result,  # noqa: F401  # version 0.1 has it in its pickles
    metrics_of,
    to_result,
)

__all__ = [
    "AgentMessage",
    "AgentRequest",
    "AgentResult",
    "AssistantMessage",
    "ContentBlock",
    "Cost",
    "CustomMessage",
    "ExtensionBlock",
    "ImageBlock",
    "LlmMessage",
    "Out",
    "RequestMetrics",
    "StopReason",
    "TextBlock",
    "ThinkingBlock",
    "ToolCallBlock",
    "ToolResultMessage",
    "Usage",
    "UserMessage",
    "metrics_of",
    "to_result",
    "user_text",
]
