"""Copies that were saved anew are found in other corpora; what is only alike is called so; a shard is looked at once."""

import ctypes
import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.leaks import likeness as module
from pipeline.leaks.find import comparable, described, find_leaks
from pipeline.leaks.likeness import look_at
from pipeline.leaks.tables import kept_likeness, read_likeness
from pipeline.modalities import AUDIO, IMAGE
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.store.shards import open_shards
from tests.leaks.test_likeness import saved, scene, sound
from tests.shard.makers import picture

SETTINGS = ShardSettings((IMAGE,), 2, "error", 0.0)


def corpus(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    modality = {"png": IMAGE, "jpg": IMAGE, "flac": AUDIO, "wav": AUDIO}[next(iter(files)).rpartition(".")[2]]
    build_shards(
        folder, folder.with_name(f"{folder.name}-shards"), ShardSettings((modality,), 2, "error", 0.0), Silent()
    )
    return folder.with_name(f"{folder.name}-shards")


def leaks(tmp_path, evaluation, **corpora):
    assert not look_at([evaluation, *corpora.values()], tmp_path / "kept", Silent())
    return find_leaks(evaluation, corpora, tmp_path / "kept")


def kept(tmp_path, folder):
    """What is kept of a corpus: by file, its rows."""
    places = [kept_likeness(tmp_path / "kept" / folder.name, shard) for shard in open_shards(folder).parts]
    return {path: [row for batch in read_likeness([path]) for row in batch] for path in places if path}


def pictures(count):
    return {f"e{seed}.png": saved(scene(seed), "PNG") for seed in range(count)}


def test_copies_between_corpora_are_found_and_named(tmp_path):
    evaluation = corpus(tmp_path / "e", pictures(5))
    training = corpus(
        tmp_path / "t",
        {
            "a.png": saved(scene(0), "PNG"),
            "b.png": saved(scene(1), "PNG", compress_level=1),
            "c.jpg": saved(scene(2), "JPEG", quality=60),
            "d.png": saved(scene(50), "PNG"),
            "e4.png": saved(scene(51), "PNG"),
        },
    )
    found = leaks(tmp_path, evaluation, t=training)
    assert [(leak.key, leak.evaluation_key, leak.reason) for leak in found] == [
        ("a", "e0", "bytes"),
        ("b", "e1", "content"),
        ("c", "e2", "look"),
        ("e4", "e4", "key"),
    ]
    same, looks = described("e", found)
    assert same.startswith(
        "3 samples of t are also in the evaluation set e, 1 with the same bytes, 1 with the same content"
    )
    assert looks.startswith("1 picture of t looks like one of the evaluation set e (such as c and e2)")
    sounds = corpus(tmp_path / "s", {"x.wav": sound(format="WAV")})
    tests = corpus(tmp_path / "h", {"y.flac": sound(format="FLAC")})
    assert [(leak.key, leak.modality, leak.reason) for leak in leaks(tmp_path, tests, s=sounds)] == [
        ("x", AUDIO, "content")
    ]


def test_a_shard_is_looked_at_once(tmp_path, monkeypatch):
    shards = corpus(tmp_path / "e", pictures(5))
    seen = []
    whole = module._likeness_of
    monkeypatch.setattr(module, "_likeness_of", lambda shard, *rest: seen.append(shard.name) or whole(shard, *rest))
    for _ in range(2):
        look_at([shards], tmp_path / "kept", Silent())
        assert sorted(seen) == ["00000.tar", "00001.tar", "00002.tar"]
    before = kept(tmp_path, shards)
    (tmp_path / "e" / "e2.png").write_bytes(saved(scene(9), "PNG"))
    build_shards(tmp_path / "e", shards, SETTINGS, Silent())
    look_at([shards], tmp_path / "kept", Silent())
    assert seen[3:] == ["00001.tar"]
    assert len(before.keys() & kept(tmp_path, shards).keys()) == 2


def test_only_corpora_with_a_modality_in_common_are_looked_at(tmp_path):
    images, others = corpus(tmp_path / "e", pictures(1)), corpus(tmp_path / "t", pictures(2))
    sounds = corpus(tmp_path / "s", {"x.wav": sound(format="WAV")})
    assert comparable(images, [sounds, others]) == [images, others]
    assert comparable(images, [sounds]) == []


def flipped(content):
    return content[:-30] + bytes([content[-30] ^ 4]) + content[-29:]


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-7], lambda content: b"", lambda content: b"no"])
def test_what_is_kept_and_damaged_is_said_and_made_again(tmp_path, caplog, damage):
    shards = corpus(tmp_path / "e", pictures(3))
    look_at([shards], tmp_path / "kept", Silent())
    (whole, _), _ = before = list(kept(tmp_path, shards).items())
    whole.write_bytes(damage(whole.read_bytes()))
    with caplog.at_level(logging.WARNING):
        look_at([shards], tmp_path / "kept", Silent())
    assert f"{whole} is damaged" in caplog.text
    assert list(kept(tmp_path, shards).items()) == before


def test_two_that_look_at_the_same_time_keep_the_same(tmp_path):
    shards = corpus(tmp_path / "e", pictures(6))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: look_at([shards], tmp_path / "kept", Silent()), range(4)))
    assert sorted(os.listdir(tmp_path / "kept" / shards.name)) == sorted(path.name for path in kept(tmp_path, shards))


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_shard_that_cannot_be_read_is_named_and_the_others_are_compared(tmp_path, harm):
    evaluation = corpus(tmp_path / "e", pictures(5))
    files = {f"t{seed}.png": saved(scene(seed), "PNG", compress_level=1) for seed in range(4)}
    training = corpus(tmp_path / "t", files)
    shard = training / "00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"t0", b"t7")) if harm == "damaged" else shard.unlink()
    refused = look_at([evaluation, training], tmp_path / "kept", Silent())
    assert list(refused) == ["t-shards"] and f"{shard} is {harm}" in refused["t-shards"]
    found = find_leaks(evaluation, {"t": training}, tmp_path / "kept")
    assert [(leak.key, leak.evaluation_key) for leak in found] == [("t2", "e2"), ("t3", "e3")]


def test_what_is_not_kept_is_compared_by_bytes(tmp_path):
    files = {"a.png": saved(scene(0), "PNG")}
    evaluation, training = corpus(tmp_path / "e", files), corpus(tmp_path / "t", files)
    assert [leak.reason for leak in find_leaks(evaluation, {"t": training}, tmp_path / "nothing")] == ["bytes"]


def test_shards_under_another_name_are_looked_at_for_themselves(tmp_path):
    """Two corpora with equal shards: each has what is kept in a folder of its own, so that one can be removed."""
    first = corpus(tmp_path / "e", pictures(2))
    second = tmp_path / "copy"
    shutil.copytree(first, second)
    look_at([first, second], tmp_path / "kept", Silent())
    assert [path.name for path in kept(tmp_path, first)] == [path.name for path in kept(tmp_path, second)]


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
def test_what_harms_its_decoder_has_no_likeness_and_harms_no_other(tmp_path, monkeypatch):
    real = module._DECODED[IMAGE]
    harms = [lambda: ctypes.string_at(0), lambda: time.sleep(1000), lambda: bytearray(1 << 45)]

    def harmful(content):
        for number, harm in enumerate(harms):
            if content == picture(90 + number):
                harm()
        return real(content)

    monkeypatch.setitem(module._DECODED, IMAGE, harmful)
    monkeypatch.setattr(module, "Isolated", lambda function, workers: Isolated(function, workers, Limits(1.0, 1 << 28)))
    shards = corpus(tmp_path / "e", {f"f{number:02d}.png": picture(number) for number in [*range(12), 90, 91, 92]})
    assert not look_at([shards], tmp_path / "kept", Silent())
    rows = [row for found in kept(tmp_path, shards).values() for row in found]
    assert sorted(row.key for row in rows if row.content is None) == ["f90", "f91", "f92"]
    assert len({row.content for row in rows}) == 13
