"""CSV and TSV files in which a quote is open or astray: no row is swallowed, every rejected line is named."""

import csv
import io
import random

import pytest

from pipeline.errors import UserError
from pipeline.shard.sources.readers import records
from pipeline.shard.sources.readers.records import delimiter_of, read_records
from tests.shard.makers import shards


def caption_rows(count: int, delimiter: str = ",") -> list[str]:
    return [f"k{number}{delimiter}a photo number {number}" for number in range(count)]


def test_a_quote_that_nothing_closes_costs_one_of_200_rows(tmp_path):
    rows = caption_rows(200)
    rows[99] = 'k99,"unclosed caption'
    (tmp_path / "c.csv").write_text("\n".join(["key,caption", *rows]))
    samples, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert set(samples) == {f"k{number}" for number in range(200)} - {"k99"}
    assert rejected == {"row.100": "line 101: a quote is opened and not closed"}


@pytest.mark.parametrize(("name", "delimiter"), [("c.tsv", "\t"), ("c.csv", ","), ("c.csv", ";")])
def test_two_stray_quotes_cost_their_two_rows_and_no_row_between(tmp_path, name, delimiter):
    rows = [f"a photo number {number}{delimiter}http://x/{number}.jpg" for number in range(200)]
    rows[4] = f'"quoted start of a caption{delimiter}http://x/4.jpg'
    rows[59] = f'end of it"{delimiter}http://x/59.jpg'
    (tmp_path / name).write_text("\n".join([f"caption{delimiter}url", *rows]) + "\n")
    samples, rejected, _ = shards(tmp_path / name, tmp_path / "out", "text")
    kept = [f"a photo number {number}".encode() for number in range(200) if number not in (4, 59)]
    assert [one["txt"] for one in samples.values()] == kept
    assert [reason.split(":")[0] for reason in rejected.values()] == ["line 6", "line 61"]


def test_a_quote_that_the_next_quoted_row_ends_badly_costs_its_own_row(tmp_path):
    rows = caption_rows(20)
    rows[3], rows[12] = 'k3,"never closed', 'k12,"closed, and with a comma"'
    (tmp_path / "c.csv").write_text("\n".join(["key,caption", *rows]))
    samples, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert set(samples) == {f"k{number}" for number in range(20)} - {"k3"}
    assert samples["k12"] == {"txt": b"closed, and with a comma"}
    assert list(rejected) == ["row.4"]


def test_quotes_within_a_cell_and_cells_of_several_lines_are_kept(tmp_path):
    (tmp_path / "c.csv").write_text(
        'key,caption\na,a 27" screen\nb,"first\nsecond, with a comma, and one more\n\nlast"\nc,"say ""this"""\n'
    )
    samples, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text")
    assert [one["txt"].decode() for one in samples.values()] == [
        'a 27" screen', "first\nsecond, with a comma, and one more\n\nlast", 'say "this"'
    ]  # fmt: skip
    assert not rejected


def test_what_a_csv_writer_writes_is_read_as_it_was(tmp_path):
    """Cells of words, quotes, delimiters and line ends, against the standard library's writer and reader."""
    draw = random.Random(0)
    for _ in range(200):
        width = draw.randint(2, 5)
        table = [["".join(draw.choices('ab ,"', k=draw.randint(0, 8))) for _ in range(width)] for _ in range(9)]
        table = [row for row in table if any(row)]
        buffer = io.StringIO()
        csv.writer(buffer).writerows(table)
        found = list(read_records(io.BytesIO(buffer.getvalue().encode()), ","))
        assert [record.cells for record in found] == table
        assert not any(record.fault for record in found)


def test_every_line_is_in_exactly_one_record_whatever_the_quotes(monkeypatch):
    monkeypatch.setattr(records, "MAX_LINES", 6)
    draw = random.Random(1)
    for _ in range(500):
        lines = ["".join(draw.choices('ab,"', weights=[5, 5, 3, 1], k=draw.randint(1, 9))) for _ in range(30)]
        found = list(read_records(io.BytesIO(("\n".join(lines) + "\n").encode()), ","))
        covered = [line for record in found for line in range(record.line, record.line + record.lines)]
        assert covered == list(range(1, 31))


def test_a_file_of_open_quotes_ends_in_time(tmp_path):
    """Each line is looked at for a while, not to the end of the file."""
    text = "key,caption\n" + "".join(f"k{number},plain\n" * 600 + f'k{number},"open\n' for number in range(20))
    (tmp_path / "c.csv").write_text(text)
    _, rejected, _ = shards(tmp_path / "c.csv", tmp_path / "out", "text", duplicates="first")
    assert len([reason for reason in rejected.values() if "a quote is opened" in reason]) == 20


def test_the_delimiter_is_that_of_the_first_line():
    assert [delimiter_of(*header) for header in [
        ("key,caption", "c.csv"), ("key\tcaption", "c.csv"), ("key;caption", "c.csv"), ("a| b", "c.csv"),
        ("key\tcaption, long", "c.tsv"), ("key,caption", "c.tsv"), ("caption", "c.csv"), ("a,b;c;d", "c.csv"),
    ]] == [",", "\t", ";", "|", "\t", ",", ",", ","]  # fmt: skip


@pytest.mark.parametrize("name", ["c.csv", "c.tsv"])
@pytest.mark.parametrize("header", ["key{0}caption", "caption{0} key"])
@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_tables_of_excel_and_tables_with_the_wrong_ending(tmp_path, name, header, delimiter):
    cells = {"key": "k", "caption": "a dog"}
    columns = header.format(delimiter).split(delimiter)
    row = delimiter.join(cells[column.strip()] for column in columns)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + f"{header.format(delimiter)}\r\n{row}\r\n".encode())
    assert shards(tmp_path / name, tmp_path / "out", "text")[0] == {"k": {"txt": b"a dog"}}


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("key,caption,caption\na,one,two\n")
    with pytest.raises(UserError, match="2 columns that are called 'caption'"):
        shards(tmp_path / "c.csv", tmp_path / "out", "text")


def test_a_first_line_that_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "c.csv").write_text('"key,caption\na,one\n')
    with pytest.raises(UserError, match="no line of column names: line 1: a quote is opened"):
        shards(tmp_path / "c.csv", tmp_path / "out", "text")
