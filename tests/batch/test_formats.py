"""What a file is taken for: JSON documents, delimiters, encodings, empty inputs."""

from __future__ import annotations

import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from procorch import BatchInputError, BatchInputWarning, run_batch
from procorch.batch.input_check import scan
from procorch.batch.selection import Selection, Shard
from procorch.batch.sources import open_source
from tests.batch import agents


def read(items: object, **how: Any) -> list[tuple[str, Any]]:
    return [(item.id, item.value) for item in open_source(items, **how).items()]


def file(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ---- JSON


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\n\n  "])
def test_the_elements_of_an_array_are_the_items(
    tmp_path: Path, indent: int | None, mark: str
) -> None:
    text = mark + json.dumps([{"id": "a"}, "text", {"n": [1, 2]}], indent=indent)
    assert read(file(tmp_path, "in.json", text)) == [
        ("a", {"id": "a"}), ("1", "text"), ("2", {"n": [1, 2]}),
    ]  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_is_one_item(tmp_path: Path, indent: int | None) -> None:
    value = {"id": "a", "data": [1, 2]}
    path = file(tmp_path, "in.json", json.dumps(value, indent=indent))
    assert read(path) == [("a", value)]


def test_json_lines_in_a_json_file_stay_json_lines(tmp_path: Path) -> None:
    assert read(file(tmp_path, "a.json", '{"id": 1}\n\n{"id": 2}\n')) == [
        ("1", {"id": 1}), ("2", {"id": 2}),
    ]  # fmt: skip
    assert read(file(tmp_path, "b.json", "[1]\n[2]\n")) == [("1", [1]), ("2", [2])]


def test_a_json_format_is_read_from_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=('[\n{"id": 1},\n{"id": 2}\n]\n',))
    writer.start()
    assert [name for name, _ in read(path, form="json")] == ["1", "2"]
    writer.join()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.json",
            '[\n{"id": 1},\n\n{"id": }\n]\n',
            r"a\.json:4: not JSON: .*one document, or one",
        ),
        ("a.json", '[\n{"id": 1}\n', r"a\.json:2: not JSON"),
        ("a.json", '{"id": 1}\n{"id": \n', r"a\.json:2: not JSON"),
        ("a.json", "[" * 100_000, r"a\.json:1: not JSON"),
        ("a.json", b'["\xff"]', r"a\.json: not UTF-8"),
        ("a.jsonl", '[\n{"id": 1}\n]\n', r"a\.jsonl:1: not JSON: .*--format json"),
    ],
)
def test_a_malformed_document_is_named_with_its_line(
    name: str, text: str | bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(BatchInputError, match=says):
        read(file(tmp_path, name, text))


def test_one_line_that_is_an_array_of_objects_is_one_item_with_a_warning(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '[{"id": 1}, {"id": 2}]\n')
    with pytest.warns(BatchInputWarning, match=r"items of its 2 elements"):
        assert len(read(path)) == 1
    assert len(read(file(tmp_path, "b.jsonl", "[1, 2]\n"))) == 1  # may well be meant


# ---- CSV


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", ",")]
)
def test_another_delimiter_is_found_with_a_warning(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    rows = (("id", "a number"), ("1", '"x\ny"'), ("2", "z"))
    path = file(tmp_path, name, "".join(delimiter.join(row) + "\n" for row in rows))
    found = [("1", {"id": "1", "a number": "x\ny"}), ("2", {"id": "2", "a number": "z"})]
    source = open_source(path)
    with pytest.warns(BatchInputWarning, match=r"--delimiter"):
        assert scan(source, Selection()).total == 2
    # It is said once, however often the file is read: here a warning would be an error.
    assert [(item.id, item.value) for item in source.items()] == found
    assert read(path, delimiter=delimiter) == found


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("question\nwhat?\n", 1),
        ("question\none; two | three\n", 1),
        ("a;b\nplain\n", 1),
        ("a|b,c\n1|2,3\n", 2),
        ('id,"a;b"\n1,x;y\n', 2),
        ("id,q\n1,a;b\n", 2),
    ],
)
def test_no_delimiter_is_found_where_there_is_none(tmp_path: Path, text: str, columns: int) -> None:
    assert [len(value) for _, value in read(file(tmp_path, "a.csv", text))] == [columns]


def test_decimal_commas_do_not_make_it_comma_separated(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id;value, in EUR\n1;3,5,0\n")
    with pytest.warns(BatchInputWarning, match="a semicolon"):
        assert read(path) == [("1", {"id": "1", "value, in EUR": "3,5,0"})]


def test_a_row_that_has_lost_a_field_is_an_error_and_no_other_delimiter(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="2 fields where the first line has 3"):
        read(file(tmp_path, "a.csv", "id,a|b,c\n1,x|y\n"))


def test_a_spreadsheet_may_name_its_delimiter_in_a_first_line(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "\ufeffsep=;\r\nid;q\r\n1;x\r\n")
    assert read(path) == [("1", {"id": "1", "q": "x"})]
    assert open_source(path).name == str(path)


def test_a_delimiter_is_one_character_and_for_csv_only(tmp_path: Path) -> None:
    assert read(file(tmp_path, "a.dat", "id:q\n1:x\n"), delimiter=":") == [
        ("1", {"id": "1", "q": "x"})
    ]
    for tab in ("tab", r"\t", "\t"):
        path = file(tmp_path, "t.csv", "a\tb\n1\t2\n")
        assert read(path, delimiter=tab) == [("2", {"a": "1", "b": "2"})]
    for wrong in ("", ";;", '"', "\n"):
        with pytest.raises(ValueError, match="is not one character"):
            read(path, delimiter=wrong)
    for name in ("a.jsonl", "a.json", "a.txt"):
        with pytest.raises(BatchInputError, match="has no delimiter"):
            read(file(tmp_path, name, "1\n"), delimiter=";")
    with pytest.raises(BatchInputError, match="a directory, whose items are files: no delimiter"):
        read(tmp_path, delimiter=";")
    with pytest.raises(ValueError, match="are for files"):
        read([1], delimiter=";")


def test_quoted_line_ends_of_a_pipe_are_text_as_well(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b'id,q\r\n1,"a\r\nb"\r\n',))
    writer.start()
    assert read(path, form="csv") == [("1", {"id": "1", "q": "a\r\nb"})]
    writer.join()


# ---- what is no text, or nothing


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("id\n1\n".encode("utf-16"), "is UTF-16.*iconv"),
        ("id\n1\n".encode("utf-16-le"), "NUL byte"),
        (b"\x1f\x8b\x08rest", "packed by gzip"),
    ],
)
def test_another_encoding_is_named(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match=says):
        read(file(tmp_path, name, data))


def test_a_damaged_gzip_file_cannot_be_unpacked(tmp_path: Path) -> None:
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    with pytest.raises(BatchInputError, match="cannot be unpacked"):
        read(file(tmp_path, "a.jsonl.GZ", head + b"\xff" * 40))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", ""), ("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "id,q\n"), ("a.txt", "")],
)
def test_an_empty_input_begins_nothing(name: str, text: str, tmp_path: Path) -> None:
    path, out = file(tmp_path, name, text), tmp_path / "run.db"
    with pytest.raises(BatchInputError, match=r"has no items; allow_empty=True"):
        run_batch(agents.echo, path, out=out, workers=1)
    assert not out.exists()
    with run_batch(agents.echo, path, out=out, workers=1, allow_empty=True) as run:
        assert run.summary().total == 0


def test_an_empty_iterable_is_empty_and_an_empty_shard_is_not(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="a list has no items"):
        run_batch(agents.echo, [], out=None, workers=1)
    with (
        run_batch(agents.echo, iter(()), out=None, workers=1) as run,
        pytest.raises(BatchInputError, match="has no items"),
    ):
        run.summary()
    parts = {n: list(Selection(Shard(n, 2)).of(open_source([7]))) for n in (1, 2)}
    (part,) = (n for n, items in parts.items() if not items)
    with run_batch(agents.echo, [7], out=None, workers=1, shard=f"{part}/2") as run:
        assert (run.summary().total, run.summary().ended) == (0, "finished")


def test_what_is_no_path_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BatchInputError, match="an empty path"):
        open_source("")
    with pytest.raises(TypeError, match="not bytes"):
        open_source(b"in.jsonl")
    with pytest.raises(BatchInputError, match="cannot be read"):
        open_source("a\0b")
    monkeypatch.setattr("sys.__stdin__", None)
    with pytest.raises(BatchInputError, match="standard input cannot be read: it is closed"):
        open_source("-")


def test_warnings_of_the_input_may_be_made_errors(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "a;b\n1;2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error", BatchInputWarning)
        with pytest.raises(BatchInputWarning):
            run_batch(agents.echo, path, out=None, workers=1)
