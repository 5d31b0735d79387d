"""Settings are checked when they are given, and a refusal says what would be right."""

from __future__ import annotations

import dataclasses
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from procorch import AgentOrchestrator
from procorch.supervision import settings_page
from procorch.supervision.keywords import Settings
from procorch.supervision.limits import Backoff, Intensity, Shutdown
from procorch.supervision.settings import FIELDS, AgentSettings
from procorch.units import seconds, size_in_bytes, whole


def refusal(kind: type[Exception], **given: Any) -> str:
    with pytest.raises(kind) as caught:
        AgentSettings.of(given)
    return str(caught.value)


# ---- what is given


def test_nothing_given_is_the_defaults() -> None:
    assert AgentSettings.of({}) == AgentSettings()


def test_what_is_given_is_what_is_set() -> None:
    given = {
        "restart": "permanent",
        "max_restarts": 7,
        "backoff": Backoff(initial=0.5),
        "intensity": Intensity(3, 60.0),
        "strategy": "rest_for_one",
        "link": "restart",
        "auto_shutdown": "all_significant",
        "shutdown": Shutdown(grace=1),
        "start_timeout": 5.0,
        "request_timeout": 20.0,
        "heartbeat_timeout": 10.0,
        "memory_limit": 1 << 20,
        "address_space_limit": 1 << 30,
        "max_requests": 100,
        "max_age": 3600.0,
        "env": {"LANG": "C"},
        "cwd": "/",
        "priority": 5,
        "cpus": (0, 1, 4),
        "channel_buffer": 4,
        "retries": 2,
        "allowed_failures": 1,
    }
    settings = AgentSettings.of(given)
    assert {name: getattr(settings, name) for name in given} == given


def test_settings_cannot_be_changed_afterwards() -> None:
    for value in (Backoff(), Intensity(1, 1.0), Shutdown()):
        field = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, 1)
    with pytest.raises(AttributeError):
        AgentSettings().restart = "never"  # type: ignore[misc,assignment]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("max_restart", "max_restarts"),
        ("restarts", "restart"),
        ("heartbeat", "heartbeat_timeout"),
        ("start_time", "start_timeout"),
        ("stratgy", "strategy"),
        ("buffer", "channel_buffer"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(given: str, nearest: str) -> None:
    text = refusal(TypeError, **{given: 1})
    assert text == f"unknown setting {given!r}; did you mean {nearest!r}?"


def test_an_unknown_setting_that_is_near_to_none_is_refused_with_all_names() -> None:
    text = refusal(TypeError, xyzzy=1)
    assert text.startswith("unknown setting 'xyzzy'; known: restart, max_restarts, ")
    for name in AgentSettings.__struct_fields__:
        assert name in text


@pytest.mark.parametrize(
    ("name", "word", "hint"),
    [
        ("restart", "temporal", "did you mean 'temporary'?"),
        ("restart", "always", "known: permanent, transient, temporary"),
        ("strategy", "one_for_al", "did you mean 'one_for_all'?"),
        ("strategy", "simple", "known: one_for_one, one_for_all, rest_for_one"),
        ("link", "stops", "did you mean 'stop'?"),
        ("link", True, "known: record, stop, restart"),
        ("auto_shutdown", "any", "known: never, any_significant, all_significant"),
        ("auto_shutdown", "significant", "did you mean 'any_significant'?"),
    ],
)
def test_an_unknown_word_is_refused_with_those_that_are_known(
    name: str, word: Any, hint: str
) -> None:
    assert refusal(ValueError, **{name: word}) == f"{name}={word!r}; {hint}"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_restarts", -1, "max_restarts must be 0 or more, not -1"),
        ("channel_buffer", 0, "channel_buffer must be 1 or more, not 0"),
        ("retries", -2, "retries must be 0 or more, not -2"),
        ("allowed_failures", -1, "allowed_failures must be 0 or more, not -1"),
        ("max_requests", 0, "max_requests must be 1 or more, not 0"),
        ("priority", -1, "priority must be 0 or more, not -1"),
        ("cpus", "0-", "cpus: '0-' is no list of processors such as '0-3,8'"),
        ("cpus", "3-1", "cpus: '3-1' ends before it begins"),
        ("cpus", [], "cpus must name at least one processor"),
        ("cpus", [-1], "a number of cpus must be 0 or more, not -1"),
        ("priority", 20, "priority must be from 0 to 19 (nice), not 20"),
        ("start_timeout", 0, "start_timeout must be more than 0 s"),
        ("request_timeout", 0, "request_timeout must be more than 0 s"),
        ("heartbeat_timeout", "0s", "heartbeat_timeout must be more than 0 s"),
        ("max_age", 0.0, "max_age must be more than 0 s"),
        ("start_timeout", -1, "start_timeout must not be negative, and -1 is"),
        ("memory_limit", 0, "memory_limit must be more than 0 bytes, not 0"),
        ("env", {"A=B": "1"}, "env: 'A=B' cannot be a variable of an environment"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any, text: str) -> None:
    assert refusal(ValueError, **{name: value}) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_restarts", "3", "max_restarts must be a whole number, not str"),
        ("max_restarts", 3.0, "max_restarts must be a whole number, not float"),
        ("max_restarts", True, "max_restarts must be a whole number, not bool"),
        ("max_restarts", None, "max_restarts must be a whole number, not NoneType"),
        ("backoff", 1.0, "backoff must be Backoff(...), not float"),
        ("backoff", None, "backoff cannot be None; leave it out for the default"),
        ("intensity", (3, 5), "intensity must be Intensity(...), not tuple"),
        ("shutdown", 5, "shutdown must be Shutdown(...), not int"),
        ("shutdown", None, "shutdown cannot be None; leave it out for the default"),
        ("significant", 1, "significant must be True or False, not int"),
        ("significant", None, "significant must be True or False, not NoneType"),
        ("start_timeout", None, "start_timeout cannot be None; leave it out for the default"),
        ("request_timeout", [1], "request_timeout must be a duration, not list"),
        ("memory_limit", 1.5, "memory_limit must be a size in bytes, not float"),
        ("env", ["A=1"], "env must map names to values, not be list"),
        ("env", {"A": 1}, "env: 'A'=1 is not text"),
        ("cwd", 3, "cwd must be a path, not int"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(name: str, value: Any, text: str) -> None:
    assert refusal(TypeError, **{name: value}) == text


@pytest.mark.parametrize(
    "name", ["request_timeout", "heartbeat_timeout", "memory_limit", "intensity", "max_requests"]
)
def test_no_limit_can_be_given_as_none(name: str) -> None:
    assert getattr(AgentSettings.of({name: None}), name) is None


# ---- impossible combinations


def test_a_temporary_agent_has_no_budget() -> None:
    text = refusal(ValueError, restart="temporary", max_restarts=2)
    assert text == "restart='temporary' and max_restarts: a temporary agent is never restarted"
    assert AgentSettings.of({"restart": "temporary", "max_restarts": 0}).restart == "temporary"


def test_a_permanent_agent_is_not_significant() -> None:
    text = refusal(ValueError, restart="permanent", significant=True)
    assert "a permanent agent never ends by itself" in text


def test_a_heartbeat_that_never_comes_before_the_deadline_is_refused() -> None:
    text = refusal(ValueError, heartbeat_timeout="1m", request_timeout=60)
    assert text == "heartbeat_timeout (60 s) never comes before request_timeout (60 s)"
    assert AgentSettings.of({"heartbeat_timeout": 59, "request_timeout": 60}).heartbeat_timeout


def test_a_backoff_so_long_that_the_window_could_never_fill_is_refused() -> None:
    text = refusal(
        ValueError,
        intensity=Intensity(restarts=3, period=10.0),
        backoff=Backoff(initial=5.0, cap=60.0, jitter=False),
    )
    assert text == (
        "4 restarts take 35 s by their backoff alone, so that they can never fall into 10 s: "
        "shorten the backoff or lengthen intensity.period"
    )


@pytest.mark.parametrize(
    ("period", "jitter", "fits"),
    # The second, third and fourth restart wait 1, 2 and 4 s, or half of that on average.
    [(7.0, False, True), (6.99, False, False), (3.5, True, True), (3.49, True, False)],
)
def test_a_backoff_fits_as_long_as_its_delays_do(period: float, jitter: bool, fits: bool) -> None:
    given = {
        "intensity": Intensity(3, period),
        "backoff": Backoff(initial=1.0, factor=2.0, cap=60.0, jitter=jitter),
    }
    if fits:
        assert AgentSettings.of(given).backoff == given["backoff"]
    else:
        assert "can never fall into" in refusal(ValueError, **given)


@pytest.mark.parametrize("restarts", [0, 1, 3, 100, 10**6])
@pytest.mark.parametrize("period", [0.001, 1.0, 3600.0])
def test_without_a_backoff_of_its_own_an_agent_gets_one_that_fits(
    restarts: int, period: float
) -> None:
    settings = AgentSettings.of({"intensity": Intensity(restarts, period)})
    settings.intensity.check_against(settings.backoff)
    assert settings.backoff.cap <= Backoff().cap


def test_a_child_whose_backoff_does_not_fit_its_group_is_refused() -> None:
    orch = AgentOrchestrator()
    orch.add_agent("root", dict, intensity=Intensity(2, 1.0))
    with pytest.raises(ValueError, match="agent 'leaf' in the group of 'root': 3 restarts take"):
        orch.add_child("leaf", "root", dict, backoff=Backoff(initial=9.0))
    assert orch.names() == ["root"]


def test_a_top_level_agent_has_nobody_to_be_linked_to() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(ValueError, match="link='stop': agent 'a' has no parent to link to"):
        orch.add_agent("a", dict, link="stop")
    assert len(orch) == 0


@pytest.mark.parametrize("given", [{"max_restart": 3}, {"retries": -1}, {"backoff": "1s"}])
def test_a_refused_registration_changes_nothing(given: dict[str, Any]) -> None:
    orch = AgentOrchestrator()
    with pytest.raises((TypeError, ValueError)):
        orch.add_agent("a", dict, **given)
    assert len(orch) == 0


# ---- the parts


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"initial": -1}, "backoff.initial must not be negative, and -1 is"),
        ({"initial": "soon"}, "backoff.initial: 'soon' is not a duration"),
        ({"cap": 0.05}, "backoff.cap (0.05 s) is shorter than backoff.initial (0.1 s)"),
        ({"factor": 0.5}, "backoff.factor must be 1 or more, not 0.5"),
        ({"factor": math.nan}, "backoff.factor must be 1 or more, not nan"),
        ({"factor": math.inf}, "backoff.factor must be 1 or more, not inf"),
        ({"factor": "2"}, "backoff.factor must be a number, not str"),
        ({"jitter": 1}, "backoff.jitter must be bool, not int"),
        ({"reset_after": None}, "backoff.reset_after must be a duration, not NoneType"),
    ],
)
def test_a_backoff_is_checked(given: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Backoff(**given)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((-1, 5.0), "intensity.restarts must be 0 or more, not -1"),
        ((1.5, 5.0), "intensity.restarts must be a whole number, not float"),
        ((1, 0), "intensity.period must be more than 0 s"),
        ((1, "soon"), "intensity.period: 'soon' is not a duration"),
    ],
)
def test_an_intensity_is_checked(given: tuple[Any, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Intensity(*given)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Shutdown)])
def test_every_time_of_a_shutdown_is_a_duration(name: str) -> None:
    assert getattr(Shutdown(**{name: "500ms"}), name) == 0.5
    with pytest.raises(ValueError, match=f"shutdown.{name} must not be negative"):
        Shutdown(**{name: -1})


# ---- durations, sizes, counts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("7", 7.0),
        (" 1.5 s ", 1.5), (3, 3.0), (0.25, 0.25), (0, 0.0),
        ("1h30m", 5400.0), ("1.5h", 5400.0), ("2d", 172800.0), ("1h 30m", 5400.0),
        ("1d12h", 129600.0), ("1m30s500ms", 90.5),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_text(text: Any, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "s", "5 minutes", "1e3", "-1s", "5s5", "½s", "1:30", "1h30", "30m1h", "1h1h"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"grace: .* is not a duration; write 30, '30s', '5m'"):
        seconds(text, "grace")


@pytest.mark.parametrize("value", [-0.1, math.nan, -math.inf])
def test_a_duration_is_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        seconds(value)


@pytest.mark.parametrize("value", [math.inf, 1e10, 10**400, "9" * 400, "99999999h"], ids=range(5))
def test_a_duration_beyond_the_clocks_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout is longer than the clocks allow"):
        seconds(value, "timeout")


@pytest.mark.parametrize("value", [None, True, b"5s", [5]])
def test_a_duration_is_of_no_other_type(value: Any) -> None:
    with pytest.raises(TypeError, match="duration must be a duration, not"):
        seconds(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1K", 1024), ("1k", 1024), ("512M", 512 << 20), ("2G", 2 << 30), ("1T", 1 << 40),
        ("1.5K", 1536), ("64KiB", 65536), ("64 KB", 65536), (" 8 ", 8), (4096, 4096),
    ],
)  # fmt: skip
def test_a_size_is_bytes_or_text(text: Any, value: int) -> None:
    assert size_in_bytes(text) == value


@pytest.mark.parametrize("text", ["", "M", "5X", "-1M", "1 000", "1e6"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"memory: .* is not a size; write 1048576, '512M' or '2G'"
    ):
        size_in_bytes(text, "memory")


@pytest.mark.parametrize("value", [2**63, 10**400, "9" * 400, "99999999T"], ids=range(4))
def test_a_size_beyond_any_memory_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="size is more than any memory"):
        size_in_bytes(value)


def test_a_size_that_rounds_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0 bytes"):
        size_in_bytes("0.1")


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_a_count_is_a_whole_number(value: Any) -> None:
    with pytest.raises(TypeError, match="copies must be a whole number, not"):
        whole(value, "copies")


def test_a_count_has_a_least_value() -> None:
    assert whole(1, "copies", least=1) == 1
    with pytest.raises(ValueError, match="copies must be 1 or more, not 0"):
        whole(0, "copies", least=1)


def test_the_docs_show_the_settings_as_they_are() -> None:
    shown = (Path(__file__).parents[2] / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert shown == settings_page.page(), (
        "docs/reference/settings.md is what `python -m procorch.supervision.settings_page` prints"
    )


def test_every_setting_has_a_keyword_a_check_and_a_default() -> None:
    assert list(FIELDS) == list(AgentSettings.__struct_fields__)
    assert set(get_type_hints(Settings)) == set(FIELDS)


def test_output_goes_to_a_word_or_to_a_file(tmp_path: Path) -> None:
    assert AgentSettings.of({"output": "capture"}).output == "capture"
    assert AgentSettings.of({"output": tmp_path / "log"}).output == str(tmp_path / "log")
    assert AgentSettings.of({"output": Path("log")}).output == "./log"
    assert AgentSettings.of({"output": "./log"}).output == "./log"


def test_output_to_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"output='captur'.*'capture'.*a file is given as a Path"):
        AgentSettings.of({"output": "captur"})
    with pytest.raises(TypeError, match="output must be a word or a path, not int"):
        AgentSettings.of({"output": 3})
    with pytest.raises(ValueError, match="cannot be a path"):
        AgentSettings.of({"output": "./a\0b"})


def test_a_folder_is_a_path(tmp_path: Path) -> None:
    assert AgentSettings.of({"cwd": tmp_path}).cwd == str(tmp_path)
    with pytest.raises(TypeError, match="cwd must be a path, not int"):
        AgentSettings.of({"cwd": 3})


def test_memory_is_weighed_exactly_from_where_it_may_matter() -> None:
    assert AgentSettings.of({}).weighed_above is None
    assert AgentSettings.of({"max_memory": 1000, "recycle_jitter": 0.1}).weighed_above == 900


def test_a_backoff_can_be_pickled() -> None:
    backoff = Backoff(initial=1, cap=5, jitter=False, floor=0.5)
    assert pickle.loads(pickle.dumps(backoff)) == backoff


def test_the_module_prints_the_page_of_the_docs() -> None:
    command = [sys.executable, "-m", "procorch.supervision.settings_page"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = Path(__file__).parents[2] / "docs/reference/settings.md"
    assert printed == shown.read_text(encoding="utf-8")
