"""From the options of ``procorch bench`` to a session, and what it has kept in its file."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import click

from procorch.agents.argv_template import ArgvTemplate
from procorch.batch import output_file
from procorch.batch.errors import BatchError
from procorch.bench import Measurement
from procorch.bench.amounts import Amounts, until_precise
from procorch.bench.cases import distinct
from procorch.bench.commands import of_command
from procorch.bench.machine import read_cpus
from procorch.bench.process import Conditions
from procorch.bench.session import OnRun, Session
from procorch.bench.sweep import combine, read_parameters
from procorch.cli import streams
from procorch.cli.exits import Misconfigured

_PAUSE = 0.25
"""Seconds at least between two writes of the file while measuring."""


def session(given: dict[str, Any], named: Sequence[str | ArgvTemplate], on_run: OnRun) -> Session:
    """What the options ask for.

    Args:
        named: what is measured: apps and command lines.

    Raises:
        NotMeasurable, Misconfigured: they cannot be met.
    """
    requests = _requests(given["requests"], given["file"])
    params = read_parameters(given["params"])
    kind = "function" if given["function"] else ""
    cases = []
    for each in named:
        if isinstance(each, str):
            cases += combine([each], requests, params, given["pythons"], kind)
        else:
            cases += of_command(each, requests, params)
    cases = distinct(cases)
    conditions = Conditions(
        fast=given["fast"],
        timeout=given["timeout"],
        memory_limit=None if given["memory"] is None else int(given["memory"]),
        cpus=read_cpus(given["cpu"]) if given["cpu"] else (),
        stdout=2 if given["show_output"] else DEVNULL,
    )
    amounts = Amounts(
        runs=given["runs"],
        warmup=given["warmup"],
        processes=given["processes"] if given["warmup_calls"] else given["runs"],
        warmup_calls=given["warmup_calls"],
        loops=given["loops"] or 0,
        fresh=not given["warm"],
    )
    amounts = until_precise(amounts, given["until"], given["max_time"])
    found = Session(cases, amounts, conditions, on_run)
    if given["export_json"] is not None:
        if given["resume"]:
            found.resume(_earlier(given["export_json"], found))
        found.after_turn = _keeper(given["export_json"])
    return found


def _requests(given: Sequence[str], file: Path | None) -> list[str]:
    texts = list(given)
    if file is None:
        return texts
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                json.loads(line)
            except json.JSONDecodeError as error:
                raise Misconfigured(f"{file}:{number}: no JSON: {error}") from None
            texts.append(line)
    if not texts:
        raise Misconfigured(f"{file}: there are no requests in it")
    return texts


def check_writable(path: Path, sources: Sequence[Path]) -> None:
    """Refuse a file that cannot be written, before anything is measured.

    Args:
        sources: files that are read, and must not be overwritten.
    """
    try:
        output_file.refuse(path, sources)
        if path.exists():
            with path.open("ab"):
                pass
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except BatchError as error:
        raise Misconfigured(str(error)) from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Write the file whole or not at all, whatever ends this process."""
    try:
        with output_file.replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None


def _keeper(path: Path) -> Callable[[Session], None]:
    last, told = 0.0, False

    def keep(session: Session) -> None:
        nonlocal last, told
        if time.monotonic() - last < _PAUSE:
            return
        data = {"measurements": [each.to_dict() for each in session.measurements()]}
        try:
            write(path, json.dumps(data, indent=2) + "\n")
        except click.ClickException as error:  # the measurement goes on: there may be room later
            if not told:
                streams.note(error.message)
            told = True
        last = time.monotonic()

    return keep


def read(path: Path) -> list[Measurement]:
    """The measurements of a file that --export-json has written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        measurements = found.get("measurements") if isinstance(found, dict) else None
        if not isinstance(measurements, list):
            raise ValueError("there are no measurements in it")
        return [Measurement.from_dict(each) for each in measurements]
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Misconfigured(f"{path}: {error}") from error


def _earlier(path: Path, session: Session) -> dict[str, Measurement]:
    """The measurements that an interrupted command has left, if they are of this one."""
    if not path.exists():
        return {}
    earlier = {each.name: each for each in read(path)}
    plans = {case.name: session.plan(case) for case in session.cases}
    if set(earlier) != set(plans):
        names = ", ".join(earlier) or "nothing"
        raise Misconfigured(f"{path} is of another measurement ({names}): leave --resume out")
    for name, plan in plans.items():
        kept = earlier[name].plan
        if kept != plan:
            changed = [
                f"{field} was {getattr(kept, field)!r} and is {getattr(plan, field)!r}"
                for field in plan.__dataclass_fields__
                if getattr(kept, field, None) != getattr(plan, field)
            ]
            raise Misconfigured(f"{path}: {'; '.join(changed)}: leave --resume out to begin anew")
    return earlier
