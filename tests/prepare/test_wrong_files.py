"""A file that is missing, damaged or something else is one error with the layout of its publishers."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.prepare import SETS
from pipeline.prepare.layout import Layout, files_below
from pipeline.prepare.stamps import STAMPS
from tests.makers.miniatures import MINIATURES, write


def read_whole(folder: Path, name: str) -> None:
    for makers in SETS[name].read(folder, SETS[name].templates).converted.values():
        for make in makers.values():
            make()


ANNOTATIONS = [
    (name, path)
    for name, files in MINIATURES.items()
    for path in files
    if path.endswith((".csv", ".json", ".xml", ".txt")) and not path.startswith(("night_stand/", STAMPS))
]
# One pair that is annotated but has no file is a vanished sample, no fault of the layout.
OPTIONAL = [("flickr-soundnet", "Annotations/333.xml"), ("extended-flickr", "Annotations/333.xml")]


@pytest.mark.parametrize(("name", "path"), [each for each in ANNOTATIONS if each not in OPTIONAL])
@pytest.mark.parametrize("damage", ["missing", "garbage", "empty", "binary"])
def test_a_wrong_layout_is_one_error_with_the_expected_one(tmp_path, name, path, damage):
    folder = write(tmp_path, name)
    file = folder / path
    if damage == "missing":
        if path.startswith("Annotations/"):
            for annotation in (folder / "Annotations").iterdir():
                annotation.unlink()
        file.unlink(missing_ok=True)
    else:
        file.write_bytes({"garbage": b"<{garbage", "empty": b"", "binary": b"\xff\xfe\x00\x81"}[damage])
    with pytest.raises(UserError) as caught:
        read_whole(folder, name)
    where = Path(path).parent if path.startswith("Annotations/") and damage == "missing" else Path(path)
    # Where two files contradict each other, the message names both.
    assert str(folder) in caught.value.message and where.name in caught.value.message
    assert "is read from a folder with" in caught.value.hint and Path(path).parts[0].split("/")[0] in (
        caught.value.hint.replace("<class>", "airplane")
    )


@pytest.mark.parametrize("name", [name for name in SETS if name != "modelnet40"])
def test_without_any_media_the_folder_is_named(tmp_path, name):
    folder = write(tmp_path, name)
    for file in folder.rglob("*"):
        if file.suffix in (".wav", ".ogg", ".jpg", ".png", ".JPEG", ".off"):
            file.unlink()
    with pytest.raises(UserError, match="holds no .* file") as caught:
        SETS[name].read(folder, SETS[name].templates)
    assert "is read from a folder with" in caught.value.hint


def test_media_of_other_names_are_no_vanished_samples(tmp_path):
    folder = write(tmp_path, "esc50")
    for file in (folder / "audio").iterdir():
        file.rename(file.with_name(f"renamed-{file.name}"))
    with pytest.raises(UserError, match="none of the 2 files that are listed .such as '1-100032-A-0'"):
        SETS["esc50"].read(folder, ("{}",))


ANNOTATED = {
    name: next(path for path, content in MINIATURES[name].items() if isinstance(content, str) and "koala" not in path)
    for name in SETS
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
        ("file,class\n".encode("utf-16"), "UTF-16 text"),
        (b"\x1f\x8b\x08\0\0\0", "compressed with gzip"),
    ],
)
@pytest.mark.parametrize("name", SETS)
def test_what_stands_in_the_place_of_a_file_is_named(tmp_path, name, content, said):
    """It was called no JSON, or a table with the column `version https://...`."""
    folder = write(tmp_path, name)
    (folder / ANNOTATED[name]).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_whole(folder, name)
    assert Path(ANNOTATED[name]).name in caught.value.message


@pytest.mark.parametrize("name", SETS)
def test_the_right_folder_is_named_where_it_is_near_the_one_that_was_said(tmp_path, name):
    folder = write(tmp_path, name)
    for wrong in (tmp_path, next(each for each in folder.rglob("*") if each.is_dir())):
        with pytest.raises(UserError) as caught:
            SETS[name].read(wrong, SETS[name].templates)
        assert f"It is in {folder}: name that folder" in caught.value.message


def test_a_packed_file_is_to_be_unpacked(tmp_path):
    folder = write(tmp_path, "objaverse-lvis")
    (folder / "lvis-annotations.json").rename(folder / "lvis-annotations.json.gz")
    with pytest.raises(UserError, match=r"unpack lvis-annotations\.json\.gz"):
        SETS["objaverse-lvis"].read(folder, ("{}",))


def test_a_caption_may_hold_any_character(tmp_path):
    """A line separator, a form feed or a next-line in a caption made two rows of it."""
    folder = write(tmp_path, "audiocaps")
    caption = "A dog\u2028barks\x0cloudly\x85twice"
    text = (folder / "test.csv").read_text().replace("Rain falls", caption)
    (folder / "test.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert ("yt2_0", caption) in SETS["audiocaps"].read(folder, ()).captions


@pytest.mark.parametrize("name", SETS)
def test_folders_may_be_links(tmp_path, name):
    """`val2014` of COCO is often on another disk; only the folder that was named was followed."""
    folder = write(tmp_path, name)
    before = SETS[name].read(folder, SETS[name].templates)
    for number, place in enumerate(sorted(each for each in folder.iterdir() if each.is_dir())):
        for inside in (*[each for each in place.iterdir() if each.is_dir()], place):
            inside.rename(far := tmp_path / f"disk-{number}-{inside.name}")
            inside.symlink_to(far)
    (folder / "circle").symlink_to(folder)
    after = SETS[name].read(folder, SETS[name].templates)
    assert after.files == before.files and after.captions == before.captions and after.listed == before.listed


def test_links_may_lead_in_a_circle(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/1.jpg", "a/b/2.jpg", "a/._1.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "gone.jpg").symlink_to("/nowhere")
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path / "a")] == ["a/1.jpg", "a/b/2.jpg"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('A,1\nB,"2\nC,3\nD,"4"\n', 'from the row B,"2 on'),
        ('A,1\nB,"2\nC,3\n', 'from the row B,"2 on'),
        (f"A,1\nB,{'x' * 200_000}\n", "from the row B,xxx.*field larger"),
    ],
)
def test_a_stray_quote_swallows_no_rows(tmp_path, rows, said):
    (tmp_path / "rows.csv").write_text(rows)
    with pytest.raises(UserError, match=said):
        Layout("Any", tmp_path, "rows").cells("rows.csv", 2)
