"""YAML that can be mistaken, or that is made to hurt, is refused with its line; what is harmless reads as before."""

import time
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from pipeline.demo.params import read_params
from pipeline.errors import UserError
from pipeline.files.plain_yaml import read_yaml, shown
from pipeline.params.load import load_params
from pipeline.sweep.variants import read_sweep

ROOT = Path(__file__).parents[2]


def read(tmp_path: Path, content: str | bytes) -> object:
    path = tmp_path / "some.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path).content


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert str(tmp_path) in error.value.message and error.value.hint
    said = f"{error.value.message} {error.value.hint}"
    assert said.isprintable() and len(said) < 500
    return said


# Each is read in one way by PyYAML and in another by DVC, or is not a word and no number that a person would write.
MISTAKABLE = (
    *(
        "no",
        "on",
        "Yes",
        "OFF",
        "12:30",
        "1:30.5",
        "-190:20:30",
        "012",
        "08",
        "0o17",
        "0b11",
        "1_000",
        "0x1_f",
        "1_0.5",
    ),
    *("2026-11-26", "2026-11-26 10:00:00", "=", "+.5", "9" * 30),
)


@pytest.mark.parametrize("value", MISTAKABLE)
@pytest.mark.parametrize("form", ["a: 1\nkey: {}\n", "a: 1\n{}: 1\n", "a: 1\nb: [x, {}]\n"])
def test_what_can_be_mistaken_is_to_be_put_in_quotes(tmp_path, form, value):
    said = refused(tmp_path, form.format(value))
    assert "line 2" in said and f'put it in quotes: "{value}"' in said
    assert value in repr(read(tmp_path, form.format(f"'{value}'")))


HARMLESS = (
    *(
        "1",
        "-1",
        "+1",
        "0",
        "0x1f",
        "1.5",
        ".5",
        "1.",
        "-0.1",
        "1e3",
        "1e-3",
        "1.5e3",
        "-2.5E+3",
        ".inf",
        "true",
        "False",
    ),
    *(
        "",
        "~",
        "null",
        "a",
        "y",
        "1.0.0",
        "10e",
        "-x",
        "_",
        "1,000",
        "e3",
        "a b",
        "ü",
        "a:b",
        "s3://a/b",
        "x#y",
        "{0..3}.tar",
    ),
)


@pytest.mark.parametrize("value", HARMLESS)
def test_what_remains_is_read_as_dvc_reads_it(tmp_path, value):
    for text in (f"a: '{value}'\n", *([f"a: {value}\n"] if not value.startswith("{") else [])):
        assert read(tmp_path, text) == parse_yaml(text, "some.yaml")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGED_LAUGHS = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)
HURTING = {
    "laughs": (LAUGHS, "more than 50,000 things"),
    "merged laughs": (MERGED_LAUGHS, "more than 50,000 things"),
    "quadratic": ("a: &a [" + "x, " * 2000 + "]\nb: [" + "*a, " * 100 + "]", "more than 50,000 things"),
    "aliases": ("a: &a 1\nb: [" + "*a, " * 300 + "]", "more than 200 aliases"),
    "itself": ("a: &a [*a]", "within what it refers to"),
    "itself, in a mapping": ("a: &a {b: {c: *a}}", "within what it refers to"),
    "deep lists": ("a: " + "[" * 100_000, "nested deeper than 32"),
    "deep mappings": ("{a: " * 50_000, "nested deeper than 32"),
    "deep blocks": ("- " * 50_000 + "x", "nested deeper than 32"),
    "large": ("a: b\n" * 200_000, "larger than 500,000 bytes"),
    "a long number": ("a: " + "9" * 400_000, "put it in quotes"),
    "a command": ("a: !!python/object/apply:os.system [touch x]", "a tag"),
    "an own tag": ("a: !mine 3", "a tag"),
    "binary": ("a: !!binary aGVsbG8=", "a tag"),
    "bytes of an escape": (b"a: \x1b[31mred\n", "control character"),
    "an escape in quotes": ('a: "\\e]0;title\\a"', "control character"),
    "a null": ('a: "x\\0y"', "control character"),
    "twice": ("b: 1\na: 1\na: 2\n", "line 3, column 1: the key 'a' occurs twice"),
    "twice, long": (f"{'k' * 900}: 1\n{'k' * 900}: 2\n", "..."),
    "a list as key": ("? [a, b]\n: 1\n", "a key is a list"),
    "two documents": ("a: 1\n---\nb: 2\n", "document"),
    "no end": ("a: [1, 2", "not valid YAML"),
    "a tab": ("a:\n\tb: 1\n", "line 2, column 1: this line contains a tab. Indent with spaces"),
    "UTF-16": ("a: ü\n".encode("utf-16"), "Save it as UTF-8"),
    "UTF-16 without a mark": ("a: b\n".encode("utf-16-le"), "Save it as UTF-8"),
    "UTF-32": ("a: b\n".encode("utf-32"), "Save it as UTF-8"),
    "Latin-1": ("a: 1\nb: ü\n".encode("latin-1"), "not UTF-8 (line 2)"),
}


@pytest.mark.parametrize("kind", HURTING)
def test_what_hurts_is_refused_within_a_second(tmp_path, kind):
    content, message = HURTING[kind]
    began = time.process_time()  # of this process: what else the machine does is not counted
    assert message in refused(tmp_path, content)
    assert time.process_time() - began < 1


def test_a_few_aliases_are_read_and_counted(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("a: &x {b: 1, c: [2]}\nd: *x\ne: {<<: *x, b: 3}\n")
    found = read_yaml(path)
    assert found.content == yaml.safe_load(path.read_text())
    assert found.aliases == ((2, "x"), (3, "x"))


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa: 1\nb: x\n", b"a: 1\r\nb: x\r\n", b"%YAML 1.2\n---\na: 1\nb: x\n"])
def test_marks_and_ends_of_lines_of_other_systems_change_nothing(tmp_path, text):
    assert read(tmp_path, text) == {"a": 1, "b": "x"}


@pytest.mark.parametrize("reader", [load_params, read_sweep, read_params])
def test_every_file_that_people_write_is_read_in_this_way(tmp_path, reader):
    path = tmp_path / "some.yaml"
    path.write_text(LAUGHS)
    with pytest.raises(UserError, match="50,000 things"):
        reader(path)
    with pytest.raises(UserError, match="does not exist"):
        reader(tmp_path / "none.yaml")


def test_values_in_messages_are_short_and_inert():
    assert shown("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert shown({"a": "x" * 1000}).endswith("...") and len(shown("x" * 1000)) == 80
    assert shown("grün 猫") == "grün 猫"


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("presets/**/*.yaml")), ROOT / "params.yaml"], ids=lambda p: p.name)
def test_our_own_files_write_every_value_where_it_is_used(path):
    assert read_yaml(path).aliases == ()


def test_a_conflict_that_git_left_is_called_one(tmp_path):
    path = tmp_path / "params.yaml"
    for end in ("\n", "\r\n"):
        path.write_bytes(
            end.join(["seed: 1", "<<<<<<< HEAD", "threads: 2", "=======", "threads: 4", ">>>>>>> b", ""]).encode()
        )
        with pytest.raises(UserError, match="line 2: git left a conflict"):
            read_yaml(path)
    path.write_text('title: "<<<<<<< HEAD"\n')
    assert read_yaml(path).content == {"title": "<<<<<<< HEAD"}
    with pytest.raises(UserError, match="is not a file"):
        read_yaml(tmp_path)
