"""Several workers of one agent behind one queue."""

from procorch.pool.agent_pool import AgentPool as AgentPool
from procorch.pool.agent_pool import PoolSettings as PoolSettings
from procorch.pool.mapping import ItemOptions as ItemOptions
from procorch.pool.outcome import Failure as Failure
from procorch.pool.outcome import Outcome as Outcome
from procorch.pool.outcome import Success as Success
from procorch.pool.replicas import PoolInfo as PoolInfo
from procorch.pool.results import Results as Results
