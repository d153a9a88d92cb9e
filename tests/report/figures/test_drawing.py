"""Plots and pictures: what is drawn is where the numbers say."""

import ctypes
import io
import os
import re
import time

import numpy as np
import pytest
from PIL import Image

from pipeline import thumbnails
from pipeline.decode.isolated import POSSIBLE, Limits
from pipeline.errors import CorruptError
from pipeline.report.figures import media
from pipeline.report.figures.media import Gallery, Member, Need, read_members
from pipeline.report.figures.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    histogram,
    line_chart,
    thin,
    ticks,
)
from pipeline.store import PartFolder
from pipeline.store.shards import SHARDS, ShardSample, write_shard
from pipeline.thumbnails import log_mel, point_png, shrink_picture, spectrogram_png
from tests.report import world


def points_of(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]


def test_line_ends_at_the_corners_of_the_frame():
    [points] = points_of(line_chart({"loss": [(0, 0.0), (10, 4.0)]}, Axes("step", "loss"), "t"))
    assert points == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]


def test_logarithmic_axis_puts_ten_halfway_to_a_hundred():
    [points] = points_of(line_chart({"r": [(1, 0.0), (10, 0.5), (100, 1.0)]}, Axes("k", "r", log_x=True, top=1.0), "t"))
    assert points[1] == ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)


def test_histogram_starts_and_ends_on_the_ground():
    [points] = points_of(histogram({"true": [(0, 1, 2.0), (1, 2, 1.0)]}, Axes("x", "y"), "t"))
    assert points[0][1] == points[-1][1] == HEIGHT - BOTTOM
    assert points[1][1] == TOP


def test_names_in_plots_are_escaped():
    svg = line_chart({world.HOSTILE: [(0, 0.0), (1, 1.0)]}, Axes("<b>", "<i>"), '"><script>')
    assert not re.search(r"<(script|b|i)>", svg)


def test_thinning_keeps_the_mean():
    points = [(float(x), float(x % 7)) for x in range(1000)]
    thinned = thin(points, 100)
    assert len(thinned) == 100
    assert np.mean([y for _, y in thinned]) == pytest.approx(np.mean([y for _, y in points]))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.013), (-1, 1), (3, 3), (0, 7800)])
def test_ticks_are_few_and_cover_the_start(low, high):
    found = ticks(low, high)
    assert 1 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] <= max(high, low)


def test_higher_tones_stand_higher_and_silence_is_dark():
    time = np.arange(8000) / 8000
    centres = []
    for pitch in (300, 1000, 3000):
        mel = log_mel(np.sin(2 * np.pi * pitch * time).astype(np.float32), 8000)
        assert mel.shape == (40, 72)
        centres.append(int(mel.mean(axis=1).argmax()))
    assert centres == sorted(set(centres))
    half = np.sin(2 * np.pi * 1000 * time).astype(np.float32) * (time < 0.5)
    mel = log_mel(half, 8000)
    assert mel[:, :30].max() > 0.9
    assert mel[:, 45:].max() == 0


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_short_sounds_have_a_spectrogram_too(samples):
    assert np.isfinite(log_mel(np.zeros(samples, np.float32), 8000)).all()


def test_nearer_points_cover_farther_ones():
    cloud = np.array([[0, 0, 1, 1, 0, 0], [0, 0, -1, 0, 0, 1], [1, 1, 0, 0, 1, 0], [-1, -1, 0, 0, 1, 0]], np.float32)
    stream = io.BytesIO()
    np.save(stream, cloud)
    pixels = np.asarray(Image.open(io.BytesIO(point_png(stream.getvalue()))).convert("RGB"))
    assert tuple(pixels[31, 31]) == (255, 0, 0)


def test_large_pictures_become_thumbnails():
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    small = Image.open(io.BytesIO(shrink_picture(stream.getvalue())))
    assert small.size == (85, 128)


def write_corpus(folder, texts):
    samples = [ShardSample(key, {"txt": content}) for key, content in texts.items()]
    shards = PartFolder(folder, SHARDS, {})
    shards.commit("00000.tar", "s", list(texts), [], lambda path: write_shard(path, samples))
    shards.finish(0.0)


@pytest.mark.parametrize("damage", [lambda tar: tar.write_bytes(tar.read_bytes().replace(b"from", b"form")), os.remove])
def test_nothing_is_shown_from_a_shard_that_is_not_the_manifests(tmp_path, damage):
    write_corpus(tmp_path / "a", {"same": b"from a"})
    damage(tmp_path / "a" / "00000.tar")
    with pytest.raises(CorruptError, match="00000.tar is"):
        read_members(tmp_path, [Need("same", "text", ("a",))])


def test_a_sample_is_shown_from_its_own_corpus_only(tmp_path):
    for corpus, content in {"a": b"from a", "b": b"from b"}.items():
        write_corpus(tmp_path / corpus, dict.fromkeys(("same", f"only-{corpus}"), content))
    needs = [Need("same", "text", ("b",)), Need("only-a", "text", ()), Need("nowhere", "text", ("b",))]
    gallery = Gallery(read_members(tmp_path, needs), 1000)
    assert [gallery.show(need).caption for need in needs] == ["from b", "", ""]
    assert gallery.show(needs[1]).note == "not in the shards"


def test_undecodable_members_are_named_not_fatal(tmp_path):
    from pipeline.report.figures.media import Member

    gallery = Gallery({"c": {("k", "audio"): Member(b"no sound", "flac"), ("k", "point"): Member(b"no", "npy")}}, 9999)
    assert gallery.show(Need("k", "audio", ("c",))).note == "cannot be decoded"
    assert gallery.show(Need("k", "point", ("c",))).note == "cannot be decoded"


def test_low_tones_stand_at_the_bottom_of_the_picture():
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_png(world.sound(0)))).convert("L")).astype(int)
    assert picture.shape == (40, 72)
    assert picture.mean(axis=1).argmax() > 30


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
def test_a_sample_that_crashes_or_hangs_its_decoder_is_a_note_on_the_page(monkeypatch):
    real = thumbnails.point_png
    harm = {
        b"crash": lambda: ctypes.string_at(0),
        b"hang": lambda: time.sleep(1000),
        b"swell": lambda: bytearray(1 << 45),
    }
    monkeypatch.setattr(thumbnails, "point_png", lambda content: harm.get(content, lambda: None)() or real(content))
    monkeypatch.setattr(media, "Painter", lambda: thumbnails.Painter(Limits(1.0, 1 << 28)))
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).random((50, 3), dtype=np.float32))
    contents = {"fine": stream.getvalue()} | {name.decode(): name for name in harm}
    gallery = Gallery({"c": {(key, "point"): Member(content, "npy") for key, content in contents.items()}}, 99_999)
    shown = {key: gallery.show(Need(key, "point", ("c",))) for key in [*contents, "fine"]}
    assert shown.pop("fine").picture.startswith("data:image/png")
    assert [one.note for one in shown.values()] == ["cannot be decoded"] * 3
