"""Verbs that need no daemon: `init`, `check`, `doctor`, `systemd-unit`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.daemon import doctor, mounts, systemd_unit
from tests.cli.conftest import Ended

Call = Callable[..., Ended]


# ---- init and check


def test_what_init_writes_is_valid_and_works(call: Call, tmp_path: Path) -> None:
    ended = call("init", "app")
    assert (ended.code, ended.stdout) == (0, "app/procorch.toml\napp/agents.py\n")
    assert ended.stderr.splitlines()[1:] == [
        "Next:", "  cd app && procorch up -d", '  procorch send greeter "hello"',
        "  procorch status",
    ]  # fmt: skip
    checked = call("check", "-f", "app/procorch.toml")
    assert checked == Ended(0, f"{tmp_path}/app/procorch.toml: 1 agent; no errors\n", "")
    found: dict[str, object] = {}
    exec((tmp_path / "app/agents.py").read_text(), found)
    assert callable(found["greeter"])


def test_init_overwrites_nothing(call: Call, tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("mine")
    ended = call("init")
    assert ended == Ended(2, "", "Error: agents.py exists already; nothing was written\n")
    assert [each.name for each in tmp_path.iterdir()] == ["agents.py"]
    (tmp_path / "agents.py").unlink()
    assert json.loads(call("init", "--json").stdout) == {
        "schema": 1, "files": ["procorch.toml", "agents.py"],
        "next": ["procorch up -d", 'procorch send greeter "hello"', "procorch status"],
    }  # fmt: skip


def test_check_prints_every_error_with_its_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (tmp_path / "procorch.toml").write_text(
        '[agents.a]\nfactory = "a.py:b"\nmax_restart = 1\ninstances = -1\n'
    )
    ended = call("check")
    assert ended.code == 2
    assert ":3: agents.a.max_restart: " in ended.stdout
    assert ":4: agents.a.instances: " in ended.stdout
    assert ended.stderr == "2 errors\n"
    found = json.loads(call("check", "--json").stdout)
    assert (found["schema"], found["valid"]) == (1, False)
    assert [(each["line"], each["key"]) for each in found["errors"]] == [
        (3, "agents.a.max_restart"), (4, "agents.a.instances"),
    ]  # fmt: skip


def test_check_counts_what_it_has_found(call: Call, tmp_path: Path) -> None:
    (tmp_path / "procorch.toml").write_text(
        '[agents.a]\ncommand = ["true"]\n[services.b]\ncommand = ["true"]\n'
    )
    assert json.loads(call("check", "--json").stdout) == {
        "schema": 1, "config": str(tmp_path / "procorch.toml"), "valid": True, "errors": [],
        "agents": {"agent": 0, "command": 1, "service": 0, "program": 1},
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["check", "up", "systemd-unit"])
def test_a_folder_without_a_configuration_is_told_of_init(verb: str, call: Call) -> None:
    ended = call(verb)
    assert (ended.code, "`procorch init` writes one" in ended.stderr) == (2, True)


# ---- systemd-unit


def test_the_unit_of_this_machine_is_printed(call: Call, tmp_path: Path) -> None:
    call("init")
    ended = call("systemd-unit", "--systemd", "254")
    assert ended.code == 0
    lines = ended.stdout.splitlines()
    for line in (
        "Type=notify-reload", "KillMode=mixed", "TimeoutStopSec=40", "Delegate=yes",
        "DelegateSubgroup=main", f"WorkingDirectory={tmp_path}", "WantedBy=multi-user.target",
    ):  # fmt: skip
        assert line in lines
    assert not any(line.startswith("ExecReload=") for line in lines)
    old = call("systemd-unit", "--systemd", "249", "--user").stdout.splitlines()
    assert "Type=notify" in old
    assert "WantedBy=default.target" in old
    assert "DelegateSubgroup=main" not in old
    assert any(line.startswith("ExecReload=/") for line in old)
    found = json.loads(call("systemd-unit", "--systemd", "254", "--json").stdout)
    assert (found["schema"], found["systemd"], found["unit"]) == (1, 254, ended.stdout)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("/my files/a", '"/my files/a"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("", '""'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert systemd_unit.quoted(word, variables=True) == written


def test_a_path_that_no_unit_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand in a systemd unit"):
        systemd_unit.unit(Path("/a\nExecStart=/bin/sh/b"), 25.0, systemd=None)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    folder = tmp_path / "my 100% $files"
    folder.mkdir()
    unit = tmp_path / "procorch.service"
    known = systemd_unit.version()
    unit.write_text(systemd_unit.unit(folder / "procorch.toml", 25.0, systemd=known))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if "procorch.service" in line]
    assert complaints == []


# ---- doctor


def test_the_doctor_looks_at_everything(call: Call, tmp_path: Path) -> None:
    names = [
        "python", "kernel", "pidfd", "membarrier", "disk", "space", "nofile", "nproc", "systemd",
        "cgroup", "huge-pages", "shared-memory", "extras",
    ]  # fmt: skip
    found = json.loads(call("doctor", "--json").stdout)
    assert (found["schema"], [each["name"] for each in found["findings"]]) == (1, names)
    for each in found["findings"]:
        assert set(each) == {"name", "level", "text", "advice"}
        assert bool(each["advice"]) == (each["level"] == "warn")
    ended = call("doctor")
    assert ended.code == 0
    assert f"ok    {'python'.ljust(13)}  CPython" in ended.stdout


MOUNTS = """\
21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /home rw - nfs4 server:/home rw
31 30 0:41 / /home/my\\040disk rw - ext4 /dev/sdb1 rw
32 21 0:42 / /tmp rw - ext4 /dev/sdc1 rw
33 21 0:43 / /tmp rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "level"),
    [
        ("/srv/app", "ext4", "ok"),
        ("/home/me/app/.procorch", "nfs4", "warn"),
        ("/home/my disk/app", "ext4", "ok"),
        ("/homes", "ext4", "ok"),
        ("/tmp/app", "tmpfs", "warn"),
    ],
)
def test_the_file_system_of_a_folder_is_known(
    path: str, kind: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    found = mounts.mount_of(Path(path), table)
    assert found is not None
    assert found.kind == kind
    monkeypatch.setattr(doctor, "mount_of", lambda folder: mounts.mount_of(folder, table))
    (told,) = (each for each in doctor.examine(Path(path)) if each.name == "disk")
    assert told.level == level
