"""The journal byte by byte: what a line is, what a kill can leave, what damage costs."""

import errno
import json
import logging
import os
import zlib

import pytest

from pipeline.store.parts import journal as module
from pipeline.store.parts.journal import JOURNAL_NAME, Entries, Journal, read_journal

HEADER, FIRST, SECOND = {"kind": "shards"}, {"part": 1, "a": "ü"}, {"part": 2}


def line(entry):
    """As docs/formats.md says: a CRC-32 in eight digits, a space, a JSON object."""
    content = json.dumps(entry, sort_keys=True).encode()
    return f"{zlib.crc32(content):08x} ".encode() + content + b"\n"


@pytest.fixture
def written(tmp_path):
    journal = Journal(tmp_path, HEADER)
    for entry in (FIRST, SECOND):
        journal.append(entry)
    journal.close()
    return tmp_path / JOURNAL_NAME


def test_it_is_a_line_for_each_entry(written):
    assert written.read_bytes() == line(HEADER) + line(FIRST) + line(SECOND)
    assert read_journal(written.parent) == Entries([HEADER, FIRST, SECOND], damaged=False)


def test_checksums_have_eight_digits_also_with_zeros_in_front(tmp_path):
    entry = next({"n": n} for n in range(999) if zlib.crc32(json.dumps({"n": n}).encode()) < 1 << 28)
    Journal(tmp_path, entry).close()
    assert (tmp_path / JOURNAL_NAME).read_bytes() == line(entry)
    assert read_journal(tmp_path).entries == [entry]


def test_no_journal_is_no_entry(tmp_path):
    assert read_journal(tmp_path) == Entries([], damaged=False)


def test_cut_anywhere_it_holds_the_lines_before_the_cut(written, caplog):
    whole = written.read_bytes()
    ends = [len(line(HEADER)), len(line(HEADER) + line(FIRST)), len(whole)]
    for end in range(len(whole) + 1):
        written.write_bytes(whole[:end])
        caplog.clear()
        found = read_journal(written.parent)
        # A line is whole when only its line feed is missing.
        count = sum(end >= place - 1 for place in ends)
        assert found.entries == ([HEADER, FIRST, SECOND][:count] or [{}]), end
        # Without a header there is nothing to go on from, which is no more than a kill can do, but it is said.
        assert found.damaged == (count == 0) == bool(caplog.records), end


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_line_is_left_out_and_said(written, number, caplog):
    lines = written.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"', b"'", 1)
    written.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING):
        found = read_journal(written.parent)
    entries = [HEADER, FIRST, SECOND]
    entries[number : number + 1] = [{}] if number == 0 else []
    assert found == Entries(entries, damaged=True)
    assert str(written) in caplog.text and "are remade" in caplog.text


def test_it_goes_on_where_it_ended(written):
    journal = Journal(written.parent, None)
    journal.append({"part": 3})
    journal.close()
    assert written.read_bytes() == line(HEADER) + line(FIRST) + line(SECOND) + line({"part": 3})


def test_it_goes_on_after_a_line_that_a_kill_tore(written):
    torn = written.read_bytes()[:-5]
    written.write_bytes(torn)
    journal = Journal(written.parent, None)
    journal.append({"part": 3})
    journal.close()
    assert written.read_bytes() == torn + b"\n" + line({"part": 3})
    assert read_journal(written.parent) == Entries([HEADER, FIRST, {"part": 3}], damaged=True)


def test_an_empty_file_is_gone_on_with(tmp_path):
    (tmp_path / JOURNAL_NAME).write_bytes(b"")
    journal = Journal(tmp_path, None)
    journal.append(FIRST)
    journal.close()
    assert (tmp_path / JOURNAL_NAME).read_bytes() == line(FIRST)


def test_a_header_begins_a_new_one(written):
    Journal(written.parent, {"kind": "pairs"}).close()
    assert written.read_bytes() == line({"kind": "pairs"})


def test_each_entry_is_synced_when_append_returns(tmp_path, monkeypatch):
    synced = []
    journal = Journal(tmp_path, HEADER)
    monkeypatch.setattr(
        module, "sync_descriptor", lambda descriptor: synced.append(os.pread(descriptor, 999, 0).count(b"\n"))
    )
    for entry in (FIRST, SECOND):
        journal.append(entry)
    assert synced == [2, 3]
    journal.close()


def test_what_is_written_in_pieces_is_whole(tmp_path):
    journal = Journal(tmp_path, HEADER)
    whole, journal._file = journal._file, SlowFile(journal._file)
    journal.append(FIRST)
    whole.close()
    assert (tmp_path / JOURNAL_NAME).read_bytes() == line(HEADER) + line(FIRST)


class SlowFile:
    """A file that takes three bytes at a time, as a system may."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        return self.file.write(content[:3])

    def fileno(self):
        return self.file.fileno()


def test_what_a_full_disk_refused_is_not_written_later(tmp_path, monkeypatch):
    journal = Journal(tmp_path, HEADER)

    class Full(SlowFile):
        def write(self, content):
            raise OSError(errno.ENOSPC, "no space")

    whole, journal._file = journal._file, Full(journal._file)
    with pytest.raises(OSError, match="no space"):
        journal.append(FIRST)
    whole.close()
    assert (tmp_path / JOURNAL_NAME).read_bytes() == line(HEADER)


def test_removed_it_is_gone_durably(written, monkeypatch):
    synced = []
    monkeypatch.setattr(module, "sync_directory", lambda folder: synced.append((folder, written.exists())))
    journal = Journal(written.parent, None)
    journal.remove()
    assert journal._file.closed and synced == [(written.parent, False)]
