"""``procorch check``: the errors of the configuration, without a daemon."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procorch.cli import streams
from procorch.cli.daemon import form
from procorch.cli.daemon.link import folder_option, json_option
from procorch.cli.daemon.places import config_file, file_option
from procorch.cli.exits import ExitCode
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from procorch.daemon.specs import Kind

_KINDS: tuple[Kind, ...] = ("agent", "command", "service", "program")


@click.command("check", cls=Verb)
@file_option
@folder_option
@json_option()
def command(file: Path | None, folder: Path | None, as_json: bool) -> int:
    """Check the configuration file and print all its errors.

    Each error has its file and line. It needs no daemon, touches none, and imports no code of
    yours. The exit code is 2 when there are errors.
    """
    from procorch.daemon.code_files import code_of, must_be_safe
    from procorch.daemon.config import loading as config
    from procorch.daemon.errors import ConfigErrors

    path = config_file(file, folder)
    try:
        found = config.load(path)
        with contextlib.chdir(found.folder):
            codes = {spec.name: code_of(spec) for spec in found.agents}
        must_be_safe(found.agents, codes)
    except ConfigErrors as error:
        if as_json:
            problems = [
                {"file": each.file, "line": each.line, "key": each.key, "text": each.text}
                for each in error.problems
            ]
            form.emit_json({"config": str(path), "valid": False, "errors": problems})
        else:
            streams.emit(str(error))
            streams.note(form.counted(len(error.problems), "error"))
        return ExitCode.USAGE
    counts = Counter(each.kind for each in found.agents)
    if as_json:
        kinds = {kind: counts[kind] for kind in _KINDS}
        form.emit_json({"config": str(path), "valid": True, "errors": [], "agents": kinds})
    else:
        words = [form.counted(counts[kind], kind) for kind in _KINDS if counts[kind]]
        streams.emit(f"{found.file}: {', '.join(words) or 'no agents'}; no errors")
    return ExitCode.DONE
