"""Reading a configuration: what it may say, and all its errors at once."""

from __future__ import annotations

import grp
import os
import pickle
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from procorch import Backoff, Budget, Intensity, Shutdown, Throttle
from procorch.daemon.code_files import code_of, must_be_safe
from procorch.daemon.config import safe_files
from procorch.daemon.config.loading import load
from procorch.daemon.errors import ConfigErrors, rebuild
from procorch.daemon.specs import Config, HistorySettings, LogSettings, ReadyCheck

AGENT = '[agents.a]\nfactory = "app:a"\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes files below a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def written(text: str, name: str = "procorch.toml", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return written


def errors(path: Path | None = None) -> list[str]:
    """The lines that a user sees."""
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    assert str(caught.value).splitlines() == [str(each) for each in caught.value.problems]
    return str(caught.value).splitlines()


def only_error(path: Path | None = None) -> str:
    found = errors(path)
    assert len(found) == 1, found
    return found[0]


def agent(text: str, write: Callable[..., Path]) -> Any:
    """The agent ``a`` with more keys."""
    write(AGENT + text)
    return load(None).get("a")


# ---- what it may say


def test_an_example_with_everything(write: Callable[..., Path], tmp_path: Path) -> None:
    write("KEY=from-file\n", ".env")
    write("secret-value\n", "key")
    write("def make(): ...\n", "critic.py")
    write(
        """
[daemon]
dir = "state"
drain_timeout = "10s"
exit_when = "any_failed"
[daemon.log]
format = "text"
max_size = "1M"
max_age = false
total = "10M"
keep = "1d"
[daemon.history]
keep = "2d"
max_size = "8M"
exits = 5

[defaults]
max_restarts = 9
request_timeout = "1m"
env = { LEVEL = "info", MODEL = "none" }
group = "all"

[agents.solver]
factory = "app.agents:solver"
instances = 2
preload = ["app.agents"]
restart = "permanent"
request_timeout = false
backoff = { initial = "1s", cap = 20 }
intensity = { restarts = 5, period = "10m" }
shutdown = { grace = "2s" }
throttle = { retries = 2, longest = "1m" }
budget = { day = 20, request = "200k tokens" }
memory_limit = "1G"
cpus = "0"
replace = "start_first"
env_file = ".env"
env = { MODEL = "small" }
secrets = { API_KEY = "file:key", OTHER = "env:OTHER", C = "credential:c" }
after = { index = "ready", init = "completed" }
on_failure = "app.hooks:notify"
revive = "10m"
group = "brains"

[agents.solver.agents.critic]
factory = "critic.py:make"
link = "stop"

[agents.solver.services.index]
run = "app.index:main"
says_ready = true
heartbeat_timeout = "30s"

[agents.lint]
command = ["ruff", "check", "{path}"]
input = "json"
output = "jsonl"

[services.init]
command = ["true"]
restart = "transient"
autostart = false

[services.redis]
command = ["redis-server", "--port", "7001"]
ready = { port = 7001 }
"""
    )
    with pytest.raises(ConfigErrors, match=r"solver -> index -> solver"):
        load(None)
    text = Path("procorch.toml").read_text(encoding="utf-8")
    write(text.replace('index = "ready", ', ""))
    found = load(None)

    assert found.file == tmp_path / "procorch.toml"
    assert found.files == (found.file,)
    assert found.folder == tmp_path
    assert found.daemon.dir == tmp_path / "state"
    assert found.daemon.drain_timeout == 10
    assert found.daemon.exit_when == "any_failed"
    assert found.daemon.log == LogSettings(
        format="text", max_size=1 << 20, max_age=None, total=10 << 20, keep=86400
    )
    assert found.daemon.history == HistorySettings(keep=2 * 86400, max_size=8 << 20, exits=5)
    assert [(each.name, each.kind, each.parent) for each in found.agents] == [
        ("solver", "agent", None),
        ("critic", "agent", "solver"),
        ("index", "service", "solver"),
        ("lint", "command", None),
        ("init", "program", None),
        ("redis", "program", None),
    ]
    solver, critic, index, lint, init, redis = found.agents
    assert solver.place == "procorch.toml:23"
    assert solver.factory == "app.agents:solver"
    assert solver.instances == 2
    assert solver.preload == ("app.agents",)
    assert solver.settings == {
        "max_restarts": 9,
        "request_timeout": None,
        "restart": "permanent",
        "backoff": Backoff(initial=1, cap=20),
        "intensity": Intensity(5, 600),
        "shutdown": Shutdown(grace=2),
        "throttle": Throttle(2, 60),
        "budget": Budget(day=20, request="200k tokens"),
        "memory_limit": 1 << 30,
        "cpus": (0,),
        "cwd": str(tmp_path),
    }
    assert solver.replace == "start_first"
    assert solver.env == {"LEVEL": "info", "MODEL": "small"}
    assert solver.env_file == tmp_path / ".env"
    assert solver.secrets == {
        "API_KEY": "file:key", "OTHER": "env:OTHER", "C": "credential:c",
    }  # fmt: skip
    assert solver.after == {"init": "completed"}
    assert solver.on_failure == "app.hooks:notify"
    assert solver.revive == 600
    assert solver.group == "brains"
    assert critic.factory == "critic.py:make"
    assert critic.group == "all"
    assert critic.settings["request_timeout"] == 60
    assert index.factory == "app.index:main"
    assert index.says_ready
    assert index.settings == {
        "max_restarts": 9, "heartbeat_timeout": 30, "cwd": str(tmp_path),
    }  # fmt: skip
    assert not index.answers
    assert lint.command == ("ruff", "check", "{path}")
    assert (lint.input, lint.output) == ("json", "jsonl")
    assert not init.autostart
    assert redis.ready == ReadyCheck(port=7001)
    assert redis.command == ("redis-server", "--port", "7001")
    assert found.warnings == (
        "procorch.toml:40: 'solver' waits for 'init', which has autostart = false",
    )


def test_defaults_without_any_key(write: Callable[..., Path], tmp_path: Path) -> None:
    found = agent("", write)
    assert (found.instances, found.output, found.autostart) == (1, "text", True)
    daemon = load(None).daemon
    assert daemon.dir == tmp_path / ".procorch"
    assert (daemon.drain_timeout, daemon.exit_when) == (25.0, "never")
    assert (daemon.log, daemon.history) == (LogSettings(), HistorySettings())


def test_a_section_of_pyproject(write: Callable[..., Path], tmp_path: Path) -> None:
    write('[project]\nname = "x"\n[tool.procorch.agents.a]\nfactory = "app:a"\n', "pyproject.toml")
    found = load(None, folder=tmp_path)
    assert found.file == tmp_path / "pyproject.toml"
    assert [each.place for each in found.agents] == ["pyproject.toml:3"]
    write("[tool.procorch.agents.b]\nfactory = 3\n", "pyproject.toml")
    assert only_error() == "pyproject.toml:2: agents.b.factory: factory must be text, not a number"
    write(AGENT)
    assert load(None).file == tmp_path / "procorch.toml"


def test_a_folder_without_a_configuration(write: Callable[..., Path], tmp_path: Path) -> None:
    text = "it has no procorch.toml, and no pyproject.toml with [tool.procorch]"
    assert only_error() == f"{tmp_path}: {text}: procorch init makes one"
    path = write('[project]\nname = "x"\n', "pyproject.toml")
    assert only_error() == f"{tmp_path}: {text}: procorch init makes one"
    assert only_error(path) == "pyproject.toml: it has no table [tool.procorch]"
    write("[tool.procorch\n", "pyproject.toml")
    assert only_error().startswith("pyproject.toml:1: Expected ']'")
    assert only_error(Path("no.toml")) == f"no.toml: there is no file '{tmp_path}/no.toml'"


def test_files_are_included_in_order(write: Callable[..., Path], tmp_path: Path) -> None:
    write('include = ["agents/*.toml", "more.toml"]\n[defaults]\nretries = 4\n' + AGENT)
    write('[agents.z]\nfactory = "app:z"\nafter = { m = "ready" }\n', "agents/2.toml")
    write('[agents.y]\nfactory = "app:y"\n', "agents/1.toml")
    write('include = ["agents/1.toml"]\n[agents.m]\nfactory = "app:m"\n', "more.toml")
    found = load(None)
    assert [each.name for each in found.agents] == ["a", "y", "z", "m"]
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [
        "procorch.toml", "agents/1.toml", "agents/2.toml", "more.toml",
    ]  # fmt: skip
    assert {each.settings["retries"] for each in found.agents} == {4}


def test_a_configuration_without_agents_is_allowed(write: Callable[..., Path]) -> None:
    write("")
    found = load(None)
    assert found.agents == ()
    assert found.warnings == ("procorch.toml: there is no agent: write a table [agents.NAME]",)


def test_a_child_may_have_what_its_own_table_says_of_env(write: Callable[..., Path]) -> None:
    write(
        '[defaults]\nsecrets = { TOKEN = "env:T", KEY = "env:K" }\n'
        + AGENT
        + 'env = { TOKEN = "none" }\n'
    )
    found = load(None).agents[0]
    assert found.env == {"TOKEN": "none"}
    assert found.secrets == {"KEY": "env:K"}


def test_defaults_leave_out_what_a_kind_does_not_have(write: Callable[..., Path]) -> None:
    write(
        '[defaults]\nrequest_timeout = "1m"\nheartbeat_timeout = "5s"\npreload = ["app"]\n'
        '[services.s]\nrun = "app:run"\n[services.p]\ncommand = ["true"]\n'
    )
    service, program = load(None).agents
    assert "request_timeout" not in service.settings
    assert service.settings["heartbeat_timeout"] == 5
    assert service.preload == ("app",)
    assert "heartbeat_timeout" not in program.settings
    assert program.preload == ()


# ---- errors


MANY = """\
incude = ["x"]
[daemon]
dir = 3
drain_timout = "25s"
exit_when = "any_faild"
http = "127.0.0.1:7117"
log = { format = "xml", max_size = "10 apples" }
[schedules.nightly]
cron = "0 3 * * *"
[agents.solver]
factory = "app.agents.solver"
max_restarts = -1
restart = "permanant"
instances = "2"
inbox = "durable"
# two in one table
backoff = { cp = "1s", factor = 0.5, initial = "a while" }
env = { PORT = 7001 }
after = { indx = "ready", lint = "done" }
secrets = { OPENAI_API_KEY = "sk-proj-0123456789" }
[agents.solver.agents.critic]
factory = "critic.py:make"
significant = true
restart = "permanent"
[agents.lint]
command = "ruff check"
output = "yaml"
[agents."a b"]
command = ["true"]
[agents.both]
factory = "app:both"
command = ["true"]
[agents.neither]
group = "*"
[services.index]
run = "app.index:main"
max_requests = 3
[services.redis]
command = ["redis-server", "{port}"]
ready = { port = 7001, line = "ready" }
[services.lint]
command = ["true"]
[agents.child]
factory = "app:child"
link = "stop"
"""


def test_all_errors_are_reported_at_once_with_their_lines(write: Callable[..., Path]) -> None:
    path = write(MANY)
    assert errors() == [
        "procorch.toml:" + each
        for each in (
            "1: incude: unknown key; did you mean 'include'?",
            "3: daemon.dir: dir must be text, not a number",
            "4: daemon.drain_timout: unknown key; did you mean 'drain_timeout'?",
            "5: daemon.exit_when: exit_when must be 'never' or 'any_failed' or 'all_ended', "
            "not 'any_faild'; did you mean 'any_failed'?",
            "6: daemon.http: not there yet: this version has no HTTP; leave it out",
            "7: daemon.log.format: format must be 'json' or 'text', not 'xml'",
            "7: daemon.log.max_size: max_size: '10 apples' is not a size; write 1048576, '512M' "
            "or '2G'",
            "8: schedules: not there yet: this version has no schedules; leave it out",
            "11: agents.solver.factory: 'app.agents.solver' names no function: write "
            "'package.module:name' or 'path/to/file.py:name'",
            "12: agents.solver.max_restarts: max_restarts must be 0 or more, not -1",
            "13: agents.solver.restart: restart='permanant'; did you mean 'permanent'?",
            "14: agents.solver.instances: instances must be a whole number, not str",
            "15: agents.solver.inbox: not there yet: this version has no durable inbox; leave it "
            "out",
            "17: agents.solver.backoff.cp: unknown key; did you mean 'cap'?",
            "17: agents.solver.backoff.initial: initial: 'a while' is not a duration; write 30, "
            "'30s', '5m' or '1h30m'",
            '18: agents.solver.env.PORT: must be text, not a number: write PORT = "..."',
            "19: agents.solver.after.lint: lint must be 'ready' or 'completed', not 'done'",
            "19: agents.solver.after.indx: there is no agent 'indx'; did you mean 'index'?",
            '20: agents.solver.secrets.OPENAI_API_KEY: must be a reference, "file:PATH", '
            '"env:NAME" or "credential:NAME"; secrets themselves do not belong here',
            "22: agents.solver.agents.critic.factory: there is no file 'critic.py' in "
            f"'{path.parent}'",
            '26: agents.lint.command: command must be an array such as ["grep", "{word}"], not '
            "text: no shell splits it",
            "27: agents.lint.output: output must be 'text' or 'json' or 'jsonl', not 'yaml'",
            "28: agents.'a b': 'a b' cannot be a name: use letters, digits, '_', '-' and '.', do "
            "not begin with '-' or '.', and use at most 100 characters",
            "32: agents.both.command: not together with factory: one of the two makes it",
            "33: agents.neither: factory or command is missing",
            "34: agents.neither.group: '*' cannot be a name: use letters, digits, '_', '-' and "
            "'.', do not begin with '-' or '.', and use at most 100 characters",
            "37: services.index.max_requests: not for services with a function, but for agents",
            "39: services.redis.command: a service runs without a request, so there is nothing "
            "for {port}; a brace of the program's own is written twice",
            "40: services.redis.ready: must have one of port, http, line, after",
            "41: services.lint: the name 'lint' is taken: names are unique, see procorch.toml:25",
            "43: agents.child: link='stop': it has no parent to link to",
        )
    ]


def test_the_errors_can_be_pickled(write: Callable[..., Path]) -> None:
    write("x = 1")
    with pytest.raises(ConfigErrors) as caught:
        load(None)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("max_restarts = 2\nrestart = 'temporary'", "a temporary agent is never restarted"),
        ("significant = true\nrestart = 'permanent'", "a permanent agent never ends by itself"),
        (
            "heartbeat_timeout = '2m'\nrequest_timeout = '1m'",
            "heartbeat_timeout (120 s) never comes before request_timeout (60 s)",
        ),
        (
            "intensity = { restarts = 5, period = '1s' }\nbackoff = { initial = '5s' }",
            "6 restarts take",
        ),
        ("cpus = '5000'", "cpus: this program may not use processor 5000"),
    ],
)
def test_settings_that_contradict_each_other(
    write: Callable[..., Path], more: str, error: str
) -> None:
    write(AGENT + more)
    found = only_error()
    assert found.startswith("procorch.toml:1: agents.a: ")
    assert error in found


def test_a_child_whose_backoff_is_too_long_for_its_parent(write: Callable[..., Path]) -> None:
    write(
        AGENT + "intensity = { restarts = 3, period = '1s' }\n"
        '[agents.a.agents.b]\nfactory = "app:b"\nbackoff = { initial = "5s" }\n'
    )
    assert only_error().startswith("procorch.toml:4: agents.a.agents.b: in the group of its parent")


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("backoff = 3", "2: agents.a.backoff: must be a table, not a number"),
        ("backoff = { factr = 2 }", "agents.a.backoff.factr: unknown key; did you mean 'factor'?"),
        ("backoff = { factor = 0.5 }", "agents.a.backoff: backoff.factor must be 1 or more"),
        ("intensity = { restarts = 3 }", "agents.a.intensity: period is missing"),
        ("budget = { day = 'lots' }", "agents.a.budget.day: day: 'lots' is no budget"),
        ("throttle = { retries = -1 }", "agents.a.throttle.retries: retries must be 0 or more"),
        ("shutdown = { grace = '-1s' }", "agents.a.shutdown.grace: grace: '-1s' is not a duration"),
        ("memory_limit = 'much'", "agents.a.memory_limit: memory_limit: 'much' is not a size"),
        ("restart = false", "agents.a.restart: restart=False; known: permanent, transient"),
        ("significant = 1", "agents.a.significant: significant must be true or false, not a num"),
        ("env = ['A=1']", "agents.a.env: must be a table of names and text, not an array"),
        ("env = { 'A=B' = '1' }", "agents.a.env.'A=B': 'A=B' cannot be the name of a variable"),
        ("env = { A = '1' }\nsecrets = { A = 'env:A' }", "agents.a.secrets.A: it is in env, too"),
        ("preload = ['my-app']", "agents.a.preload: preload: 'my-app' is not the name of a module"),
        ("factory = 'app/a:b'", "'app/a' is no module: write 'app/a.py:b'"),
        ("on_failure = 'notify'", "agents.a.on_failure: 'notify' names no function"),
        ("cwd = 'nowhere'", "agents.a.cwd: there is no folder 'nowhere'"),
        ("env_file = 'no.env'", "agents.a.env_file: there is no file"),
        ("secrets = { K = 'file:no' }", "agents.a.secrets.K: there is no file"),
        ("secrets = { K = 'credential:../k' }", "agents.a.secrets.K: a credential has a name, and"),
        ("run = 'app:run'", "agents.a.run: not for agents with a factory, but for services with a"),
        ("output = './log'", "agents.a.output: not for agents with a factory, but for agents with"),
        ("limit = 'openai'", "agents.a.limit: not there yet: this version has no limits that agen"),
        ("limits = { per_minute = 3 }", "agents.a.limits: not there yet"),
        ("after = 'b'", "agents.a.after: must be a table of names and"),
        ("after = { a = 'ready' }", "agents.a.after.a: agents wait for each other in a circle: a"),
        ("group = ''", "agents.a.group: group must not be empty"),
        ("group = 3", "agents.a.group: group must be text, not a number"),
        ("backoff = { factor = 'x' }", "backoff.factor: factor must be a number, not text"),
        ("preload = 'app'", "agents.a.preload: preload must be an array of text, not text"),
        ("preload = [3]", "agents.a.preload: an element of preload must be text, not a number"),
        ('env = { A = "a\\u0000b" }', "agents.a.env.A: must not have a NUL character"),
        ("secrets = { K = 3 }", "agents.a.secrets.K: must be a reference"),
        ("secrets = { K = 'env:A=B' }", "agents.a.secrets.K: 'A=B' cannot be the name of a vari"),
        ("factory = 'my-app:make'", "'my-app' is not the name of a module, such as 'app.agents'"),
        ("factory = 'no/where/app.py:make'", "there is no file 'no/where/app.py'"),
        ("instances = 0", "agents.a.instances: instances must be 1 or more, not 0"),
        ("revive = '0s'", "agents.a.revive: revive must be more than 0 s"),
        ("max_age = 1979-05-27", "agents.a.max_age: max_age must be a duration, not date"),
    ],
)
def test_a_wrong_value(write: Callable[..., Path], more: str, error: str) -> None:
    text = AGENT + more
    if more.startswith("factory"):
        text = f"[agents.a]\n{more}"
    write(text)
    assert error.removeprefix("2: ") in only_error()


@pytest.mark.parametrize(
    ("ready", "error"),
    [
        ("{ }", "services.p.ready: must have one of port, http, line, after"),
        ("{ port = 70000 }", "services.p.ready.port: port must be from 1 to 65535, not 70000"),
        ("{ line = '(' }", "services.p.ready.line: line: '(' is not a regular expression"),
        ("{ http = 'localhost' }", "services.p.ready.http: http: 'localhost' is not a URL"),
        ("{ after = 3, host = 'x' }", "services.p.ready: host belongs to port"),
        ("true", "services.p.ready: must be a table, not true or false"),
    ],
)
def test_a_wrong_ready_check(write: Callable[..., Path], ready: str, error: str) -> None:
    write(f'[services.p]\ncommand = ["true"]\nready = {ready}\n')
    assert error in only_error()


def test_agents_that_wait_in_a_circle(write: Callable[..., Path]) -> None:
    names = ("a", "b", "c")
    for name, other in zip(names, ("b", "c", "a"), strict=True):
        more = f'[agents.{name}]\nfactory = "app:{name}"\nafter = {{ {other} = "ready" }}\n'
        write(more, f"agents/{name}.toml")
    write('include = ["agents/*"]\n')
    assert only_error() == (
        "agents/a.toml:3: agents.a.after.b: agents wait for each other in a circle: "
        "a -> b -> c -> a"
    )


def test_what_never_completes_is_not_waited_for(write: Callable[..., Path]) -> None:
    write(AGENT + 'after = { s = "completed" }\n[services.s]\nrun = "app:run"\n')
    error = "agents.a.after.s: 's' never completes: its restart is \"permanent\""
    assert only_error() == f"procorch.toml:3: {error}"
    write(AGENT + '[agents.a.agents.b]\nfactory = "app:b"\nafter = { a = "completed" }\n')
    error = "agents.a.agents.b.after.a: it ends with this agent, which is above it"
    assert only_error() == f"procorch.toml:5: {error}"


def test_tables_that_are_none(write: Callable[..., Path]) -> None:
    write('agents = 3\ndaemon = "x"\ndefaults = []\n[services]\nrun = "app:run"\n')
    assert errors() == [
        "procorch.toml:1: agents: must be a table of tables, [agents.NAME], not a number",
        "procorch.toml:2: daemon: must be a table, not text",
        "procorch.toml:3: defaults: must be a table, not an array",
        "procorch.toml:5: services.run: must be a table, not text",
    ]


def test_tables_for_all_belong_into_the_first_file(write: Callable[..., Path]) -> None:
    write('include = ["b.toml"]\n')
    write("\n[daemon]\n[defaults]\n", "b.toml")
    assert errors() == [
        "b.toml:2: daemon: it belongs into procorch.toml: it holds for all",
        "b.toml:3: defaults: it belongs into procorch.toml: it holds for all",
    ]


def test_defaults_are_checked_once(write: Callable[..., Path]) -> None:
    write(
        '[defaults]\nfactory = "app:a"\nretries = -1\nretris = 3\non_failure = "app"\n'
        'inbox = "durable"\n[agents.x]\nfactory = "app:x"\n[agents.y]\nfactory = "app:y"\n'
    )
    assert errors() == [
        "procorch.toml:2: defaults.factory: each agent has its own: write it into [agents.NAME]",
        "procorch.toml:3: defaults.retries: retries must be 0 or more, not -1",
        "procorch.toml:4: defaults.retris: unknown key; did you mean 'retries'?",
        "procorch.toml:5: defaults.on_failure: 'app' names no function: write "
        "'package.module:name' or 'path/to/file.py:name'",
        "procorch.toml:6: defaults.inbox: not there yet: this version has no durable inbox; leave "
        "it out",
    ]


def test_a_client_has_the_text_of_the_errors(write: Callable[..., Path]) -> None:
    write("x = 1")
    with pytest.raises(ConfigErrors) as caught:
        load(None)
    again = rebuild("ConfigErrors", str(caught.value), ConfigErrors.code)
    assert isinstance(again, ConfigErrors)
    assert (str(again), again.code, again.problems) == (str(caught.value), 2, ())


def test_a_path_may_begin_in_the_folder_of_the_user(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    write("A=1", "home/.env")
    found = agent('env_file = "~/.env"\ncwd = "~"\n[daemon]\ndir = "~/state"\n', write)
    assert found.env_file == tmp_path / "home/.env"
    assert found.settings["cwd"] == str(tmp_path / "home")
    assert load(None).daemon.dir == tmp_path / "home/state"


# ---- files


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\n[agents.a\n", "procorch.toml:2: Expected ']' at the end of a table declaration"),
        (b"a = 1\na = 2\n", "procorch.toml:2: Cannot overwrite a value (column 6)"),
        (b"\n\nx = [1,\n", "procorch.toml:3: "),
        (b"a = 1\n# \xff\n", "procorch.toml:2: it is not UTF-8"),
        (b"a = " + b"9" * 5000, "procorch.toml:1: Exceeds the limit"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "procorch.toml: its arrays or tables are nested"),
        (b"#" * (1 << 20) + b"\n", "procorch.toml: it is larger than 1024 KiB"),
    ],
)
def test_text_that_is_not_toml(write: Callable[..., Path], data: bytes, error: str) -> None:
    write("").write_bytes(data)
    assert only_error().startswith(error)


def test_errors_of_all_files_are_reported_and_unknown_names_are_then_unsure(
    write: Callable[..., Path],
) -> None:
    write('include = ["*/x.toml", "no.toml"]\n' + AGENT + 'after = { q = "ready" }\nenv = 3\n')
    write("[agents.q\n", "b/x.toml")
    write("[agents.r]\nfactory = 1\n", "c/x.toml")
    found = errors()
    assert [each.split(": ")[0] for each in found] == [
        "procorch.toml:1", "procorch.toml:5", "c/x.toml:2", "b/x.toml:1",
    ]  # fmt: skip


def test_files_that_include_each_other(write: Callable[..., Path]) -> None:
    write('include = ["b.toml"]\n')
    write('include = ["procorch.toml"]\n', "b.toml")
    assert only_error() == (
        "b.toml:1: include: files include each other in a circle: "
        "procorch.toml -> b.toml -> procorch.toml"
    )


@pytest.mark.parametrize(
    ("mode", "advice"), [(0o602, "chmod o-w"), (0o606, "chmod o-w"), (0o640, ""), (0o444, "")]
)
def test_files_that_others_may_write_to_are_refused(
    write: Callable[..., Path], mode: int, advice: str
) -> None:
    path = write(AGENT, mode=mode)
    if not advice:
        assert load(None).agents
        return
    assert only_error() == f"procorch.toml: others may write to it: {advice} {path}"


def test_files_of_a_group_are_refused_unless_it_is_that_of_the_user_alone(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(AGENT, mode=0o620)
    gid = path.stat().st_gid
    monkeypatch.setattr(os, "getgid", lambda: gid + 1)
    assert only_error() == f"procorch.toml: others may write to it: chmod go-w {path}"


@pytest.mark.parametrize(
    ("group", "members", "others", "private"),
    [
        ("ada", [], [], True),
        ("ada", ["ada"], [], True),
        ("work", ["ada"], [], True),
        ("ada", ["eve"], [], False),  # a member
        ("ada", [], ["eve"], False),  # whose first group it is
        ("users", [], [], False),  # of a directory that lists nobody
    ],
)
def test_a_group_of_the_user_alone_may_write(
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    members: list[str],
    others: list[str],
    private: bool,
) -> None:
    gid = write(AGENT, mode=0o660).stat().st_gid

    def user(name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_name=name, pw_gid=gid)

    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user("ada"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [user("ada"), *map(user, others)])
    found = SimpleNamespace(gr_name=group, gr_mem=members)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: found)
    if private:
        assert load(None).agents
    else:
        assert "others may write to it: chmod go-w" in only_error()


def test_files_of_other_users_are_refused(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(AGENT)
    if path.stat().st_uid == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "it belongs to another user" in only_error()
    assert f"chown {os.geteuid()} {path}" in only_error()


def test_all_files_that_the_user_names_must_be_safe(write: Callable[..., Path]) -> None:
    write('include = ["b.toml"]\n' + AGENT + 'env_file = ".env"\nsecrets = { KEY = "file:key" }\n')
    for name in ("b.toml", ".env", "key"):
        write("", name, mode=0o666)
    found = errors()
    assert [each.split(": ")[0] for each in found] == [
        "procorch.toml:4", "procorch.toml:5", "b.toml",
    ]  # fmt: skip
    assert all("others may write to it: chmod o-w" in each for each in found)


def test_a_file_in_a_folder_in_which_others_could_replace_it_is_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    write(AGENT, "open/inner/procorch.toml")
    folder.chmod(0o777)
    assert only_error(Path("open/inner/procorch.toml")) == (
        f"open/inner/procorch.toml: others may write to the folder {folder}, and so replace what "
        f"is in it: chmod o-w {folder}"
    )
    folder.chmod(0o1777)  # as /tmp: only owners replace files
    assert load(Path("open/inner/procorch.toml")).agents


def test_code_that_others_could_change_is_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write('[agents.one]\nfactory = "code:make"\n[agents.two]\nfactory = "code:make"\n')
    write("from package import helper\n", "code.py")
    package = write("", "package/__init__.py").parent
    helper = write("", "package/helper.py", mode=0o666)
    package.chmod(0o777)
    specs = load(None).agents
    codes = {spec.name: code_of(spec) for spec in specs}
    with pytest.raises(ConfigErrors) as raised:
        must_be_safe(specs, codes)
    assert sorted(str(raised.value).splitlines()) == [
        f"procorch.toml:1: one: its code {package}/__init__.py: others may write to the folder "
        f"{package}, and so replace what is in it: chmod o-w {package}",
        f"procorch.toml:1: one: its code {helper}: others may write to it: chmod o-w {helper}",
    ]
    helper.chmod(0o644)
    package.chmod(0o755)
    must_be_safe(specs, codes)


def test_a_file_may_be_a_link(write: Callable[..., Path], tmp_path: Path) -> None:
    write(AGENT, "there/real.toml")
    (tmp_path / "procorch.toml").symlink_to("there/real.toml")
    found = load(None)
    assert found.file == tmp_path / "procorch.toml"
    assert found.agents[0].settings["cwd"] == str(tmp_path)


def test_what_is_no_file_is_refused_at_once(write: Callable[..., Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    assert only_error(Path("fifo.toml")) == "fifo.toml: it is no regular file"
    assert only_error(tmp_path) == ".: it is a folder"
    unreadable = write(AGENT, mode=0)
    if os.geteuid() != 0:
        assert only_error(unreadable) == "procorch.toml: it cannot be read: permission denied"


def _during_read(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    read = os.read

    def slow_read(fd: int, size: int) -> bytes:
        if stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
            action()
        return read(fd, size)

    monkeypatch.setattr(safe_files.os, "read", slow_read)
    monkeypatch.setattr(safe_files, "_PAUSE", 0.0)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("[agents.a]\n")
    texts = ["", AGENT]

    def change() -> None:
        if texts:
            path.write_text(texts.pop(0), encoding="utf-8")

    _during_read(monkeypatch, change)
    assert [each.name for each in load(None).agents] == ["a"]


def test_a_file_that_changes_all_the_time_is_an_error(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(AGENT)

    def change() -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write("#\n")

    _during_read(monkeypatch, change)
    assert only_error().startswith("procorch.toml: it changes while it is read")


def test_code_of_the_user_is_never_imported(write: Callable[..., Path], tmp_path: Path) -> None:
    write("raise SystemExit('imported')\n", "app.py")
    write('[agents.a]\nfactory = "app.py:a"\n[agents.b]\nfactory = "app:b"\npreload = ["app"]\n')
    assert isinstance(load(None), Config)


def test_the_name_of_the_daemons_own_log_is_no_name_of_an_agent(tmp_path: Path) -> None:
    (tmp_path / "procorch.toml").write_text('[agents.daemon]\nfactory = "agents:echo"\n')
    with pytest.raises(ConfigErrors, match="'daemon' cannot be a name: the daemon's own log"):
        load(None, folder=tmp_path)
