"""Random corpora of good, odd and broken members: what is used, rejected and not read is all that a walk counts."""

import io
import json
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shard.makers import picture, shards

LIMITED = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GOOD = picture(1)
CONTENTS = st.sampled_from(
    [GOOD, GOOD, b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n", b"words", b"\0" * 99]
)
STEMS = st.sampled_from(["a", "b c", "d.v1", "d.v2", "ü", "E", "f\n", ".g", "h.tar", "i" * 60, "\udcff"])
ENDINGS = st.sampled_from(["png", "PNG", "jpg", "jfif", "txt", "json", "md", "heic", "cls", "0001", "", "x y"])
FOLDERS = st.sampled_from(["", "", "one/", "one/two/", ".hid/", "v1.0/", "__MACOSX/"])


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def fresh(place: Path) -> tuple[Path, Path]:
    """A folder for the next example and one for its shards."""
    base = Path(tempfile.mkdtemp(dir=place))
    return base / "in", base / "out"


def total(manifest) -> int:
    return manifest.rows + manifest.rejected + sum(manifest.not_read.values())


def name_of(folder: str, stem: str, ending: str) -> str:
    return f"{folder}{stem}.{ending}" if ending else folder + stem


def path_of(file: tuple) -> str:
    return name_of(*file[:3])


def slow_walk(folder: str, above: tuple[str, ...] = (), seen: set[str] | None = None) -> int:
    """Entries that are not folders; a link to a folder above counts as one entry."""
    seen = set() if seen is None else seen
    count, links = 0, []
    real = os.path.realpath(folder)
    seen.add(real)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and os.path.islink(path):
            links.append(path)
        elif os.path.isdir(path):
            count += slow_walk(path, (*above, real), seen)
        else:
            count += 1
    for path in links:
        inside = os.path.realpath(path) in (*above, real)
        count += 1 if inside else slow_walk(path, (*above, real), seen)
    return count


FILES = st.lists(st.tuples(FOLDERS, STEMS, ENDINGS, CONTENTS), max_size=14, unique_by=path_of)


@LIMITED
@given(FILES, st.sets(st.sampled_from(["dangling.png", "dangling", "loop", "out", "pipe.png", "up"])))
def test_files_of_a_folder(place, files, odd):
    source, out = fresh(place)
    (source / "one").mkdir(parents=True)
    (source / "good.png").write_bytes(picture(7))
    for folder, stem, ending, content in files:
        path = source / name_of(folder, stem, ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in odd:
        if name == "pipe.png":
            os.mkfifo(source / name)
        elif name == "out":
            (source.parent / "elsewhere" / "deep").mkdir(parents=True)
            (source.parent / "elsewhere" / "deep" / "far.png").write_bytes(picture(8))
            (source / name).symlink_to(source.parent / "elsewhere")
        else:
            targets = {"loop": source, "up": source / "one"}
            link = source / "one" / name if name == "up" else source / name
            link.symlink_to(targets.get(name, "/nowhere"))
    manifest = shards(source, out, "image", duplicates="first", options={"kind": "folder"})[2]
    assert total(manifest) == slow_walk(str(source))


@LIMITED
@given(FILES)
def test_samples_of_a_folder_with_two_modalities(place, files):
    source, out = fresh(place)
    source.mkdir()
    kept = [(name_of(*one[:3]), one[3]) for one in files if one[2] != "jfif"] + [("ok.png", GOOD), ("ok.txt", b"words")]
    for name, content in kept:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    wanted: Counter[str] = Counter()
    other = 0
    for name, _ in kept:
        path, dot, ending = name.rpartition(".")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
        modality = {"png": "image", "jpg": "image", "txt": "text"}.get(ending.lower()) if dot else None
        if hidden or modality is None:
            other += 1
        else:
            wanted[path, modality] += 1
    # A second picture of one name is a duplicate, and a sample of its own.
    samples = sum(
        max(count, wanted[path, "text"]) if modality == "image" or not wanted[path, "image"] else 0
        for (path, modality), count in list(wanted.items())
    )
    options = {"kind": "folder"}
    manifest = shards(source, out, "image", "text", options=options, duplicates="first", keep_repeated=True)[2]
    assert (manifest.rows + manifest.rejected, sum(manifest.not_read.values())) == (samples, other)


KINDS = st.sampled_from([tarfile.REGTYPE] * 12 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
MEMBERS = st.lists(st.tuples(FOLDERS, STEMS, ENDINGS, CONTENTS, KINDS), max_size=16)


@LIMITED
@given(MEMBERS, st.integers(0, 16), st.booleans())
def test_members_of_a_tar(place, members, cut, joined):
    source, out = fresh(place)
    source.mkdir()
    buffers = [io.BytesIO(), io.BytesIO()]
    with tarfile.open(fileobj=buffers[0], mode="w") as first, tarfile.open(fileobj=buffers[1], mode="w") as second:
        for number, (folder, stem, ending, content, kind) in enumerate([*members, ("", "good", "png", GOOD, b"0")]):
            info = tarfile.TarInfo(name_of(folder, stem, ending))
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            target = second if joined and number >= cut else first
            target.addfile(info, io.BytesIO(content) if info.size else None)
    (source / "x.tar").write_bytes(b"".join(buffer.getvalue() for buffer in buffers[: 1 + joined]))
    samples, rejected, manifest = shards(source, out, "image", duplicates="first")
    with tarfile.open(source / "x.tar", ignore_zeros=True) as archive:
        entries = [info for info in archive if not info.isdir()]
    assert len(entries) == len([one for one in members if one[4] != tarfile.DIRTYPE]) + 1
    assert members_accounted(entries, samples, rejected) + sum(manifest.not_read.values()) == len(entries)


def members_accounted(entries: list[tarfile.TarInfo], samples: dict, rejected: dict) -> int:
    """Members of samples that are used, without those of them that are not read, and of samples that are rejected."""
    from pipeline.keys import key_of_path

    count = 0
    for info in entries:
        folder, _, name = info.name.rpartition("/")
        path = folder + "/" * bool(folder)
        first, _, rest = name.partition(".")
        last = name.rpartition(".")[0]
        for stem, ending in ((first, rest), (last, name.rpartition(".")[2])):
            key = key_of_path(f"{path}{stem}.x")
            if key in rejected or (key in samples and ending.lower() in ("png", "jpg", "jfif", "json")):
                count += 1
                break
    return count


CELLS = st.sampled_from(["a dog", "two, cats", 'a 27" screen', "ünï", "", " ", "x" * 70_000, "nul\0", "\udcff"])


@LIMITED
@given(st.lists(st.one_of(CELLS.map(lambda cell: ("row", cell)), st.sampled_from(
    [("ragged", "a,b,c"), ("blank", ""), ("quoted", '"a ""b"" c"'), ("bad", '"x"y'), ("short", "only")]
)), max_size=20), st.sampled_from(["\n", "\r\n"]))  # fmt: skip
def test_rows_of_a_csv(place, rows, end):
    source, out = fresh(place)
    source.mkdir()
    lines = ["key,caption", "good,fine"]
    for number, (kind, cell) in enumerate(rows):
        if kind == "row":
            quoted = '"' + cell.replace('"', '""') + '"' if "," in cell else cell
            lines.append(f"k{number},{quoted}")
        else:
            lines.append(
                {"ragged": "a,b,c", "blank": "", "quoted": f"k{number},{cell}", "bad": f"k{number},{cell}"}.get(
                    kind, cell
                )
            )
    (source / "c.csv").write_bytes(end.join(lines).encode(errors="surrogateescape"))
    manifest = shards(source / "c.csv", out, "text")[2]
    assert total(manifest) == len([line for line in lines if line]) - 1


@LIMITED
@given(st.integers(5, 40), st.sets(st.integers(0, 39), max_size=4), st.sets(st.integers(0, 39), max_size=4))
def test_rows_between_stray_quotes(place, count, opens, closes):
    """Each line is a row here, whatever quotes begin or end its caption."""
    source, out = fresh(place)
    source.mkdir()
    captions = ['"' * (n in opens) + f"caption {n}" + '"' * (n in closes and n not in opens) for n in range(count)]
    lines = [
        "key\tcaption\turl",
        *(f"k{n}\t{caption}\thttp://x/{n}" for n, caption in enumerate(captions)),
        "z\tlast\tu",
    ]
    (source / "c.tsv").write_text("\n".join(lines) + "\n")
    samples, _, manifest = shards(source / "c.tsv", out, "text")
    assert total(manifest) == count + 1
    assert all(one["txt"].decode().strip('"') == f"caption {key[1:]}" for key, one in samples.items() if key != "z")


VALUES = st.sampled_from(
    ["a dog", "", None, 3, 2.5, True, ["x"], ["x", "y"], [], [1], {"en": "x"}, "nul\0", "x" * 70_000]
)


@LIMITED
@given(st.lists(st.one_of(VALUES.map(lambda value: json.dumps({"caption": value})), st.sampled_from(
    ["", "  ", "{", "[]", "3", "null", '{"other": 1}', '{"caption": "a"', "\udcff"]
)), max_size=20), st.sampled_from(["one", "first"]))  # fmt: skip
def test_lines_of_jsonl(place, lines, captions):
    source, out = fresh(place)
    source.mkdir()
    lines = ['{"caption": "good"}', *lines]
    (source / "c.jsonl").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    manifest = shards(source / "c.jsonl", out, "text", options={"captions": captions})[2]
    further = manifest.not_read.get("further captions", 0)
    assert manifest.rows + manifest.rejected == len([line for line in lines if line.strip()])
    assert further == (lines.count('{"caption": ["x", "y"]}') if captions == "first" else 0)


@LIMITED
@given(
    st.lists(st.sampled_from(["one", "two, three", "", " \t", "a\rb", "nul\0", "\udcff", "x" * 70_000]), max_size=20)
)
def test_lines_of_a_text_file(place, lines):
    source, out = fresh(place)
    source.mkdir()
    lines = ["good", *lines]
    (source / "c.txt").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    assert total(shards(source / "c.txt", out, "text")[2]) == len([line for line in lines if line.strip()])


FILE_CELLS = st.sampled_from(
    [{"bytes": GOOD, "path": "a.png"}, {"bytes": GOOD, "path": None}, {"bytes": b"junk", "path": "x"},
     {"bytes": None, "path": "side.png"}, {"bytes": None, "path": "../up.png"}, {"bytes": None, "path": None}, None]
)  # fmt: skip


@LIMITED
@given(st.lists(FILE_CELLS, max_size=20), st.integers(1, 7))
def test_rows_of_parquet_with_files_in_cells(place, cells, group):
    source, out = fresh(place)
    source.mkdir()
    cells = [{"bytes": picture(3), "path": "good.png"}, *cells]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), source / "d.parquet", row_group_size=group)
    assert total(shards(source / "d.parquet", out, "image")[2]) == len(cells)


ENTRIES = st.sampled_from(
    [{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": "b"}, {"image_id": 9, "caption": "of none"},
     {"caption": "c"}, {"image_id": 1}, {"image_id": 1, "caption": ["d"]}, "words", None, 5, {}]
)  # fmt: skip


@LIMITED
@given(st.lists(ENTRIES, max_size=20), st.sampled_from(["one", "all"]))
def test_entries_of_coco(place, entries, captions):
    source, out = fresh(place)
    source.mkdir()
    for number in (1, 2):
        (source / f"{number}.png").write_bytes(picture(number))
    entries = [{"image_id": 1, "caption": "first"}, *entries]
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
    (source / "c.json").write_text(json.dumps({"annotations": entries, "images": images}))
    texts = shards(source / "c.json", out, "text")[2]
    assert total(texts) == len(entries)
    both = shards(source / "c.json", out / "both", "image", "text", options={"captions": captions})[2]
    usable = [
        one for one in entries if isinstance(one, dict) and "image_id" in one and isinstance(one.get("caption"), str)
    ]
    with_caption = {one["image_id"] for one in usable} & {1, 2}
    # The first caption of a picture is part of its sample, or each is a sample of its own.
    assert total(both) == 2 + len(entries) - (0 if captions == "all" else len(with_caption))
