"""Names, globs and groups of the command line become names of agents."""

from __future__ import annotations

import pytest

from procorch.daemon.control.names import exact, select
from procorch.daemon.errors import UnknownAgent

NAMES = {"solver": None, "web-1": "web", "web-2": "web", "critic": "team", "odd[1]": None}


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        ([], list(NAMES)),
        (["solver"], ["solver"]),
        (["critic", "solver"], ["solver", "critic"]),
        (["web-*", "web-1"], ["web-1", "web-2"]),
        (["web-[!1]"], ["web-2"]),
        (["web:*"], ["web-1", "web-2"]),
        (["web:*2"], ["web-2"]),
        (["*:*"], ["web-1", "web-2", "critic"]),
        (["odd[1]"], ["odd[1]"]),
        (["*"], list(NAMES)),
    ],
)
def test_patterns_mean_names_in_the_order_of_the_file(
    patterns: list[str], meant: list[str]
) -> None:
    assert select(patterns, NAMES) == meant


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("sovler", "there is no agent 'sovler'; did you mean 'solver'?"),
        ("Solver", "there is no agent 'Solver'; did you mean 'solver'?"),
        ("wbe:*", "no agent of a group 'wbe' matches 'wbe:*'; did you mean 'web:*'?"),
        ("", "there is no agent ''; the agents are: solver, web-1"),
        ("x*", "no agent matches 'x*'; the agents are: solver"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused_with_what_is_near(pattern: str, text: str) -> None:
    with pytest.raises(UnknownAgent) as caught:
        select(["solver", pattern], NAMES)
    assert str(caught.value).startswith(text)
    assert caught.value.code == 4


def test_an_exact_name_is_no_pattern() -> None:
    assert exact("web-1", NAMES) == "web-1"
    with pytest.raises(UnknownAgent, match="no agent matches 'web-\\*'; did you mean 'web:"):
        exact("web-*", NAMES)


def test_a_configuration_without_agents_says_so() -> None:
    assert select([], {}) == []
    with pytest.raises(UnknownAgent, match="'a': the configuration has no agents"):
        select(["a"], {})
