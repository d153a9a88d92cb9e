"""One output is computed by one kind of device in one precision; what another one has finished stays valid."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.store import EMBEDDINGS, PartFolder, Rows, Store, write_rows
from pipeline.store.manifest import MANIFEST_NAME, load_manifest

NAMES = ["part-0.parquet", "part-1.parquet", "part-2.parquet"]


def write(folder: Path, arithmetic: str, names: list[str], source: str = "s") -> PartFolder:
    """Keep what can be kept of `names` and make the rest, as the stages do."""
    parts = PartFolder(folder, EMBEDDINGS, {"space": "s"}, arithmetic)
    for name in [name for name in names if not parts.reuse(name, source)]:
        rows = Rows([f"{name}-{row}" for row in range(3)], {"embedding": np.eye(3, dtype=np.float32)}, {})
        parts.commit(name, source, rows.keys, (), lambda path, rows=rows: write_rows(path, rows, {}))
    return parts


def older(folder: Path) -> None:
    """The manifest as it was before it recorded the arithmetic."""
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    for part in content["parts"]:
        del part["arithmetic"]
    path.write_text(json.dumps(content))


def test_each_part_records_what_computed_it(tmp_path):
    write(tmp_path, "cuda fp16", NAMES).finish(0.0)
    assert [part.arithmetic for part in load_manifest(tmp_path).parts] == ["cuda fp16"] * 3


@pytest.mark.parametrize(
    ("before", "after"), [("cpu fp32", "cuda fp16"), ("cuda fp32", "cpu fp32"), ("cuda fp16", "cuda fp32")]
)
def test_a_resume_with_another_arithmetic_is_refused_in_words_and_changes_nothing(tmp_path, before, after, tree_bytes):
    write(tmp_path, before, NAMES[:2])
    found = tree_bytes(tmp_path)
    with pytest.raises(UserError, match=f"partly computed with {before}.*with {after}") as caught:
        write(tmp_path, after, NAMES)
    assert before in caught.value.hint and "remove the folder" in caught.value.hint
    assert tree_bytes(tmp_path) == found
    assert write(tmp_path, before, NAMES).finish(0.0).rows == 9


def test_what_is_complete_stays_valid_on_another_device(tmp_path, tree_bytes):
    write(tmp_path, "cuda fp16", NAMES).finish(0.0)
    found = tree_bytes(tmp_path)
    again = write(tmp_path, "cpu fp32", NAMES)
    again.finish(0.0)
    assert again.computed == 0 and tree_bytes(tmp_path) == found


def test_another_device_may_make_all_of_it_anew(tmp_path):
    write(tmp_path, "cuda fp16", NAMES).finish(0.0)
    again = write(tmp_path, "cpu fp32", NAMES, source="other")
    assert {part.arithmetic for part in again.finish(0.0).parts} == {"cpu fp32"}


def test_a_part_that_was_lost_is_not_made_again_by_another_device(tmp_path):
    write(tmp_path, "cpu fp32", NAMES).finish(0.0)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(UserError, match="partly computed"):
        write(tmp_path, "cuda fp32", NAMES)


def test_parts_of_earlier_versions_count_as_a_cpus(tmp_path):
    write(tmp_path, "cpu bf16", NAMES[:2])
    older(tmp_path)
    with pytest.raises(UserError, match="partly computed with cpu"):
        write(tmp_path, "cuda bf16", NAMES)
    write(tmp_path, "cpu bf16", NAMES).finish(0.0)
    assert len(Store.open(tmp_path)) == 9


def test_content_has_the_same_hash_whatever_computed_it(tmp_path):
    hashes = set()
    for number, arithmetic in enumerate(("cpu fp32", "cuda fp32")):
        write(tmp_path / str(number), arithmetic, NAMES).finish(0.0)
        hashes.add(Store.open(tmp_path / str(number)).content_hash)
    assert len(hashes) == 1
