"""What is looked for, with which connection, and where: before any model is loaded."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.explore.queries import read_query, widest
from tests.makers.links import make_link


def test_a_query_is_a_file_or_words(tmp_path: Path) -> None:
    sound = tmp_path / "bell.FLAC"
    sound.write_bytes(b"fLaC")
    assert read_query(str(sound)) == ("audio", b"fLaC")
    long = "A dog barks at the mailman. " * 12 + "Then it sleeps"  # no file system has a name of that length
    for text in ("two small rings", "rings / balls", "a dog.", "3.5 rings", "Dr. No", long):
        assert read_query(text) == ("text", text.encode())


@pytest.mark.parametrize(
    "query", ["no-such.wav", "bell.flac", "photos/dog", "./dog", "dog.PNG", r"photos\dog", "a b.npy"]
)
def test_a_mistyped_path_is_not_taken_for_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="There is no file"):
        read_query(query)


def test_words_of_another_encoding_are_told() -> None:
    with pytest.raises(UserError, match="The query has no character at 3"):
        read_query("caf\udce9")


def test_nothing_is_not_looked_for() -> None:
    with pytest.raises(UserError, match="A query is empty"):
        read_query(" ")


def test_the_widest_connection_that_holds_both_modalities_is_used() -> None:
    narrow = (make_link("narrow"),)
    ulip = make_link("wide", ("clip", "ulip"), "image", {"clip": "text", "ulip": "point"}, "clip")
    connections = {"narrow": narrow, "wide": (make_link("wide", base="clip"), ulip)}
    assert widest(connections, ["audio"], "image") == "wide"
    assert widest({"narrow": narrow}, ["text"], "audio") == "narrow"
    assert widest(connections, ["audio", "text"], "point") == "wide"
    with pytest.raises(UserError, match="No connection joins audio and point"):
        widest({"narrow": narrow}, ["audio"], "point")
    with pytest.raises(UserError, match="There is no modality 'imag'") as misspelt:
        widest({"narrow": narrow}, ["text"], "imag")
    assert misspelt.value.hint == "Did you mean 'image'?"
