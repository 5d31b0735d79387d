"""An agent whose answers are scored in its worker, for evaluations.

The scorer gets an item and its output. It runs where the agent runs, so a scorer that crashes or
hangs takes its worker along and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import isawaitable
from math import isfinite
from typing import Any, TypeAlias, cast

from procorch.agents.agent import Agent, as_agent
from procorch.agents.apps import App
from procorch.messages import AgentResult, to_result

Scorer: TypeAlias = Callable[[Any, Any], Any]
"""``(item, output) -> score``: a number, a bool, or several by name; plain or async."""

USUAL = "score"
"""The name of a score that comes without one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scored agent returns in place of its output."""

    output: Any
    scores: Mapping[str, float]


def scored(factory: Callable[[], Any], scorer: Scorer | App) -> Agent:
    """The agent of ``factory``, whose output is a `Scored`. A factory itself, with `partial`."""
    agent = as_agent(factory())
    score: Scorer = cast("Scorer", scorer.load()) if isinstance(scorer, App) else scorer
    respond: Callable[[Any], Any] = agent.responder

    def respond_and_score(item: Any) -> Any:
        value = respond(item)
        if isawaitable(value):
            return _awaited(item, value, score)
        result = to_result(value)
        given = score(item, result.output)
        return _awaited_score(result, given) if isawaitable(given) else _with(result, given)

    agent.responder = respond_and_score
    return agent


async def _awaited(item: Any, value: Any, score: Scorer) -> AgentResult:
    result = to_result(await value)
    given = score(item, result.output)
    return _with(result, await given if isawaitable(given) else given)


async def _awaited_score(result: AgentResult, given: Any) -> AgentResult:
    return _with(result, await given)


def _with(result: AgentResult, given: Any) -> AgentResult:
    return replace(result, output=Scored(result.output, scores_of(given)))


def scores_of(given: Any) -> dict[str, float]:
    """The scores that a scorer gave, by name.

    Raises:
        TypeError, ValueError: it gave something else.
    """
    if isinstance(given, Mapping):
        return {str(name): _number(value) for name, value in given.items()}
    return {USUAL: _number(given)}


def _number(value: Any) -> float:
    if not isinstance(value, bool | int | float):
        try:
            value = value.item()  # of numpy
        except AttributeError:
            raise TypeError(
                "a scorer returns a number, a bool or a mapping of names to those, not "
                f"{type(value).__name__}"
            ) from None
    if not isfinite(value):
        raise ValueError(f"a scorer returned {value}, which is no score")
    return float(value)
