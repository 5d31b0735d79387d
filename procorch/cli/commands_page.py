"""Makes the two pages of commands from the commands themselves.

``python -m procorch.cli.commands_page`` prints ``docs/reference/daemon-commands.md``, and with the
argument ``commands`` ``docs/reference/commands.md``; a test compares them. `commands_json` has the
part about ``--json``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator

import click

from procorch.cli import commands_json, exits, verbs

_OF_THE_DAEMON = ("The daemon", "Agents of the daemon")
_HEAD = """# Commands of the daemon

All commands that start a daemon or talk to one, with their options.
[The daemon](../explanation/daemon.md) explains what they are about,
[Your first daemon](../tutorials/first-daemon.md) shows them at work.
`procorch VERB --help` prints the same.

- **Which daemon**: the one of the current folder, or of the first folder above it with a
  `procorch.toml`. `-C DIR` names another one.
- **Names** of agents may be patterns, in quotes because of the shell: `'solver*'`. `'GROUP:*'`
  means all agents of a group. A name that is not there is an error with the nearest name.
- **Durations** are `500ms`, `30s`, `5m`, `1h30m`; a number alone is seconds.
- **Output**: the data goes to standard output, everything else to standard error.
- **Variables**: each option has one with the name of its verb, `PROCORCH_STATUS_JSON`.
  `PROCORCH_DIR` is `-C` for all of them.
- **Completion** of verbs, options, agents and groups: `procorch completion bash` (or zsh, fish).

## Exit codes

| code | meaning |
| --- | --- |
| 0 | It was done. |
| 1 | It was not done, or not for all agents; a request has failed; `--check` found something. |
| 2 | Wrong usage, or a configuration with errors; nothing was begun. |
| 3 | No daemon runs there. |
| 4 | There is no agent, or no request, of that name. |
| 6 | What was waited for did not happen in time. |
| 7 | The daemon is there, but does not answer. |
| 130 | Ctrl-C. |
"""

_OTHER_HEAD = """# Commands

All commands that need no daemon, with their options, and what the exit codes of all commands mean.
[Commands of the daemon](daemon-commands.md) has the others. `procorch VERB --help` prints the same.

- **Agents**: `package.module:factory` or `path/to/file.py:factory` names one.
- **Durations** are `500ms`, `30s`, `5m`, `1h30m`; a number alone is seconds. **Sizes** are `512M`,
  `2G`; a number alone is bytes.
- **Output**: the data goes to standard output, everything else to standard error. Colours follow
  `NO_COLOR` and `FORCE_COLOR`.
- **Variables**: each option has one with the name of its verb, `PROCORCH_BATCH_OUT`. The option on
  the command line goes before the variable, and the variable before the default.
"""


def page() -> str:
    """The page of the commands of a daemon, as Markdown."""
    return "".join([_HEAD, *_sections(_OF_THE_DAEMON), commands_json.TEXT])


def page_of_others() -> str:
    """The page of all other commands, and of all exit codes, as Markdown."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in exits.MEANINGS.items())
    table = f"\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n{codes}"
    others = [section for section in verbs.SECTIONS if section not in _OF_THE_DAEMON]
    return "".join([_OTHER_HEAD, table, *_sections(others)])


def _sections(names: Iterable[str]) -> Iterator[str]:
    for section in names:
        yield f"\n## {section}\n\n| command | what it does |\n| --- | --- |\n"
        for name, text in verbs.SECTIONS[section].items():
            yield f"| [`{name}`](#procorch-{name}) | {text} |\n"
        yield from map(_verb, verbs.SECTIONS[section])


def _verb(name: str) -> str:
    command = verbs.load(name)
    lines = ["", f"### procorch {name}", "", "```text", f"procorch {name} {_usage(command)}"]
    lines += ["```", "", *_paragraphs(command.help or ""), "| option | meaning |", "| --- | --- |"]
    lines += (_row(each) for each in command.params if isinstance(each, click.Option))
    return "\n".join(lines) + "\n"


def _usage(command: click.Command) -> str:
    return " ".join(command.collect_usage_pieces(click.Context(command)))


def _paragraphs(text: str) -> Iterator[str]:
    for each in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        yield _escaped(" ".join(each.split()))
        yield ""


def _row(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if not option.is_flag:
        names += f" {option.metavar or _kind(option)}"
    meaning = _escaped(" ".join((option.help or "").split()))
    if option.show_default and not option.is_flag:
        meaning += f" Default: `{option.default}`."
    return f"| `{names}` | {meaning} |"


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " or ".join(map(str, option.type.choices))
    return option.type.name.upper()


def _escaped(text: str) -> str:
    """Text without what Markdown would take for markup; names of options are code."""
    text = re.sub(r"([*|<>_])", r"\\\1", text)
    return re.sub(r"(?<![\w`'-])--[a-z]+(?:-[a-z]+)*", r"`\g<0>`", text)


if __name__ == "__main__":
    print(page_of_others() if sys.argv[1:] == ["commands"] else page(), end="")
