"""What a worker takes over from its program, in a process that is forked for it."""

from __future__ import annotations

import importlib
import os
import resource
import sys
from collections.abc import Callable
from multiprocessing import process
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procorch.wire import environment
from procorch.wire.headers import Surroundings


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What `work` returns in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, msgspec.msgpack.encode(work()))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0) == (pid, 0)
    return msgspec.msgpack.decode(answer)


def adopted(given: Surroundings, *, change: Callable[[], object] = lambda: None) -> Any:
    """Environment, folder, arguments, umask, limit and key of a process that adopts `given`."""

    def work() -> Any:
        change()
        environment.adopt(given)
        now = environment.gather()
        core = next(limit for limit in now.limits if limit[0] == resource.RLIMIT_CORE)
        return dict(now.environ), now.folder, now.argv, now.umask, core, now.authkey

    return in_a_fork(work)


@pytest.fixture
def here() -> Surroundings:
    return environment._known


def test_what_the_program_has_changed_is_taken_over(here: Surroundings, tmp_path: Path) -> None:
    umask = 0o77 if here.umask != 0o77 else 0o22
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    given = msgspec.structs.replace(
        here,
        environ=[pair for pair in here.environ if pair[0] != b"PATH"] + [(b"ADDED", b"\xff")],
        folder=os.fsencode(tmp_path),
        argv=[b"program", b"\xff"],
        umask=umask,
        limits=[(resource.RLIMIT_CORE, 0, hard)],
        authkey=b"key",
    )
    variables, *others = adopted(given)
    assert b"PATH" not in variables
    assert variables[b"ADDED"] == b"\xff"
    core = [resource.RLIMIT_CORE, 0, hard]
    assert others == [os.fsencode(tmp_path), [b"program", b"\xff"], umask, core, b"key"]


def test_what_the_program_has_not_changed_stays_as_it_is_here(here: Surroundings) -> None:
    def change() -> None:
        os.environ["PROCORCH_TEST"] = "a preloaded module"
        os.chdir("/")
        sys.argv[:] = ["changed"]
        os.umask(0o70)

    variables, folder, argv, umask, _, _ = adopted(here, change=change)
    assert variables[b"PROCORCH_TEST"] == b"a preloaded module"
    assert (folder, argv, umask) == (b"/", [b"changed"], 0o70)


def test_what_the_system_forbids_is_left_out(here: Surroundings) -> None:
    given = msgspec.structs.replace(
        here, folder=b"/no/such/folder", umask=None, limits=[(10**6, 1, 1)]
    )
    _, folder, _, umask, _, _ = adopted(given)
    assert (folder, umask) == (os.getcwdb(), here.umask)


def test_a_program_whose_folder_is_gone_has_none(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def work() -> bytes:
        os.chdir(gone)
        gone.rmdir()
        return environment.gather().folder

    assert in_a_fork(work) == b""


def test_without_proc_the_umask_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError("no /proc")

    monkeypatch.setattr(os, "open", refuse)
    assert environment.gather().umask is None


def test_the_key_is_that_of_multiprocessing() -> None:
    assert environment.gather().authkey == bytes(process.current_process().authkey)


def test_the_key_of_multiprocess_is_taken_over_where_it_is_used(here: Surroundings) -> None:
    def work() -> list[bytes | None]:
        importlib.import_module("multiprocess.connection")  # whoever uses the key loads it
        other = importlib.import_module("multiprocess.process")
        known = environment.gather().multiprocess_authkey
        own = bytes(other.current_process().authkey)
        environment.adopt(msgspec.structs.replace(here, multiprocess_authkey=b"theirs"))
        return [known, own, bytes(other.current_process().authkey)]

    known, own, adopted_key = in_a_fork(work)
    assert known == own
    assert adopted_key == b"theirs"
