"""Makes the page of all keys of a configuration from their tables.

``python -m procorch.daemon.config.keys_page`` prints it;
``docs/reference/daemon-settings.md`` is what it prints, which a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping

from procorch.daemon.config import own_keys
from procorch.daemon.config.keys import AGENT, DEFAULTS
from procorch.daemon.config.tables import ALL, Key
from procorch.daemon.config.value_text import text_of
from procorch.daemon.specs import Kind

_HEAD = """# Keys of procorch.toml

The daemon reads `procorch.toml`, or the table `[tool.procorch]` of `pyproject.toml`. `procorch
check` reports all its errors at once, each with its file and line.

```toml
[agents.solver]                 # answers requests
factory = "app.agents:solver"
instances = 2
request_timeout = "2m"

[agents.solver.agents.critic]   # a child: tables nest
factory = "app.agents:critic"

[agents.lint]                   # each request runs a program
command = ["ruff", "check", "{path}"]

[services.consumer]             # a function that never ends
run = "app.consumer:main"

[services.redis]                # a program that is kept alive
command = ["redis-server", "--port", "7001"]
ready = { port = 7001 }
```

- **Durations** are seconds, or text such as `"500ms"`, `"30s"`, `"1h30m"`. **Sizes** are bytes,
  or text such as `"512M"` (powers of 1024).
- **`false`** stands for none where the table says so: no limit, or no such thing.
- **Paths** are relative to the folder of the first file; `~/` is the user's folder.
- **Names** of agents and services are unique in the whole configuration. They have letters,
  digits, `_`, `-` and `.`.
- procorch expands nothing in values.

## Top of the file

"""
_CHILDREN = """
Tables of agents and services may have `agents` and `services` of their own: their children.
"""
_DAEMON = """
## `[daemon]`, `[daemon.log]`, `[daemon.history]`

A change of `dir` needs a restart of the daemon; all others apply at a reload.

"""
_AGENTS = """
## Agents and services

*For* says which tables have a key: **a**gents with a factory, agents with a **c**ommand,
**s**ervices with a function, **p**rograms (services with a command). A reload applies a change at
once (*live*), or replaces processes one by one (*rolling*). [Settings of an agent](settings.md)
says more about those that the library has.

"""
_DEFAULTS = """
`[defaults]` may have all of them but {names}.

## Files

The configuration, the files that it includes, `env_file` and files of secrets may be links. They
must belong to the user or to root, and nobody else may write to them; a group may if the user
alone is in it.

An `env_file` has lines `NAME=value` or `export NAME=value`, blank lines and comments (`#`). A
value in single quotes stands for itself; in double quotes, `\\n`, `\\r`, `\\t`, `\\"`, `\\\\`,
`\\$` and `` \\` `` are escapes. Both may go over several lines.

A secret is a reference. `"file:PATH"` is a file, without the line's end at its end. `"env:NAME"`
is a variable of the daemon. `"credential:NAME"` is a file in `$CREDENTIALS_DIRECTORY`, which
systemd sets for `LoadCredential=`. Values of 8 characters or more are `***` in all output and
in all logs.

## Not there yet

The daemon refuses these by name: {later}.
"""
_LETTERS: dict[Kind, str] = {"agent": "a", "command": "c", "service": "s", "program": "p"}


def page() -> str:
    """The page as Markdown."""
    return "".join(
        (
            _HEAD,
            _table(own_keys.TOP, ("key", "takes", "meaning")),
            _CHILDREN,
            _DAEMON,
            _table(own_keys.DAEMON, ("key", "takes", "default", "meaning")),
            _AGENTS,
            _table(AGENT, ("key", "takes", "default", "for", "change", "meaning")),
            _DEFAULTS.format(names=_own(), later=_later()),
        )
    )


def _table(keys: Mapping[str, Key], columns: tuple[str, ...]) -> str:
    lines = [_row(columns), _row(["---"] * len(columns))]
    for name, key in keys.items():
        lines += _rows(name, key, columns)
    return "\n".join(lines) + "\n"


def _rows(name: str, key: Key, columns: tuple[str, ...]) -> list[str]:
    """The row of a key, and those of the keys in its table."""
    cells = {
        "key": f"`{name}`",
        "takes": key.form + (", or `false`" if key.optional else ""),
        "default": _default(key),
        "for": "all" if key.kinds == ALL else ", ".join(_LETTERS[kind] for kind in key.kinds),
        "change": key.effect,
        "meaning": key.meaning,
    }
    rows = [_row([cells[column] for column in columns])]
    for field, inside in (key.fields or {}).items():
        cells |= {
            "key": f"`{name}.{field}`",
            "takes": inside.form + (", or `false`" if inside.optional else ""),
            "default": "required" if inside.required else _default(inside),
            "meaning": inside.meaning,
        }
        rows.append(_row([cells[column] for column in columns]))
    return rows


def _default(key: Key) -> str:
    if key.default in (None, {}, ()):
        return ""
    text = text_of(key.default, key)
    return "" if text == "{}" else f"`{text}`"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _own() -> str:
    return ", ".join(f"`{name}`" for name in AGENT if name not in DEFAULTS)


def _later() -> str:
    of_file = [f"`[{name}]`" for name in own_keys.LATER]
    of_daemon = [f"`daemon.{name}`" for name in own_keys.LATER_OF_DAEMON]
    of_agents = [f"`{name}` of agents" for name in own_keys.LATER_OF_AGENTS]
    *others, last = [*of_file, *of_daemon, *of_agents]
    return f"{', '.join(others)} and {last}"


if __name__ == "__main__":
    print(page(), end="")
