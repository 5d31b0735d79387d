"""Where items come from: formats, ids, and what is wrong with a file, by its line."""

from __future__ import annotations

import builtins
import gzip
import itertools
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from procorch import BatchInputError
from procorch.batch import duplicate_names
from procorch.batch.input_check import scan
from procorch.batch.selection import Selection, Shard, shuffled
from procorch.batch.sources import open_source


def read(items: object, **how: Any) -> list[tuple[str, Any]]:
    return [(item.id, item.value) for item in open_source(items, **how).items()]


def test_jsonl_is_named_by_its_field_id_or_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "x": 1}\n\n{"id": 7}\n"text"\n{"id": null}\n')
    assert read(path) == [
        ("a", {"id": "a", "x": 1}), ("7", {"id": 7}), ("4", "text"), ("5", {"id": None}),
    ]  # fmt: skip
    path.write_text('{"name": "n", "id": "i"}\n')
    assert read(path, id="name")[0][0] == "n"
    assert read(path, id=lambda item: item["name"] + "!")[0][0] == "n!"


def test_csv_rows_are_dicts_and_quoted_line_ends_are_text(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b'\xef\xbb\xbfquestion,id\r\n"two\r\nlines",q1\r\nplain,q2\r\n')
    assert read(path) == [
        ("q1", {"question": "two\r\nlines", "id": "q1"}),
        ("q2", {"question": "plain", "id": "q2"}),
    ]
    (tmp_path / "in.tsv").write_text("a\tb\n1\t2\n")
    assert read(tmp_path / "in.tsv") == [("2", {"a": "1", "b": "2"})]


def test_lines_and_gzip_and_a_format_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n\ntwo")
    assert read(tmp_path / "in.txt") == [("1", "one"), ("3", "two")]
    with gzip.open(tmp_path / "in.jsonl.gz", "wb") as file:
        file.write(b"[1]\n")
    assert read(tmp_path / "in.jsonl.gz") == [("1", [1])]
    (tmp_path / "words").write_text("1\n")
    assert read(tmp_path / "words", form="lines") == [("1", "1")]


def test_a_directory_is_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b.txt", ".hidden", "a/.git/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = ["a/b.txt", "a/z.txt", "b.txt"]
    assert read(tmp_path) == [(name, str(tmp_path / name)) for name in names]
    before = scan(open_source(tmp_path), Selection())
    (tmp_path / "b.txt").write_text("changed")
    after = scan(open_source(tmp_path), Selection())
    assert (before.total, after.total) == (3, 3)
    assert before.fingerprint != after.fingerprint


def test_failed_items_are_input_again(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    path.write_text('{"procorch":1,"id":"q1","reason":"error","place":"x","input":[1,2]}\n')
    assert read(path) == [("q1", [1, 2])]


def test_parquet_rows_are_dicts(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"id": ["a", "b"], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "in.parquet")
    assert read(tmp_path / "in.parquet") == [
        ("a", {"id": "a", "n": 1}), ("b", {"id": "b", "n": 2}),
    ]  # fmt: skip


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_import = builtins.__import__

    def no_pyarrow(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    (tmp_path / "in.parquet").touch()
    with pytest.raises(BatchInputError, match=r"pip install 'procorch\[parquet\]'"):
        read(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id": \n', r"a\.jsonl:2: not JSON: "),
        ("a.jsonl", b'1\n"\xff"\n', r"a\.jsonl:2: not "),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: not JSON"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a\.csv:3: 3 fields where the first line has 2"),
        ("a.csv", b'a,b\n"x\ny",1\n1\n', r"a\.csv:4: 1 fields where"),
        ("a.csv", b'a\n"open\n', r"a\.csv:2: not CSV"),
        ("a.csv", b"a,a\n1,2\n", r"column 'a' is there twice"),
        ("a.txt", b"ok\n\xff\n", r"a\.txt:2: not UTF-8"),
        ("a.jsonl.gz", b"plain", r"cannot be unpacked"),
        ("a.xml", b"", r"the format of \.xml is not known; say which: jsonl"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    name: str, data: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BatchInputError, match=says):
        read(tmp_path / name)


def test_what_is_no_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match=r"nowhere\.jsonl cannot be read: No such file"):
        read(tmp_path / "nowhere.jsonl")
    with pytest.raises(TypeError, match="a path or an iterable, not int"):
        read(7)
    with pytest.raises(BatchInputError, match="there is no field 'name' to name the item by"):
        read([{"id": 1}], id="name")
    (tmp_path / "a.txt").touch()
    with pytest.raises(BatchInputError, match="is not a directory"):
        read(tmp_path / "a.txt", form="dir")


def test_a_name_that_is_no_text_can_be_kept(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w"):
        pass
    assert read(tmp_path)[0][0] == "\\udcff.txt"


def test_iterables_are_numbered_and_read_lazily() -> None:
    source = open_source(itertools.count(10))
    assert [(i.id, i.value) for i in itertools.islice(source.items(), 2)] == [("0", 10), ("1", 11)]
    assert not source.repeatable
    assert open_source([1]).repeatable


def test_a_shuffle_is_a_permutation_that_its_seed_decides() -> None:
    def order(seed: int) -> list[str]:
        return [item.id for item in shuffled(open_source(range(11_000)).items(), seed)]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1), key=int) == [str(n) for n in range(11_000)]


def test_a_shard_is_written_as_a_part_of_a_number() -> None:
    assert Shard.parse("2/8") == Shard(2, 8)
    for wrong in ("0/8", "9/8", "2", "a/b", "2/"):
        with pytest.raises(ValueError, match="write 2/8"):
            Shard.parse(wrong)


@pytest.mark.parametrize("bits", [4, 27])
def test_a_name_that_is_there_twice_is_found_and_no_other(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the field is so small that nearly every name is suspect."""
    monkeypatch.setattr(duplicate_names, "_BITS", bits)
    path = tmp_path / "in.txt"
    lines = [f"line {n}\n" for n in range(2000)]
    path.write_text("".join(lines))
    by_text = open_source(path, id=lambda line: line)
    assert scan(by_text, Selection()).total == 2000
    path.write_text("".join([*lines, lines[7]]))
    with pytest.raises(BatchInputError, match=r"'line 7' is there twice: .*:8, and .*:2001$"):
        scan(by_text, Selection())


def test_reading_takes_no_memory_however_long_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"id": {n}, "text": "{"x" * 80}"}}\n' for n in range(20_000))
    tracemalloc.start()
    try:
        assert scan(open_source(path), Selection()).total == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()
