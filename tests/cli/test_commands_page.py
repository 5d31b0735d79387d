"""The page of the daemon's commands is made from the commands."""

from __future__ import annotations

from pathlib import Path

from procorch.cli import commands_page, exits, verbs

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGE = FOLDER / "daemon-commands.md"
OTHERS = FOLDER / "commands.md"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands_page.page(), (
        "docs/reference/daemon-commands.md is what `python -m procorch.cli.commands_page` prints"
    )


def test_the_page_of_other_commands_is_what_they_say() -> None:
    assert OTHERS.read_text(encoding="utf-8") == commands_page.page_of_others(), (
        "docs/reference/commands.md is what `python -m procorch.cli.commands_page commands` prints"
    )


def test_each_exit_code_has_its_meaning() -> None:
    assert list(exits.MEANINGS) == list(exits.ExitCode)


def test_the_pages_have_each_command_and_each_of_its_options() -> None:
    shown = PAGE.read_text(encoding="utf-8") + OTHERS.read_text(encoding="utf-8")
    for name in (name for section in verbs.SECTIONS.values() for name in section):
        section = shown.split(f"\n### procorch {name}\n")[1].split("\n### ")[0]
        for param in verbs.load(name).params:
            if param.param_type_name == "option":
                assert f"`{', '.join([*param.opts, *param.secondary_opts])}" in section
