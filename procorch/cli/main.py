"""The command ``procorch``: finds the verb, runs it, and turns what happens into an exit code.

A verb's module is imported when the verb is used, so that ``procorch --help`` is as quick as the
interpreter and click allow.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from procorch import __version__
from procorch.cli import signals, streams
from procorch.cli.exits import ExitCode
from procorch.cli.verbs import SECTIONS, VERBS, load

_COMPLETE = "_PROCORCH_COMPLETE"
"""Set by the script of `procorch completion`."""


class Verbs(click.Group):
    """A group that imports a verb when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; None for an unknown verb."""
        return load(cmd_name) if cmd_name in VERBS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The lists in ``--help``, from the table alone."""
        width = max(map(len, VERBS))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown verb, with the nearest name there is."""
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from procorch.errors.texts import did_you_mean

            ctx.fail(f"No such command {name!r}{did_you_mean(name, VERBS, listed='there is')}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every option has an environment variable PROCORCH_VERB_...; its help names it.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def group() -> None:
    """Supervised agents, each in its own operating system process."""


def _start_in_lost_folder() -> None:
    """Begin anew where Python cannot go on: 3.13.0 with ``-c`` or ``-m`` in a deleted folder.

    It fails to import modules of its own then, unless it is told not to look for them there.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        try:
            import socket  # noqa: F401
        except SystemError:
            os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the arguments; None: those of this process.

    Returns:
        The exit code, see `procorch.cli.exits`.

    Raises:
        SystemExit: with code 1, by click, when whoever reads our output has had enough.
    """
    if args is None:
        _start_in_lost_folder()
    if _COMPLETE in os.environ:
        from procorch.cli import shells

        shells.register()
    try:
        with signals.raised():
            code: Any = group.main(
                args, prog_name="procorch", complete_var=_COMPLETE, standalone_mode=False
            )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FileNotFoundError as error:
        if "temporary directory" not in str(error):
            raise
        streams.note(f"Error: {error.strerror}: is the disk full? TMPDIR names another folder")
        return ExitCode.USAGE
    except click.Abort as abort:  # click's word for Ctrl-C, after it has ended the line
        streams.note("procorch: interrupted")
        return signals.exit_code(abort.__cause__)
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_shortage(error):
            raise
        streams.note(
            "Error: the system grants no more memory, processes or threads; look at `ulimit -v` "
            f"and `ulimit -u`: {str(error) or type(error).__name__}"
        )
        return ExitCode.USAGE
    return code if isinstance(code, int) else 0


def _is_shortage(error: MemoryError | RuntimeError | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOMEM, errno.EAGAIN)
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)


if __name__ == "__main__":
    sys.exit(main())
