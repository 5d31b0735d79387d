"""What differs between two configurations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.daemon.config import changes, keys, keys_page, own_keys
from procorch.daemon.config.changes import DAEMON, Change, difference, texts
from procorch.daemon.config.loading import load
from procorch.daemon.specs import Config

AGENT = '[agents.a]\nfactory = "app:a"\n'
PAGE = Path(__file__).parents[2] / "docs/reference/daemon-settings.md"


@pytest.fixture
def of(tmp_path: Path) -> Callable[[str], Config]:
    def read(text: str) -> Config:
        path = tmp_path / "procorch.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return load(path)

    return read


def test_nothing_differs(of: Callable[[str], Config]) -> None:
    one = of(AGENT + 'start_timeout = "1m"\n[services.s]\nrun = "app:run"\n')
    # A default that is written out, another order and a comment make no difference.
    two = of(
        '# comment\n[services.s]\nrun = "app:run"\nrestart = "permanent"\n'
        + AGENT
        + "start_timeout = 60\nmax_restarts = 3\nbackoff = {}\nautostart = true\n"
    )
    assert difference(one, two) == []
    assert texts(one, two) == []


@pytest.mark.parametrize(
    ("before", "after", "change", "lines"),
    [
        ("", "max_restarts = 5", "live", ["max_restarts 3 -> 5"]),
        ("max_age = '1h'", "max_age = '90m'", "live", ['max_age "1h" -> "90m"']),
        ("", "memory_limit = '512M'", "rolling", ['memory_limit false -> "512M" (rolling)']),
        ("", "instances = 3", "live", ["instances 1 -> 3"]),
        ("group = 'x'", "", "live", ['group "x" -> false']),
        ("", "restart = 'permanent'", "live", ['restart "transient" -> "permanent"']),
        (
            "",
            "backoff = { cap = '1m', jitter = false }",
            "live",
            ["backoff.cap \"30s\" -> \"1m\"", "backoff.jitter true -> false"],
        ),
        (
            "",
            "intensity = { restarts = 2, period = '1m' }",
            "live",
            ['intensity false -> { restarts = 2, period = "1m" }'],
        ),
        (
            "budget = { day = 3 }",
            "budget = { day = 5 }",
            "rolling",
            ["budget.day 3 -> 5 (rolling)"],
        ),
        (
            "env = { A = '1', B = '2', API_KEY = 'x' }",
            "env = { A = '3', C = '4', API_KEY = 'y' }",
            "rolling",
            [
                'env.A "1" -> "3" (rolling)',
                'env.B "2" -> none (rolling)',
                "env.API_KEY *** -> *** (rolling)",
                'env.C none -> "4" (rolling)',
            ],
        ),
        (
            "secrets = { K = 'env:ONE' }",
            "secrets = { K = 'env:TWO' }",
            "rolling",
            ['secrets.K "env:ONE" -> "env:TWO" (rolling)'],
        ),
        ("", "preload = ['app']", "rolling", ['preload [] -> ["app"] (rolling)']),
        ("", "revive = '10m'\nreplace = 'stop_first'", "live", None),
        (
            "max_restarts = 4",
            "max_restarts = 5\ncpus = [0]",
            "rolling",
            ["max_restarts 4 -> 5 (rolling)", "cpus false -> [0] (rolling)"],
        ),
    ],
)  # fmt: skip
def test_a_changed_key(
    of: Callable[[str], Config], before: str, after: str, change: str, lines: list[str] | None
) -> None:
    old, new = of(AGENT + before), of(AGENT + after)
    (found,) = difference(old, new)
    assert (found.name, found.change) == ("a", change)
    if lines is None:
        assert found.keys == ("replace", "revive")
        lines = ['replace false -> "stop_first"', 'revive false -> "10m"']
    assert texts(old, new) == [f"~ a: {line}" for line in lines]
    back = difference(new, old)
    assert [(each.change, each.keys) for each in back] == [(change, found.keys)]


def test_agents_that_are_added_and_removed(of: Callable[[str], Config]) -> None:
    old = of(AGENT + '[agents.b]\nfactory = "app:b"\n[agents.c]\nfactory = "app:c"\n')
    new = of('[agents.d]\nfactory = "app:d"\n[agents.c]\nfactory = "app:other"\n')
    assert difference(old, new) == [
        Change("d", "added"),
        Change("c", "rolling", ("factory",)),
        Change("a", "removed"),
        Change("b", "removed"),
    ]
    assert texts(old, new) == [
        "+ d", '~ c: factory "app:c" -> "app:other" (rolling)', "- a", "- b",
    ]  # fmt: skip


def test_what_a_running_agent_cannot_change(of: Callable[[str], Config]) -> None:
    old = of(AGENT + '[agents.a.agents.b]\nfactory = "app:b"\n[agents.c]\nfactory = "app:c"\n')
    new = of(AGENT + '[agents.b]\nfactory = "app:b"\n[agents.c]\ncommand = ["true"]\n')
    assert difference(old, new) == [
        Change("b", "restart", ("parent",)),
        Change("c", "restart", ("kind",)),
    ]
    assert texts(old, new) == [
        "~ b: parent a -> none (restart)",
        "~ c: kind agent -> command (restart)",
    ]


def test_the_daemon_itself(of: Callable[[str], Config], tmp_path: Path) -> None:
    old, new = of(AGENT), of(AGENT + '[daemon]\nlog = { keep = false }\nexit_when = "all_ended"\n')
    assert difference(old, new) == [Change(DAEMON, "live", ("exit_when", "log"))]
    assert texts(old, new) == [
        '~ [daemon]: exit_when "never" -> "all_ended"', '~ [daemon]: log.keep "14d" -> false',
    ]  # fmt: skip
    new = of(AGENT + '[daemon]\ndir = "x"\n')
    assert difference(old, new) == [Change(DAEMON, "restart", ("dir",))]
    line = f'~ [daemon]: dir "{tmp_path}/.procorch" -> "{tmp_path}/x" (restart)'
    assert texts(old, new) == [line]


def test_keys_that_no_configuration_has_are_shown_by_their_names(
    of: Callable[[str], Config],
) -> None:
    old, new = of(AGENT), of(AGENT + "retries = 2")
    assert texts(old, new, [Change("a", "rolling", ("retries", "code"))]) == [
        "~ a: retries 0 -> 2 (rolling)",
        "~ a: code (rolling)",
    ]


def test_credentials_in_values_are_hidden(of: Callable[[str], Config]) -> None:
    one = of('[services.s]\ncommand = ["serve", "--url", "http://me:hunter2@host/"]\n')
    two = of('[services.s]\ncommand = ["serve", "--url", "http://me:hunter3@host/"]\n')
    (line,) = texts(one, two)
    assert "hunter" not in line


def test_every_key_of_an_agent_is_compared(of: Callable[[str], Config]) -> None:
    for text in (AGENT, '[agents.a]\ncommand = ["true"]\n'):
        spec = of(text).agents[0]
        mine = {name for name, key in keys.AGENT.items() if spec.kind in key.kinds}
        assert mine <= set(changes._of_agent(spec))


# ---- the reference


def test_the_docs_show_the_keys_as_they_are() -> None:
    shown = PAGE.read_text(encoding="utf-8")
    assert shown == keys_page.page(), (
        "docs/reference/daemon-settings.md is what "
        "`python -m procorch.daemon.config.keys_page` prints"
    )


def test_the_module_prints_the_page_of_the_docs() -> None:
    command = [sys.executable, "-m", "procorch.daemon.config.keys_page"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == PAGE.read_text(encoding="utf-8")


def test_the_example_of_the_docs_is_valid(of: Callable[[str], Config]) -> None:
    example = PAGE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    assert [each.kind for each in of(example).agents] == [
        "agent", "agent", "command", "service", "program",
    ]  # fmt: skip


def test_every_setting_of_the_library_is_a_key_or_is_refused_by_name() -> None:
    from procorch.supervision.settings import FIELDS

    of_daemon = {"answers"}  # the daemon sets it itself
    assert set(FIELDS) - of_daemon <= {*keys.AGENT, *own_keys.LATER_OF_AGENTS}
