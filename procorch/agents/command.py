"""Programs as agents: `procorch.command` makes a factory of a command line.

Each request runs the program once. The agent's own process stays: it fills in the command line,
starts the program without a shell, reads what it writes, and says how it has ended.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Self, TypeVar, overload

from procorch.agents.argv_template import ArgvTemplate
from procorch.agents.child_program import ChildProgram
from procorch.agents.current import installed
from procorch.agents.options import refusal
from procorch.agents.program_output import Form, ProgramOutput, Reading, UnreadableOutput
from procorch.agents.readiness import ReadyCheck
from procorch.agents.result_files import Named, ResultFiles
from procorch.errors import CommandCrashed, CommandFailed
from procorch.errors.redaction import redact
from procorch.errors.texts import did_you_mean, signal_name
from procorch.messages import AgentMessage
from procorch.units import seconds

Out = TypeVar("Out")
Input = Literal["text", "json"] | None
"""What a program gets on standard input; None: nothing."""
_INPUTS = ("text", "json", None)
_OUTPUTS = ("text", "json", "jsonl", "bytes", None)
_GRACE = 0.8
"""Less than `Shutdown.interrupt`: the program is gone before its agent's process is ended."""


@dataclass(frozen=True, slots=True)
class Command(Generic[Out]):
    """A factory of agents that run a program; made by `command`.

    Args:
        template: the command line.
        input: what the program gets on standard input.
        reading: how its standard output is read.
        grace: seconds from SIGTERM to SIGKILL.
        results: folder for files with the output of each item, in a batch.
        ready: when the program is ready, as a service.
    """

    template: ArgvTemplate
    input: Input
    reading: Reading
    grace: float
    results: str | None = None
    ready: ReadyCheck | None = None

    def __call__(self) -> Program[Out]:
        """Make the agent.

        Raises:
            StartError: permanent: the program is not installed.
        """
        try:
            return Program(self, find_program(self.template.program))
        except FileNotFoundError as error:
            raise refusal(str(error)) from None

    @property
    def name(self) -> str:
        """The name of the program's file."""
        return os.path.basename(self.template.program)

    @property
    def recipe(self) -> str:
        """What it does, as text: a batch goes on only with the same."""
        return (
            f"argv = {list(self.template.words)}\ninput = {self.input!r}\noutput = "
            f"{self.reading.form!r} ({self.reading.encoding}, {self.reading.errors})\n"
        )

    def check(self, request: Any) -> list[str]:
        """The command line for a request.

        Raises:
            UnknownField, CommandFailed: the request does not fit it.
        """
        argv = self.template.fill(request)
        self.stdin(request)
        return argv

    def stdin(self, request: Any) -> bytes | None:
        """What the program gets on standard input for a request."""
        if self.input is None:
            return None
        try:
            if self.input == "json":
                return (json.dumps(request, ensure_ascii=False) + "\n").encode()
            if isinstance(request, bytes):
                return request
            if isinstance(request, str):
                return request.encode(self.reading.encoding)
        except (TypeError, ValueError, RecursionError) as error:
            raise CommandFailed(
                reason=f"the request cannot be written to standard input: {error}"
            ) from None
        raise CommandFailed(
            reason="input='text' (--stdin text) takes requests that are text, not "
            f"{type(request).__name__}; input='json' (--stdin json) takes any"
        )

    def with_results(self, folder: str) -> Self:
        """The same, whose requests have names (`Named`), and whose outputs go to files, too."""
        return replace(self, results=folder)


class Program(Generic[Out]):
    """The agent: runs the program once for each request.

    Args:
        path: the file of the program.
    """

    def __init__(self, command: Command[Out], path: str) -> None:
        self._command = command
        self._path = path

    def handle(self, request: Any) -> Out:
        """Run the program for one request.

        Returns:
            Its standard output, as the command says.

        Raises:
            CommandFailed: it ended with another exit code than 0, could not be started, or wrote
                what cannot be read.
            CommandCrashed: a signal has ended it.
            UnknownField: the request lacks a field; nothing was started.
            MessageTooLarge: it wrote more than an answer may have.
        """
        command, files = self._command, None
        if isinstance(request, Named):
            if command.results is not None:
                files = ResultFiles(command.results, request.name)
            request = request.value
        request = _as_sent(request)
        with nullcontext() if files is None else closing(files):
            argv = command.template.fill(request)
            stdin = command.stdin(request)
            worker = installed()
            limit = None if worker is None else worker.max_message
            output = ProgramOutput(command.reading, limit, files, worker)
            shown = command.template.shown(argv)
            answered = False
            try:
                ended = self._run(argv, stdin, output)
                answer: Out = self._read(ended, output, shown)
                answered = True
                return answer
            except CommandFailed as error:
                error.command = shown
                error.stderr_tail = redact(output.stderr_tail)
                raise
            finally:
                if not answered:
                    output.leave()

    def _run(self, argv: list[str], stdin: bytes | None, output: ProgramOutput) -> tuple[int, int]:
        """Run it to its end; returns its exit code and its pid."""
        child = ChildProgram(self._path, argv, os.environ, stdin, output.take_out, output.take_err)
        try:
            _start(child)
            ended = child.run()
        except UnreadableOutput as error:
            raise CommandFailed(reason=str(error)) from None
        finally:
            child.end(self._command.grace)
        assert child.pid is not None
        worker = installed()
        if worker is not None:
            worker.count_child(ended.cpu_user, ended.cpu_system, ended.peak_rss)
        return ended.code, child.pid

    def _read(self, ended: tuple[int, int], output: ProgramOutput, shown: str) -> Any:
        code, pid = ended
        if code < 0:
            worker = installed()
            raise CommandCrashed(
                exitcode=code, signal=signal_name(-code), pid=pid, command=shown,
                generation=None if worker is None else worker.generation,
                request=None if worker is None else worker.request,
                stderr_tail=redact(output.stderr_tail),
            )  # fmt: skip
        if code:
            raise CommandFailed(code=code)
        try:
            return self._command.reading.read(output.stdout)
        except UnreadableOutput as error:
            raise CommandFailed(code=0, reason=str(error)) from None


def _start(child: ChildProgram) -> None:
    try:
        child.start()
    except OSError as error:
        why = _HINTS.get(error.errno or 0, error.strerror)
        raise CommandFailed(reason=f"it cannot be started: {why}") from None


_HINTS = {
    errno.E2BIG: "an argument is too long, or all are; standard input takes any length (input=)",
    errno.ENOEXEC: "it is no program for this machine, or a script without a first line such as "
    "#!/bin/sh",
}


def _as_sent(request: Any) -> Any:
    """A request as a program gets it: the messages of a conversation are their text."""
    if not isinstance(request, list) or not request:
        return request
    if not all(isinstance(each, AgentMessage) for each in request):
        return request
    return "\n".join(str(getattr(each, "text", "")) for each in request)


def find_program(program: str) -> str:
    """The file of a program, as a shell finds it.

    Raises:
        FileNotFoundError: there is none; the text says why.
    """
    path = shutil.which(program)
    if path is not None:
        return os.path.abspath(path)
    if "/" not in program:
        raise FileNotFoundError(
            f"the program {program!r} is not installed, or its folder is not in PATH"
        )
    if os.path.exists(program):
        raise FileNotFoundError(f"{program!r} is not executable: chmod +x makes it so")
    raise FileNotFoundError(f"there is no program {program!r} in {os.getcwd()!r}")


@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: Literal["text"] = ..., encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[str]: ...  # fmt: skip
@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: Literal["json"], encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[Any]: ...  # fmt: skip
@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: Literal["jsonl"], encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[list[Any]]: ...  # fmt: skip
@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: Literal["bytes"], encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[bytes]: ...  # fmt: skip
@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: None, encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[None]: ...  # fmt: skip
@overload
def command(
    argv: Sequence[str], *, input: Input = ..., output: Form, encoding: str = ...,
    errors: str = ..., grace: float | str = ..., ready: ReadyCheck | None = ...,
) -> Command[Any]: ...  # fmt: skip
def command(
    argv: Sequence[str],
    *,
    input: Input = None,
    output: Form = "text",
    encoding: str = "utf-8",
    errors: str = "strict",
    grace: float | str = _GRACE,
    ready: ReadyCheck | None = None,
) -> Command[Any]:
    """A factory of agents that run a program, once for each request.

    No shell is involved. The program inherits the agent's environment and folder (the settings
    ``env`` and ``cwd``). What it writes to standard error goes to the agent's own.

    Args:
        argv: the program and its arguments. ``{name}`` is a field of the request (a mapping, a
            dataclass, any object with attributes), ``{}`` the whole request, and so is ``{line}``
            of a request that is one value. ``{{`` and ``}}`` are braces. Text stands there as it
            is, anything else as JSON. The program itself has no fields.
        input: what the program gets on standard input: "text" (of a request that is text or
            bytes), "json" (any request, and a line's end), or None, nothing.
        output: what its standard output is: "text", "json" (one document), "jsonl" (a list, one
            value a line), "bytes", or None: it is dropped.
        encoding: of standard output, and of text on standard input.
        errors: what to do where the output is not in that encoding: "strict" fails the request,
            "replace" puts a mark there, and others that `bytes.decode` knows.
        grace: seconds from SIGTERM to SIGKILL for the program and its process group, when its
            request is cancelled or late. Where it is longer than ``Shutdown.interrupt`` (1 s), give
            the agent a longer one of those, too.
        ready: when the program is ready, for `AgentOrchestrator.add_service`; None: at once.

    Returns:
        The factory. A request fails with `CommandFailed` where the program ends with another exit
        code than 0, with `CommandCrashed` (an `AgentCrashed`) where a signal ends it, with
        `UnknownField` where it lacks a field. The agent lives on.

    Raises:
        TypeError, ValueError: the command line or another argument is wrong. That the program is
            not installed is a `StartError` when the agent is started.

    Example:
        >>> with AgentOrchestrator() as orch:
        ...     orch.add_agent("upper", command(["tr", "a-z", "A-Z"], input="text"))
        ...     print(orch.spawn("upper").submit("hello").result().output)
        HELLO
    """
    template = ArgvTemplate.parse(argv)
    _one_of("input", input, _INPUTS)
    _one_of("output", output, _OUTPUTS)
    try:
        codecs.lookup(encoding)
        codecs.lookup_error(errors)
    except LookupError as error:
        raise ValueError(str(error)) from None
    if ready is not None and not isinstance(ready, ReadyCheck):
        raise TypeError(f"ready must be a ReadyCheck(...), not {type(ready).__name__}")
    reading = Reading(output, encoding, errors)
    return Command(template, input, reading, seconds(grace, "grace"), ready=ready)


def _one_of(name: str, given: Any, known: tuple[str | None, ...]) -> None:
    if given not in known:
        words = [each for each in known if each is not None]
        hint = did_you_mean(str(given), words)
        raise ValueError(
            f"{name} must be {', '.join(map(repr, words))} or None, not {given!r}{hint}"
        )
