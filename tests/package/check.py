"""Checks built packages: ``python tests/package/check.py FOLDER`` has twine look at them, too.

The page of the package index is the description in the metadata, which nothing stands beside: each
of its links has to be whole. Prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import email.parser
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the wheel and the source archive in ``folder``, one text each."""
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        about = email.parser.Parser().parsestr(archive.read(metadata).decode("utf-8"))
    found = VERSION.search((ROOT / "procorch" / "__init__.py").read_text(encoding="utf-8"))
    if found is None or about["Version"] != found[1]:
        yield f"the wheel has version {about['Version']}, not that of procorch/__init__.py"
    for link in re.findall(r"\]\(([^)]+)\)", str(about.get_payload())):
        if not link.startswith(("https://", "#")):
            yield f"the description has the link {link}, which leads nowhere on the package index"
    if "procorch/py.typed" not in names:
        yield "the wheel has no procorch/py.typed"
    if beside := {name.split("/")[0] for name in names} - {"procorch", metadata.split("/")[0]}:
        yield f"the wheel has {beside} beside procorch"
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("LICENSE", "CHANGELOG.md", "CITATION.cff", "tox.ini", "tests/conftest.py"):
        if wanted not in inside:
            yield f"the source archive has no {wanted}"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    packages = sorted(map(str, folder.iterdir()))
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *packages], check=True)
    wrong = list(problems(folder))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
