"""Makes the settings page of the docs from the table of settings and their help texts.

``python -m procorch.supervision.settings_page`` prints it;
``docs/reference/settings.md`` is what it prints, which a test compares.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re

from procorch.supervision import keywords
from procorch.supervision.settings import FIELDS, AgentSettings

_HEAD = """# Settings of an agent

Keywords of `add_agent`, `add_child` and `start_child`, of `AgentPool` and `AgentExecutor`, and of
`run_batch` where it has no argument of that name. A wrong name, a wrong type, or a value that
is too large or small, is an error at once, with the nearest valid name. Labels such as N2 are
[rules](rules.md).

| setting | takes | default | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page as Markdown."""
    helps, defaults = _helps(), AgentSettings()
    rows = []
    for name, field in FIELDS.items():
        form = field.form + (", or None" if field.optional else "")
        default = _shown(getattr(defaults, name))
        rows.append(f"| `{name}` | {form} | {default} | {helps[name]} |")
    return _HEAD + "\n".join(rows) + "\n"


def _helps() -> dict[str, str]:
    """The help text of each keyword."""
    found = {}
    for each in ast.parse(inspect.getsource(keywords)).body:
        if isinstance(each, ast.ClassDef):
            for name, text in zip(each.body, each.body[1:], strict=False):
                if isinstance(name, ast.AnnAssign) and isinstance(text, ast.Expr):
                    words = " ".join(ast.literal_eval(text.value).split())
                    found[ast.unparse(name.target)] = re.sub(r"`+([^`]+)`+", r"`\1`", words)
    return found


def _shown(value: object) -> str:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return f"`{value!r}`"
    usual = type(value)()
    given = (
        f"{field.name}={getattr(value, field.name)!r}"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != getattr(usual, field.name)
    )
    return f"`{type(value).__name__}({', '.join(given)})`"


if __name__ == "__main__":
    print(page(), end="")
