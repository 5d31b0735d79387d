"""Secrets: read when an agent starts, given to it in its environment, and hidden everywhere else.

A configuration has references only. `environment` reads what they refer to; what it has read is
known to a `Redactor`, which hides it in all that is printed, logged or sent.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from procorch.daemon.config import safe_files
from procorch.daemon.config.env_file import parse
from procorch.daemon.errors import FileRefused, SecretError
from procorch.daemon.specs import AgentSpec
from procorch.errors.redaction import HIDDEN, is_secret_name

_MOST = 64 << 10
"""Bytes of a secret: the kernel takes not much more in one variable."""
_MOST_OF_FILE = 1 << 20
_SHORTEST = 8
"""Characters from which on a secret is hidden: a shorter one may be any word."""
_REMEMBERED = 8
"""Values of one secret that are hidden: old processes have old ones."""


def environment(spec: AgentSpec, folder: Path, redactor: Redactor | None = None) -> dict[str, str]:
    """The variables of an agent as they are now: of ``env_file``, of ``env``, and its secrets.

    Args:
        spec: the agent.
        folder: of the configuration; relative paths of secrets begin there.
        redactor: is told of the secrets, and of variables of ``env_file`` whose names say that they
            are secret.

    Raises:
        SecretError: ``env_file`` or a secret cannot be read. It names the agent and the reference.
    """
    of_file: Mapping[str, str] = {}
    if spec.env_file is not None:
        try:
            of_file = read_env_file(spec.env_file)
        except FileRefused as error:
            raise SecretError(spec.name, f"env_file {spec.env_file}", str(error)) from None
    secrets = {}
    for name, reference in spec.secrets.items():
        try:
            secrets[name] = read_secret(reference, folder)
        except FileRefused as error:
            raise SecretError(spec.name, f"secret {name} ({reference})", str(error)) from None
    if redactor is not None:
        hidden = {name: value for name, value in of_file.items() if is_secret_name(name)}
        for name, value in (hidden | secrets).items():
            redactor.learn(f"{spec.name}:{name}", value)
    return {**of_file, **spec.env, **secrets}


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of an environment file.

    Raises:
        FileRefused: it cannot be read, is not safe, or has a line of another form.
    """
    try:
        return parse(safe_files.read(path, _MOST_OF_FILE).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FileRefused("it is not UTF-8") from None
    except ValueError as error:
        raise FileRefused(str(error)) from None


def read_secret(reference: str, folder: Path) -> str:
    """The value of a secret; one line's end at the end of a file does not belong to it.

    Raises:
        FileRefused: there is none, or its file is not safe.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        value = os.environ.get(rest)
        if value is None:
            raise FileRefused(f"the daemon's environment has no variable {rest}")
    else:
        value = _text_of(_file_of(scheme, rest, folder))
    if not value:
        raise FileRefused("it is empty")
    return value


def _file_of(scheme: str, rest: str, folder: Path) -> Path:
    if scheme == "file":
        return safe_files.located(folder, rest)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if not credentials:
        raise FileRefused(
            "CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit with LoadCredential="
        )
    return Path(credentials, rest)


def _text_of(path: Path) -> str:
    try:
        text = safe_files.read(path, _MOST).decode()
    except UnicodeDecodeError:
        raise FileRefused("it is not UTF-8") from None
    if "\0" in text:
        raise FileRefused("it has a NUL character, which no variable can have")
    return text.removesuffix("\n").removesuffix("\r")


class Redactor:
    """Replaces the secrets that it knows by ``***``; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, deque[str]] = {}
        self._texts: tuple[str, ...] = ()
        self._bytes: tuple[bytes, ...] = ()

    def learn(self, name: str, value: str) -> None:
        """Hide a secret from now on. Values of less than 8 characters are not hidden. Of a value
        with several lines, each line is.

        Args:
            name: whose it is: the last few values of one name are remembered.
        """
        with self._lock:
            values = self._known.setdefault(name, deque(maxlen=_REMEMBERED))
            if value in values:
                return
            values.append(value)
            self._texts = tuple(_parts(each for known in self._known.values() for each in known))
            self._bytes = tuple(each.encode("utf-8", "surrogateescape") for each in self._texts)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for value in self._texts:
            if value in text:
                text = text.replace(value, HIDDEN)
        return text

    def mask_bytes(self, data: bytes) -> bytes:
        """The bytes without secrets, as UTF-8 has them."""
        for value in self._bytes:
            if value in data:
                data = data.replace(value, HIDDEN.encode())
        return data


def _parts(values: Iterable[str]) -> list[str]:
    """What is hidden, the longest first: one may be a part of another."""
    found: set[str] = set()
    for value in values:
        for part in {each.strip() for each in (value, *value.splitlines())}:
            if len(part) >= _SHORTEST:
                found.update((part, *_quoted(part)))
    return sorted(found, key=len, reverse=True)


def _quoted(value: str) -> Iterator[str]:
    """What becomes of a secret in the `repr` of a text and in JSON, without the quotes.

    `repr` escapes a single quote only where there is a double one, too. Another text around the
    secret may have the double one.
    """
    yield repr(value)[1:-1]
    yield repr(f"{value}'\"")[1:-4]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
