"""An executor of the standard library's interface over a pool of agents."""

from procorch.executor.agent_executor import AgentExecutor as AgentExecutor
