"""The verbs of ``procorch``: name, one line of help, and the module that is imported on use.

Verbs of a daemon live in `procorch.cli.daemon`; where several are alike, one module has them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

SECTIONS: dict[str, dict[str, str]] = {
    "Batches": {
        "batch": "Run every item of an input on crash-isolated agents, durably.",
        "export": "Print the outcomes of a batch as JSON lines, CSV, Parquet or a joblog.",
        "merge": "Put the journals of several parts of a batch together.",
        "runs": "List the batches that there are.",
        "show": "Tell what became of a batch, or of one of its items.",
    },
    "Conversations": {
        "conversations": "List the conversations of a file, print one or forget one.",
    },
    "Measuring and trying": {
        "bench": "Measure agents, functions and programs: wall and cpu time, peak memory, start.",
        "demo": "Evaluate the 164 problems of HumanEval, four of the candidates hostile.",
    },
    "The daemon": {
        "init": "Write a commented procorch.toml and an agent that works.",
        "check": "Check the configuration file and print all its errors.",
        "up": "Start the daemon, in the foreground or with -d in the background.",
        "down": "End the daemon; what runs finishes first.",
        "reload": "Read the configuration again and apply what has changed.",
        "rollback": "Return to the release before the last reload.",
        "wait": "Wait until agents are ready.",
        "events": "Print what has happened, and with -f what happens.",
        "disk": "Tell what the daemon's folder takes up.",
        "prune": "Remove logs and history that are beyond their limits.",
        "doctor": "Tell what this machine offers to a daemon.",
        "systemd-unit": "Print a systemd unit for the daemon.",
    },
    "Agents of the daemon": {
        "status": "Show the agents and how they are.",
        "top": "Show the agents live, with keys to restart, stop and read logs.",
        "describe": "Tell everything about one agent: settings, last exits, last events.",
        "start": "Start agents that do not run.",
        "stop": "Stop agents; they stay stopped until start or reload.",
        "restart": "Replace the processes of agents, one by one.",
        "scale": "Change the number of instances of agents.",
        "pause": "Let agents begin no further request; requests wait.",
        "resume": "Let paused agents begin requests again.",
        "reset": "Start agents that have failed again, their restarts not counted.",
        "send": "Send a request to an agent and print its answer.",
        "cancel": "Cancel a request.",
        "stack": "Print where the code of an agent is now.",
        "logs": "Print the output of agents.",
    },
    "Shell": {
        "completion": "Print the completion script of a shell.",
    },
}
"""The lists of ``procorch --help``."""

VERBS = {name: text for section in SECTIONS.values() for name, text in section.items()}
"""All of them."""

_OF_THE_DAEMON = {*SECTIONS["The daemon"], *SECTIONS["Agents of the daemon"]}
_FAMILIES = {
    **dict.fromkeys(("start", "stop", "restart", "pause", "resume", "reset"), "actions"),
    **dict.fromkeys(("reload", "rollback"), "releases"),
    **dict.fromkeys(("disk", "prune"), "folder"),
}


def load(name: str) -> click.Command:
    """The verb of that name, whose module is imported now."""
    from importlib import import_module

    if name not in _OF_THE_DAEMON:
        command: click.Command = import_module(f"procorch.cli.{name}").command
        return command
    if name in _FAMILIES:
        family: dict[str, click.Command] = import_module(
            f"procorch.cli.daemon.{_FAMILIES[name]}"
        ).COMMANDS
        return family[name]
    single: click.Command = import_module(f"procorch.cli.daemon.{name.replace('-', '_')}").command
    return single
