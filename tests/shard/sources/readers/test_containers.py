"""Members of tars and cells of Parquet files: a few files are open at a time, and each is read where it was found."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SampleError, UserError
from pipeline.shard.sources.places import LocalFolder
from pipeline.shard.sources.readers import parquet
from pipeline.shard.sources.readers.parquet import Cells
from pipeline.shard.sources.readers.tars import Tars
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawMember
from pipeline.shard.sources.unread import Unread
from tests.shard.makers import picture, shards, tar


def cells_of(path, keys, row_group_size=2):
    values = pa.array([picture(int(key)) for key in keys], pa.binary())
    pq.write_table(pa.table({"key": keys, "image": values}), path, row_group_size=row_group_size, compression="none")
    return path


@pytest.fixture
def cells(tmp_path):
    """Three Parquet files of four pictures each."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for number in range(3):
        cells_of(folder / f"{number}.parquet", [str(4 * number + row) for row in range(4)])
    return folder


@pytest.fixture
def tars(tmp_path):
    """Three tars of one text each, which begins at byte 512."""
    for number in range(3):
        tar(tmp_path / f"{number}.tar", [("k.txt", b"text %d" % number)])
    return Tars(LocalFolder(str(tmp_path)), [f"{number}.tar" for number in range(3)])


def test_more_files_than_are_held_open_are_read_in_any_order(cells, tmp_path, monkeypatch):
    opened = []
    real = LocalFolder.open

    def counted(folder, name):
        opened.append(real(folder, name))
        return opened[-1]

    monkeypatch.setattr(LocalFolder, "open", counted)
    samples, rejected, _ = shards(cells, tmp_path / "out", "image", options={"kind": "table"}, samples_per_shard=5)
    assert {key: one["png"] for key, one in samples.items()} == {str(number): picture(number) for number in range(12)}
    assert not rejected and len(opened) > 3, "some are opened again"
    assert sum(not file.closed for file in opened) <= parquet.OPEN_FILES


def test_a_container_in_another_process_opens_its_files_for_itself(cells, tars):
    here = Cells(LocalFolder(str(cells)), ["0.parquet", "1.parquet"])
    for container, place, content in ((here, (1, "image", 1, 0), picture(6)), (tars, (2, 512, 6), b"text 2")):
        assert container.read(place, 1 << 20) == content
        there = pickle.loads(pickle.dumps(container))  # noqa: S301  # our own
        assert there.read(place, 1 << 20) == content and there.read(place, 3) == content[:3]


def test_a_tar_that_shrank_since_it_was_listed_gives_no_half_of_a_member(tars, tmp_path):
    with open(tmp_path / "1.tar", "r+b") as file:
        file.truncate(515)
    with pytest.raises(OSError, match="ends within the member"):
        tars.read((1, 512, 6), 1 << 20)
    assert tars.read((1, 512, 6), 3) == b"tex", "more was not asked for"
    unread = Unread()
    with pytest.raises(SampleError, match=r"its \.txt cannot be read: the tar ends within the member"):
        Texts().lines_of(RawMember("txt", tars, (1, 512, 6)), 1, "all", unread)


def test_a_damaged_row_group_stops_the_listing_and_costs_a_reader_its_samples(cells, tmp_path):
    content = bytearray((cells / "1.parquet").read_bytes())
    first = pq.read_metadata(cells / "1.parquet").row_group(0).column(1)
    start = first.dictionary_page_offset or first.data_page_offset
    content[start : start + first.total_compressed_size] = bytes(first.total_compressed_size)
    (cells / "1.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"1\.parquet cannot be read as Parquet"):
        shards(cells, tmp_path / "out", "image", options={"kind": "table"})
    here = Cells(LocalFolder(str(cells)), ["0.parquet", "1.parquet"])
    with pytest.raises(OSError, match="page header"):
        here.read((1, "image", 0, 1), 1 << 20)
    assert here.read((1, "image", 1, 1), 1 << 20) == picture(7), "the other row group is sound"


def test_a_file_that_was_replaced_since_it_was_listed_costs_a_reader_its_samples(cells):
    (cells / "1.parquet").write_text("<html><head><title>404</title></head></html>")
    here = Cells(LocalFolder(str(cells)), ["0.parquet", "1.parquet"])
    with pytest.raises(OSError, match=r"the row group cannot be read \(.*1\.parquet is an HTML page"):
        here.read((1, "image", 0, 1), 1 << 20)


def test_a_key_of_two_cells_says_where_they_are(tmp_path):
    source = cells_of(tmp_path / "d.parquet", ["1", "2", "3", "1"])
    with pytest.raises(
        UserError, match=r"'1' \(.*d\.parquet: image in row 0 of row group 0 and .* in row 1 of row group 1"
    ):
        shards(source, tmp_path / "out", "image")


def test_row_groups_too_large_for_memory_are_refused_if_they_hold_files(tmp_path, monkeypatch):
    source = cells_of(tmp_path / "d.parquet", ["1", "2", "3", "4"])
    again = cells_of(tmp_path / "e.parquet", ["1", "2", "3", "4"], row_group_size=1)
    groups = [pq.read_metadata(again).row_group(number).column(1).total_uncompressed_size for number in range(4)]
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", max(groups))
    with pytest.raises(UserError, match="bytes of files in one row group, which has to be in memory at once") as error:
        shards(source, tmp_path / "out", "image")
    assert "smaller row groups" in error.value.hint
    assert len(shards(again, tmp_path / "out2", "image")[0]) == 4


def test_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["caption", "caption"]), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="has several columns of one name"):
        shards(tmp_path / "c.parquet", tmp_path / "out", "text")
