"""Secrets, environment files, and what hides the values."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procorch.daemon.config.env_file import parse
from procorch.daemon.config.secrets import Redactor, environment
from procorch.daemon.errors import SecretError
from procorch.daemon.specs import AgentSpec


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def spec(**given: object) -> AgentSpec:
    return AgentSpec(name="solver", kind="agent", factory="app:a", **given)  # type: ignore[arg-type]


def refused(folder: Path, **given: object) -> str:
    with pytest.raises(SecretError) as caught:
        environment(spec(**given), folder)
    assert caught.value.agent == "solver"
    text = str(caught.value)
    assert text.startswith("agent 'solver': ")
    return text.removeprefix("agent 'solver': ")


def test_the_environment_of_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_DAEMON", "three")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    write(credentials / "db", "four\n")
    write(tmp_path / "key", "two\r\n")
    file = write(tmp_path / ".env", "A=file\nB=file\nC=file\n")
    found = environment(
        spec(
            env={"B": "one", "D": "100% $HOME"},
            env_file=file,
            secrets={"C": "file:key", "E": "env:OF_DAEMON", "F": "credential:db"},
        ),
        tmp_path,
    )
    assert found == {
        "A": "file", "B": "one", "C": "two", "D": "100% $HOME", "E": "three", "F": "four",
    }  # fmt: skip


def test_files_are_read_at_each_call(tmp_path: Path) -> None:
    agent = spec(env_file=tmp_path / ".env", secrets={"KEY": f"file:{tmp_path / 'key'}"})
    for text in ("one", "two"):
        write(tmp_path / ".env", f"A={text}")
        write(tmp_path / "key", text)
        assert environment(agent, Path("/")) == {"A": text, "KEY": text}


def test_secrets_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("NOT_SET", raising=False)
    write(tmp_path / "open", "very-secret", mode=0o646)
    write(tmp_path / "empty", "\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    write(tmp_path / "nul", "a\0b")
    write(tmp_path / "large", "x" * 70_000)
    for reference, why in {
        "file:no": f"there is no file '{tmp_path}/no'",
        "file:open": f"others may write to it: chmod o-w {tmp_path}/open",
        "file:empty": "it is empty",
        "file:binary": "it is not UTF-8",
        "file:nul": "it has a NUL character, which no variable can have",
        "file:large": "it is larger than 64 KiB",
        "file:.": "it is a folder",
        "env:NOT_SET": "the daemon's environment has no variable NOT_SET",
        "credential:db": "CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit with "
        "LoadCredential=",
    }.items():
        text = refused(tmp_path, secrets={"KEY": reference})
        assert text == f"secret KEY ({reference}): {why}"


def test_an_env_file_that_cannot_be_read_shows_no_value(tmp_path: Path) -> None:
    file = write(tmp_path / ".env", "A=1\nvery-secret\n")
    assert refused(tmp_path, env_file=file) == f"env_file {file}: line 2 is not NAME=value"
    file.unlink()
    assert refused(tmp_path, env_file=file) == f"env_file {file}: there is no file '{file}'"


# ---- environment files


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("# nothing\n\n   \n", {}),
        ("A=1", {"A": "1"}),
        ("export A=1\nexport\tB = 2 \n", {"A": "1", "B": "2"}),
        ("A=\nB=''\nC=\"\"\n", {"A": "", "B": "", "C": ""}),
        ("A=a b#c # comment\nB= # comment\nC='x' # comment", {"A": "a b#c", "B": "", "C": "x"}),
        ("A=1\r\nB=\"2\"\r\n", {"A": "1", "B": "2"}),
        ("A='$HOME %h \\n \"'", {"A": "$HOME %h \\n \""}),
        (r'A="$HOME %h \$ \" \\ \n\t \x"', {"A": '$HOME %h $ " \\ \n\t \\x'}),
        ("KEY=\"BEGIN\nabc=\nEND\"\nB='1\n2'", {"KEY": "BEGIN\nabc=\nEND", "B": "1\n2"}),
        ("A=it's\nB=a=b", {"A": "it's", "B": "a=b"}),
        ("A=1\nA=2", {"A": "2"}),
        ("a.b-c=1", {"a.b-c": "1"}),
    ],
)  # fmt: skip
def test_lines_of_an_environment_file(text: str, found: dict[str, str]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("A", "line 1 is not NAME=value"),
        ("\n\n1A=x", "line 3 is not NAME=value"),
        ("A=1\n=x", "line 2 is not NAME=value"),
        ("A=1\nB='secret\n\n", "line 2: its quote ' is never closed"),
        ('A="secret\\"', 'line 1: its quote " is never closed'),
        ("A='1' secret", "line 1: something follows the closing quote"),
        ("A='1'# secret", "line 1: something follows the closing quote"),
        ("A=se\0cret", "line 1: the value of A has a NUL character"),
    ],
)
def test_a_line_of_another_form_is_refused_without_its_value(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error) as caught:
        parse(text)
    assert "secret" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(max_size=20)))
def test_any_value_can_be_quoted(values: dict[str, str]) -> None:
    values = {name: value.replace("\0", "") for name, value in values.items()}
    lines = []
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name}="{escaped}"' if "'" in value else f"{name}='{value}'")
    assert parse("\n".join(lines)) == values


# ---- hiding


def test_secrets_are_hidden_in_text_and_bytes(tmp_path: Path) -> None:
    redactor = Redactor()
    write(tmp_path / "key", "secret-value-ä\n")
    file = write(tmp_path / ".env", "API_KEY=from-env-file\nMODEL=quite-small\n")
    environment(spec(env_file=file, secrets={"KEY": "file:key"}), tmp_path, redactor)
    text = "secret-value-ä and from-env-file of quite-small"
    assert redactor.mask(text) == "*** and *** of quite-small"
    assert redactor.mask_bytes(text.encode() + b"\xff") == b"*** and *** of quite-small\xff"


def test_short_secrets_are_not_hidden() -> None:
    redactor = Redactor()
    redactor.learn("a", "1234567")
    redactor.learn("b", "")
    assert redactor.mask("1234567") == "1234567"
    redactor.learn("c", "12345678")
    assert redactor.mask("12345678") == "***"


def test_the_longest_secret_is_hidden_first() -> None:
    redactor = Redactor()
    redactor.learn("a", "password")
    redactor.learn("b", "password-of-root")
    assert redactor.mask("password-of-root, password") == "***, ***"


def test_each_line_of_a_secret_is_hidden() -> None:
    redactor = Redactor()
    redactor.learn("key", "-----BEGIN KEY-----\nabcdefgh\nxyz\n")
    assert redactor.mask("it is abcdefgh\nxyz") == "it is ***\nxyz"


@pytest.mark.parametrize("secret", ["it's-mine", 'say-"it"-now', "both-'-and-\"", "C:\\new\\key-ä"])
def test_a_secret_is_hidden_as_repr_and_json_write_it(secret: str) -> None:
    redactor = Redactor()
    redactor.learn("key", secret)
    for around in ("", " it's", ' "quoted"', ' it\'s "quoted"'):
        text = f"<{secret}>{around}"
        for written in (text, repr(text), json.dumps(text), json.dumps(text, ensure_ascii=False)):
            assert "<***>" in redactor.mask(written)


def test_the_last_values_of_a_secret_stay_hidden() -> None:
    redactor = Redactor()
    for number in range(20):
        redactor.learn("token", f"token-number-{number:02}")
    assert redactor.mask("token-number-19, token-number-12") == "***, ***"
    assert redactor.mask("token-number-11") == "token-number-11"


def test_bytes_of_an_environment_that_are_no_text() -> None:
    redactor = Redactor()
    redactor.learn("a", os.fsdecode(b"secret-\xff-value"))
    assert redactor.mask_bytes(b"it is secret-\xff-value") == b"it is ***"


def test_secrets_are_learned_while_others_mask() -> None:
    redactor = Redactor()
    redactor.learn("first", "always-hidden")
    seen: set[str] = set()
    done = threading.Event()

    def mask() -> None:
        while not done.is_set():
            seen.add(redactor.mask("it is always-hidden"))

    threads = [threading.Thread(target=mask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(200):
        redactor.learn(f"name-{number % 50}", f"another-secret-{number}")
    done.set()
    for thread in threads:
        thread.join()
    assert seen <= {"it is ***"}
    assert redactor.mask("another-secret-199") == "***"
