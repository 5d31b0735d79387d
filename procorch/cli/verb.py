"""What all verbs have in common: their variables, the command that repeats them, their streams.

Every option has a variable with the name of its verb, ``PROCORCH_BATCH_OUT``, so that what is meant
for one verb does not reach another. Names without a verb (version 0.1) work until 0.3 where one
verb alone can have meant them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import Any

import click
from click.core import ParameterSource

from procorch.cli import streams

_PREFIX = "PROCORCH_"
_OLD = {
    "batch": "APP IN RETRIES RETRY_ON ALLOWED_FAILURES PREFETCH HALT RETRY_FAILED REDO "
    "ACCEPT_CHANGES KEEP_ORDER DRY_RUN SHUFFLE SEED SHARD ID WATCH",
    "bench": "REQUEST REQUESTS WARMUP WARM COMPARE MARKDOWN EXPORT_JSON",
    "completion": "SHELL",
    "demo": "MODEL",
    "export": "FAILED",
    "runs": "FOLDER",
    "show": "ITEM CHECK",
}
"""Names of 0.1 that one verb alone had."""
_AMBIGUOUS = frozenset(
    ("FORMAT", "JSON", "LIMIT", "MEMORY", "OUT", "RESUME", "RUN", "RUNS", "TIMEOUT", "WORKERS")
)
"""Names of 0.1 that several verbs had."""
_SHARED = frozenset(("START_METHOD", "DIR"))
"""Names that are read with or without a verb: the library's, and where the daemon is."""


class Verb(click.Command):
    """A verb of `procorch`; what its parameters are called in the environment follows from it."""

    separates: bool = True
    """Standard output is kept for the data that the verb prints, see `streams`."""

    def __init__(self, *args: Any, **known: Any) -> None:
        super().__init__(*args, **known)
        assert self.name is not None
        self._names = {each: word for each in self.params if (word := _word(each)) is not None}
        for param, word in self._names.items():
            own = self._variable(word)
            param.envvar = [own, _PREFIX + word] if word in _SHARED else own
            if isinstance(param, click.Option):
                param.show_envvar = True

    def _variable(self, word: str) -> str:
        return f"{_PREFIX}{str(self.name).upper().replace('-', '_')}_{word}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        ctx.meta["words"] = list(args)
        if not ctx.resilient_parsing:  # a shell that completes reads no warnings
            for param, word in self._names.items():
                self._read_old_name(param, word)
        return super().parse_args(ctx, args)

    def _read_old_name(self, param: click.Parameter, word: str) -> None:
        old, own = _PREFIX + word, self._variable(word)
        if not os.environ.get(old) or os.environ.get(own):
            return
        if word in _OLD.get(str(self.name), "").split():
            streams.note(f"procorch: {old} is called {own} now; the old name works until 0.3")
            param.envvar = [own, old]
        elif word in _AMBIGUOUS:
            streams.note(f"procorch: {old} is not read: several verbs have it; set {own}")

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        with streams.separated() if self.separates else contextlib.nullcontext():
            return super().invoke(ctx)


def again(*without: str) -> str:
    """The command that does what this one does, in any environment.

    Args:
        without: flags that are left out.
    """
    ctx = click.get_current_context()
    options: list[str] = []
    arguments: list[str] = []
    for param in ctx.command.params:
        if ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT:
            found = _from_environment(ctx, param)
            (options if isinstance(param, click.Option) else arguments).extend(found)
    # A flag may stand behind it, so arguments behind `--` are written in a way that needs none.
    words: list[str] = ctx.meta["words"]
    if "--" in words:
        end = words.index("--")
        words = [*words[:end], *map(_plain, words[end + 1 :])]
    kept = [each for each in [*options, *words, *arguments] if each not in without]
    return shlex.join(["procorch", str(ctx.command.name), *kept])


def _plain(argument: str) -> str:
    return f"./{argument}" if argument.startswith("-") and argument != "-" else argument


def _from_environment(ctx: click.Context, param: click.Parameter) -> list[str]:
    text = param.resolve_envvar_value(ctx) or ""
    if isinstance(param, click.Argument):
        return [text] if param.nargs == 1 else list(param.type.split_envvar_value(text))
    flag = max(param.opts, key=len)
    if isinstance(param, click.Option) and param.is_flag:
        return [flag] if ctx.params[str(param.name)] else []
    if param.nargs != 1:
        return [flag, *param.type.split_envvar_value(text)]
    values = param.type.split_envvar_value(text) if param.multiple else [text]
    return [word for value in values for word in _pair(flag, value)]


def _pair(flag: str, value: str) -> list[str]:
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def _word(param: click.Parameter) -> str | None:
    """What the parameter is called in the environment, without the verb; None: nothing."""
    if isinstance(param, click.Option):
        if not param.expose_value:
            return None
        return max(param.opts, key=len).removeprefix("--").upper().replace("-", "_")
    if not isinstance(param.envvar, str):
        return None
    return param.envvar.removeprefix(_PREFIX)
