"""The settings of a batch as keywords: what editors complete and type checkers check."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from procorch.agents.apps import App
from procorch.agents.scored import Scorer
from procorch.batch.sources import IdOf
from procorch.supervision.keywords import WorkerSettings
from procorch.supervision.shared_limit import Limit
from procorch.supervision.throttle import Throttle

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend


class BatchSettings(WorkerSettings, total=False):
    """What `run_batch` takes beside its factory, its items and its journal.

    The docstring of `run_batch` explains each; the others are settings of the workers.
    """

    workers: int | None
    timeout: float | str | None
    retries: int
    memory_limit: int | str | None
    rate: float | str | None
    throttle: Throttle | None
    shared_limit: Limit | None
    budget: float | str | None
    score: Scorer | App | None
    allowed_failures: int
    retry_on: Collection[str]
    resume: bool
    retry_failed: bool
    redo: bool
    accept_changes: bool
    keep_order: bool
    halt: str
    limit: int | None
    shuffle: bool
    seed: int
    shard: str | None
    id: IdOf
    format: str
    delimiter: str | None
    allow_empty: bool
    skip_known: bool
    results: str | os.PathLike[str] | None
    command: str | None
    streams: Collection[int]
    start_method: str | None
    preload: Sequence[str]
    backend: str | RayBackend | None
