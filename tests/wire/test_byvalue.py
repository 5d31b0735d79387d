"""Definitions that no worker can import: scripts, notebooks, files loaded by path, test modules.

The scripts in `scripts/` are run by real interpreters, start real workers and check for themselves.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from procorch.errors import SerializationError
from procorch.wire import codec
from procorch.wire.byvalue import changes, definition_cache, module_replica, selection
from tests.wire.peer import Refused, Worker

SCRIPTS = Path(__file__).parent / "scripts"
PATH = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


def run(*command: str, stdin: str = "", cwd: Path | None = None) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        input=stdin,
        text=True,
        env={**os.environ, "PYTHONPATH": PATH},
        cwd=cwd,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["classes", "functions", "notebook", "oddities"])
def test_a_script(name: str) -> None:
    run(str(SCRIPTS / f"{name}.py"))


# Every way in which a script becomes __main__; each has its own idea of what __main__ is.


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_script_from_stdin(name: str) -> None:
    run("-", stdin=(SCRIPTS / f"{name}.py").read_text())


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_script_on_the_command_line(name: str) -> None:
    run("-c", (SCRIPTS / f"{name}.py").read_text())


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_script_under_the_profiler(name: str) -> None:
    run("-m", "cProfile", str(SCRIPTS / f"{name}.py"))


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_script_run_as_a_module(name: str) -> None:
    run("-m", f"tests.wire.scripts.{name}")


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_script_run_by_runpy(name: str) -> None:
    run("-c", f"import runpy; runpy.run_path({str(SCRIPTS / f'{name}.py')!r}, run_name='__main__')")


@pytest.mark.parametrize("name", ["classes", "functions"])
def test_a_file_loaded_by_its_path(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "loaded_by_path.py"
    copy.write_text((SCRIPTS / f"{name}.py").read_text())
    run(
        "-c",
        "import importlib.util as u, sys;"
        f"spec = u.spec_from_file_location('loaded_by_path', {str(copy)!r});"
        "module = sys.modules[spec.name] = u.module_from_spec(spec);"
        "spec.loader.exec_module(module); module.main()",
    )


TEST_MODULE = """
from dataclasses import dataclass
from tests.wire.peer import Worker

@dataclass
class Task:
    number: int

LIMIT = 5

def helper(task):
    assert isinstance(task, Task), "rewritten"
    return task.number < LIMIT, task

def agent():
    return helper

def test_a_function_of_the_module():
    with Worker(agent) as worker:
        small, task = worker.ask(Task(1))
        assert small and type(task) is Task

def test_a_nested_function():
    def factory():
        def nested(task):
            assert task.number != 3, "rewritten"
            return helper(task)
        return nested
    with Worker(factory) as worker:
        small, task = worker.ask(Task(9))
        assert not small and type(task) is Task

class TestInAClass:
    def test_a_lambda(self):
        with Worker(lambda: lambda message: [type(message).__name__, message]) as worker:
            assert worker.ask([Task(1)]) == ["list", [Task(1)]]
"""


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_the_tests_of_a_user(mode: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "test_user.py").write_text(TEST_MODULE)
    options = ("-q", "-p", "no:cacheprovider", f"--import-mode={mode}", "--rootdir=.")
    run("-m", "pytest", *options, "inner/test_user.py", cwd=tmp_path)


# Which modules a worker can import.


def test_what_the_import_system_finds_is_importable() -> None:
    names = (
        "builtins",
        "os",
        "os.path",
        "collections.abc",
        "xml.etree.ElementTree",
        "numpy.linalg",
    )
    for name in (*names, "procorch.wire.codec", "_thread", __name__):
        importlib.import_module(name)
        assert selection.importable(name), name


def test_what_only_sys_modules_has_is_not_importable(tmp_path: Path) -> None:
    file = tmp_path / "only_by_path.py"
    file.write_text("def agent():\n    return lambda message: [message, VALUE]\nVALUE = 3\n")
    spec = importlib.util.spec_from_file_location("only_by_path", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["only_by_path"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        assert not selection.importable("only_by_path")
        assert not selection.importable("__main__")
        assert not selection.importable("no_such_module")
        with Worker(module.agent) as worker:
            assert worker.ask(1) == [1, 3]
    finally:
        del sys.modules["only_by_path"]


def test_a_module_of_the_same_name_elsewhere_is_another(tmp_path: Path) -> None:
    file = tmp_path / "queue.py"
    file.write_text("")
    spec = importlib.util.spec_from_file_location("colorsys_user", file)
    assert spec is not None
    module = sys.modules["colorsys_user"] = importlib.util.module_from_spec(spec)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "colorsys_user.py").write_text("")
    sys.path.append(str(tmp_path / "found"))
    try:
        assert module.__file__ == str(file)
        assert not selection.importable("colorsys_user")
    finally:
        sys.path.remove(str(tmp_path / "found"))
        del sys.modules["colorsys_user"]


def test_a_module_that_is_missing_in_the_worker_is_named(tmp_path: Path) -> None:
    (tmp_path / "only_in_the_parent.py").write_text("def agent():\n    return print\n")
    sys.path.append(str(tmp_path))
    try:
        module = importlib.import_module("only_in_the_parent")
        expected = "factory: cannot be loaded: ModuleNotFoundError: No module named 'only_in_the"
        with pytest.raises(Refused, match=expected):
            Worker(module.agent, without=str(tmp_path))
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["only_in_the_parent"]


def test_a_package_without_a_file_is_importable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("only_a_folder")
    assert selection.importable("only_a_folder")
    del sys.modules["only_a_folder"]


def test_a_module_from_a_folder_that_is_gone_is_not_importable(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "vanished.py").write_text("")
    (tmp_path / "vanished.py").write_text("")
    run(
        "-c",
        "import importlib.util as u, os, shutil, sys\n"
        "from procorch.wire.byvalue import selection\n"
        "os.chdir('gone')\n"
        "spec = u.spec_from_file_location('vanished', 'vanished.py')\n"
        "module = sys.modules['vanished'] = u.module_from_spec(spec)\n"
        "module.__spec__.origin = 'vanished.py'\n"
        "shutil.rmtree(os.getcwd())\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "assert not selection.importable('vanished')\n",
        cwd=tmp_path,
    )


def test_a_module_whose_finder_fails_is_not_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @staticmethod
        def find_spec(name: str, path: Any) -> None:
            raise ImportError("on purpose")

    monkeypatch.setattr(sys, "meta_path", [Broken])
    monkeypatch.setitem(sys.modules, "not_found_again", type(sys)("not_found_again"))
    assert not selection.importable("not_found_again")


# Roles.


def test_there_are_two_roles() -> None:
    with pytest.raises(ValueError, match="a role is 'worker' or 'parent', not 'boss'"):
        codec.set_role("boss")


def test_a_worker_takes_the_main_of_its_parent_and_gives_it_back() -> None:
    real = sys.modules["__main__"]
    codec.set_role("worker")
    try:
        theirs = module_replica.make_module("__main__", "another process")
        assert sys.modules["__main__"] is theirs
        assert theirs is not real
    finally:
        codec.set_role("parent")
        module_replica._replicas.clear()
    assert sys.modules["__main__"] is real


def test_a_module_that_is_loaded_already_is_never_replaced() -> None:
    import json

    codec.set_role("worker")
    try:
        assert module_replica.make_module("json", "another process") is not json
        theirs = module_replica.make_module("not_loaded_here", "another process")
        assert sys.modules["not_loaded_here"] is theirs
        assert sys.modules["json"] is json
    finally:
        codec.set_role("parent")
        module_replica._replicas.clear()
    assert "not_loaded_here" not in sys.modules


# Odds and ends that once failed elsewhere.


def test_many_threads_may_encode_one_class() -> None:
    class Local:
        pass

    wrong: list[Any] = []

    def work() -> None:
        for _ in range(50):
            back = codec.decode(b"".join(codec.encode([Local(), lambda: Local], what="request")))
            if type(back[0]) is not Local or back[1]() is not Local:
                wrong.append(back)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_class_is_pickled_once_for_many_messages() -> None:
    class Local:
        pass

    first = codec.encode(Local(), what="request")
    second = codec.encode(Local(), what="request")
    assert first == second
    assert first[0][0] == codec.PICKLE


def test_a_long_chain_of_functions_does_not_exhaust_the_stack() -> None:
    limit = sys.getrecursionlimit()

    def chain(length: int) -> Any:
        if length == 0:
            return lambda: 0
        inner = chain(length - 1)
        return lambda: inner() + 1

    rebuilt = codec.load_factory(codec.dump_factory(chain(300)))
    assert rebuilt() == 300
    assert sys.getrecursionlimit() == limit


def test_an_agent_inside_a_worker_may_have_workers_of_its_own() -> None:
    def nested() -> Any:
        class Local:
            pass

        def agent(message: Any) -> Any:
            return isinstance(message, Local), message

        def outer(message: Any) -> Any:
            down = codec.encode(Local(), what="request", to_parent=False)
            return b"".join(codec.encode(Local(), what="reply")), b"".join(down), agent

        return outer

    with Worker(nested) as worker:
        up, down, _ = worker.ask(None)
        assert type(codec.decode(up)).__name__ == "Local"
        assert type(codec.decode(down)) is type(codec.decode(up))


def test_processes_forked_from_one_give_different_tokens() -> None:
    run(
        "-c",
        "import os\n"
        "from procorch.wire.byvalue import module_replica\n"
        "first = module_replica.give_token(type('A', (), {}))\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.write(writer, module_replica.give_token(type('B', (), {})).encode())\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "theirs = os.read(reader, 100).decode()\n"
        "assert theirs.split('.')[0] != first.split('.')[0]\n"
        "assert module_replica.is_ours(first) and not module_replica.is_ours(theirs)\n",
    )


def test_a_reference_of_a_worker_outlives_what_it_refers_to() -> None:
    assert module_replica.by_token("0.1", __name__, "SCRIPTS") is SCRIPTS
    assert module_replica.by_token("0.1", __name__, "Worker.close") is Worker.close
    with pytest.raises(LookupError, match="exists no longer"):
        module_replica.by_token("0.1", __name__, "f.<locals>.Gone")
    with pytest.raises(AttributeError, match="has no attribute 'gone'"):
        module_replica.look_up(__name__, "gone")
    with pytest.raises(ModuleNotFoundError):
        module_replica.look_up("no_such_module", "gone")


def test_pieces_are_not_kept_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definition_cache, "_MOST_PIECES", 3)
    classes = [type(f"Local{number}", (), {}) for number in range(10)]
    assert codec.decode(b"".join(codec.encode(classes, what="request"))) == classes
    assert len(definition_cache._pieces) <= 3


def test_two_may_need_room_for_recursion_at_once() -> None:
    limit = sys.getrecursionlimit()
    room = definition_cache._RoomForRecursion()
    with room:
        raised = sys.getrecursionlimit()
        with room:
            assert sys.getrecursionlimit() == raised > limit
        assert sys.getrecursionlimit() == raised
    assert sys.getrecursionlimit() == limit


def test_data_beside_a_lambda_that_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        codec.encode([lambda: 1, deep], what="request")


def test_a_decorated_function_of_a_library_is_a_name() -> None:
    cached: Any = fnmatch._compile_pattern  # type: ignore[attr-defined]
    back = codec.decode(b"".join(codec.encode([cached, lambda: 1], what="request")))
    assert back[0] is cached


def test_globals_without_a_name_travel_with_their_functions() -> None:
    space: dict[str, Any] = {"number": 3}
    exec("def first():\n    return number\ndef second():\n    return first() + number\n", space)
    with Worker(lambda: lambda functions: [function() for function in functions]) as worker:
        assert worker.ask([space["first"], space["second"]]) == [3, 6]


def test_a_class_with_bases_that_refuse_to_be_quiet_is_made_aloud() -> None:
    class Loud(int):
        def __init_subclass__(cls) -> None:
            super().__init_subclass__()

    class Child(Loud):
        pass

    with Worker(lambda: lambda message: message + 1) as worker:
        assert worker.ask(Child(1)) == 2


def test_a_module_made_on_the_fly_is_refused() -> None:
    module = type(sys)("made_on_the_fly")
    with pytest.raises(SerializationError, match="value: cannot pickle module 'made_on_the_fly'"):
        codec.encode(module, what="request")


def test_a_submodule_of_a_module_in_a_closure_is_imported_by_the_worker() -> None:
    import xml.dom.minidom

    def tag(message: str) -> Any:
        return xml.dom.minidom.parseString(message).documentElement.tagName

    with Worker(lambda: tag) as worker:
        assert worker.ask("<a/>") == "a"


def test_a_class_and_a_method_that_are_here_already_stay_the_same_objects() -> None:
    class Local:
        def double(self, number: int) -> int:
            return 2 * number

    cls, method = codec.load_factory(codec.dump_factory(lambda: (Local, Local().double)))()
    assert cls is Local
    assert method(4) == 8
    bound = codec.load_factory(codec.dump_factory(Local().double))
    assert bound(5) == 10


def test_a_class_that_a_worker_has_made_is_looked_up_by_its_name() -> None:
    module = type(sys)("made_by_hand")
    exec("class Made:\n    pass\n", module.__dict__)
    sys.modules["made_by_hand"] = module
    try:
        assert not selection.importable("made_by_hand")
        data = b"".join(codec.encode([module.Made, lambda: 1], what="reply", to_parent=True))
        assert codec.decode(data)[0] is module.Made
    finally:
        del sys.modules["made_by_hand"]


def test_versions_are_known_until_their_last_user_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    class User:
        pass

    monkeypatch.setattr(changes, "_users", set())
    first, second, value = User(), User(), User()
    changes.use(first)
    changes.use(second)
    version = changes.version("a space", "a name", value)
    changes.leave(first)
    assert changes.version("a space", "a name", value) == version
    changes.leave(second)
    assert changes.version("a space", "a name", value) > version
