"""One output is computed by one kind of device in one precision; what another one has finished stays valid."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.progress import Silent
from pipeline.store import EMBEDDINGS, Made, PartFolder, Rows, Source, Store, Work, run_parts, write_rows
from pipeline.store.manifest import MANIFEST_NAME, load_manifest

NAMES = ["part-0.parquet", "part-1.parquet", "part-2.parquet"]


def write(folder: Path, arithmetic: str, names: list[str], source: str = "s", finish: bool = True) -> PartFolder:
    """Keep what can be kept of `names` and make the rest, as the stages do."""

    def make(path: Path, progress: object) -> Made:
        rows = Rows([f"{path.name[:6]}-{row}" for row in range(3)], {"embedding": np.eye(3, dtype=np.float32)}, {})
        write_rows(path, rows, {})
        return Made(rows.keys)

    with PartFolder(folder, EMBEDDINGS, {"space": "s"}, arithmetic) as parts:
        run_parts(parts, [Work(name, Source(source), make) for name in names], "test", "samples", Silent())
        if finish:
            parts.finish(0.0)
    return parts


def older(folder: Path) -> None:
    """The manifest as it was before it recorded the arithmetic."""
    path = folder / MANIFEST_NAME
    content = read_sealed(path)
    for part in content["parts"]:
        del part["arithmetic"]
    write_sealed(path, content)


def test_each_part_records_what_computed_it(tmp_path):
    write(tmp_path, "cuda fp16", NAMES)
    assert [part.arithmetic for part in load_manifest(tmp_path).parts] == ["cuda fp16"] * 3


@pytest.mark.parametrize(
    ("before", "after"), [("cpu fp32", "cuda fp16"), ("cuda fp32", "cpu fp32"), ("cuda fp16", "cuda fp32")]
)
def test_a_resume_with_another_arithmetic_is_refused_in_words_and_changes_nothing(tmp_path, before, after, tree_bytes):
    write(tmp_path, before, NAMES[:2], finish=False)
    found = tree_bytes(tmp_path)
    with pytest.raises(UserError, match=f"partly computed with {before}.*with {after}") as caught:
        write(tmp_path, after, NAMES)
    assert before in caught.value.hint and "remove the folder" in caught.value.hint
    assert tree_bytes(tmp_path) == found
    assert write(tmp_path, before, NAMES).manifest.rows == 9


def test_what_is_complete_stays_valid_on_another_device(tmp_path, tree_bytes):
    write(tmp_path, "cuda fp16", NAMES)
    found = tree_bytes(tmp_path)
    again = write(tmp_path, "cpu fp32", NAMES)
    assert again.computed == 0 and tree_bytes(tmp_path) == found


def test_another_device_may_make_all_of_it_anew(tmp_path):
    write(tmp_path, "cuda fp16", NAMES)
    again = write(tmp_path, "cpu fp32", NAMES, source="other")
    assert {part.arithmetic for part in again.manifest.parts} == {"cpu fp32"}


def test_a_part_that_was_lost_is_not_made_again_by_another_device(tmp_path):
    write(tmp_path, "cpu fp32", NAMES)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(UserError, match="partly computed"):
        write(tmp_path, "cuda fp32", NAMES)


def test_parts_of_earlier_versions_count_as_a_cpus(tmp_path):
    write(tmp_path, "cpu bf16", NAMES[:2])
    older(tmp_path)
    with pytest.raises(UserError, match="partly computed with cpu"):
        write(tmp_path, "cuda bf16", NAMES)
    write(tmp_path, "cpu bf16", NAMES)
    assert len(Store.open(tmp_path)) == 9


def test_content_has_the_same_hash_whatever_computed_it(tmp_path):
    hashes = set()
    for number, arithmetic in enumerate(("cpu fp32", "cuda fp32")):
        write(tmp_path / str(number), arithmetic, NAMES)
        hashes.add(Store.open(tmp_path / str(number)).content_hash)
    assert len(hashes) == 1
