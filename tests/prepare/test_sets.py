"""Every reader on a miniature of its set."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.prepare import SETS
from pipeline.prepare.prepared import Prepared
from pipeline.prepare.stamps import STAMPS
from tests.makers.miniatures import LOOKED_UP, MINIATURES, write


def read(root: Path, name: str) -> Prepared:
    return SETS[name].read(write(root, name), SETS[name].templates)


def keys(prepared: Prepared, modality: str) -> list[str]:
    return [key for key, _ in prepared.files[modality]]


def test_every_set_has_a_miniature_whose_layout_was_looked_up():
    assert set(MINIATURES) == set(LOOKED_UP) == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_files_exist_and_keys_are_keys(tmp_path, name):
    prepared = read(tmp_path, name)
    for modality, samples in prepared.files.items():
        assert samples and all((tmp_path / name / path).is_file() for _, path in samples), modality
    held = {key for modality in prepared.files for key in keys(prepared, modality)}
    held |= {key for makers in prepared.converted.values() for key in makers}
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for key in held)
    assert {key for key, _ in prepared.labels} <= held and {key for key, _ in prepared.captions} <= held
    assert {key for sound, picture, _ in prepared.regions for key in (sound, picture)} <= held
    assert {label for _, label in prepared.labels} <= set(prepared.classes)
    assert prepared.listed >= max(map(len, [*prepared.files.values(), *prepared.converted.values()]))


def test_ave(tmp_path):
    found = read(tmp_path, "ave")
    assert keys(found, "audio") == keys(found, "image") == ["-vid1", "vid2"]
    assert found.labels == [("-vid1", "Church_bell"), ("vid2", "Male_speech_man_speaking"), ("vid2", "Bark")]
    assert found.classes["Male_speech_man_speaking"] == "Male speech, man speaking"
    assert found.listed == 3


def test_vggss(tmp_path):
    found = read(tmp_path, "vggss")
    assert found.regions == [
        ("-a1_000010", "-a1_000010", (0.1, 0.2, 0.5, 0.6)),
        ("-a1_000010", "-a1_000010", (0.5, 0.0, 1.0, 0.5)),
        ("b2_000020", "b2_000020", (0.0, 0.0, 1.0, 1.0)),
        # Clipped as SLAVC's program does it, a box with an edge far away holds nothing; the picture shows what sounds all the same.
        ("c3_000030", "c3_000030", (0.4, 0.66, 0.0, 0.98)),
    ]
    assert found.agreement == 1 and found.listed == 4


def test_flickr_soundnet(tmp_path):
    found = read(tmp_path, "flickr-soundnet")
    assert keys(found, "image") == ["111", "222", "333"]
    # Two annotators marked the same; 333 is annotated, but not of the test split.
    assert found.regions == [(key, key, (0.25, 0.0, 0.5, 1.0)) for key in ("111", "111", "222")]
    assert found.agreement == 2


def test_music_solo(tmp_path):
    found = read(tmp_path, "music-solo")
    sound, picture = "clip_0_1000_frame_013", "clip_0_1000_frame_013_00411"
    assert found.regions == [(sound, picture, (0.25, 0.5, 0.75, 1.0))]
    assert (keys(found, "audio"), keys(found, "image")) == ([sound], [picture])


def test_extended_sets(tmp_path):
    found = read(tmp_path, "extended-vggss")
    # The set's own pairs are the positives; a silent pair may be a clip that is not in VGG-SS at all.
    assert found.regions[:4] == read(tmp_path, "vggss").regions
    assert found.regions[4:] == [("other_000147", "other_000147", None), ("-a1_000010", "b2_000020", None)]
    assert found.listed == 4 + 3
    found = read(tmp_path, "extended-flickr")
    assert found.regions[3:] == [("222", "333", None)] and found.agreement == 2
    assert keys(found, "audio") == keys(found, "image") == ["111", "222", "333"]


@pytest.mark.parametrize(("name", "suffix"), [("tuxpaint", ""), ("tuxpaint-speech", "_desc_fr")])
def test_stamps(tmp_path, name, suffix):
    found = read(tmp_path, name)
    stamps = ["animals_birds_duck", "animals_marsupials_koala"]
    assert keys(found, "image") == keys(found, "audio") == stamps
    assert [Path(path).stem for _, path in found.files["audio"]] == [f"duck{suffix}", f"koala{suffix}"]
    assert found.captions == list(zip(stamps, ["A duck.", "A koala."], strict=True))


def test_a_stamp_without_a_description_is_left_out(tmp_path):
    folder = write(tmp_path, "tuxpaint")
    (folder / STAMPS / "animals/birds/duck.txt").unlink()
    found = SETS["tuxpaint"].read(folder, ())
    assert keys(found, "audio") == ["animals_marsupials_koala"] and found.listed == 2


@pytest.mark.slow
def test_stamps_of_the_real_package(tmp_path):
    """Needs Debian's apt and a network: counts of version 2022.06.04-1."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip("needs apt-get and dpkg-deb")
    package = "tuxpaint-stamps-default"
    if subprocess.run(["apt-get", "download", package], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip(f"apt-get could not download {package}")
    [archive] = tmp_path.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, tmp_path / "package"], check=True)
    for name, count in (("tuxpaint", 107), ("tuxpaint-speech", 589)):
        found = SETS[name].read(tmp_path / "package", ())
        assert len(found.captions) == len(found.files["image"]) == len(found.files["audio"]) == count
        assert all((tmp_path / "package" / path).stat().st_size for files in found.files.values() for _, path in files)
        assert dict(found.captions)["animals_marsupials_koala" if name != "tuxpaint" else "animals_marsupials_wombat"]


def test_captioned_sets(tmp_path):
    found = read(tmp_path, "audiocaps")
    assert found.captions == [("-yt1_30", "A dog, barking"), ("-yt1_30", "Barks"), ("yt2_0", "Rain falls")]
    assert found.files["audio"] == [("-yt1_30", "audio/-yt1_30.wav"), ("yt2_0", "audio/Yyt2.wav")]
    found = read(tmp_path, "clotho")
    assert found.captions == [("City_street_1_", f"street {number}") for number in range(5)]
    for name, key in (("coco", "COCO_val2014_000000000042"), ("flickr30k", "1007129816")):
        found = read(tmp_path, name)
        # Five captions, though there are six.
        assert found.captions == [(key, f"{key} {number}") for number in range(5)]
        assert keys(found, "image") == [key]


def test_sets_with_classes(tmp_path):
    found = read(tmp_path, "esc50")
    assert found.labels == [("1-100032-A-0", "dog"), ("1-17092-B-27", "brushing_teeth")]
    assert found.classes == {"dog": "dog", "brushing_teeth": "brushing teeth"}
    found = read(tmp_path, "audioset")
    speech, male, clip = "_m_09x0r", "_t_dd00003", "-4gqARaEJE"
    assert found.labels == [(clip, speech), (clip, male), ("--BfvyPmVMo", speech)]
    assert len(found.classes) == 3 and found.classes[male] == "Male speech, man speaking"
    found = read(tmp_path, "imagenet")
    assert found.classes == {"n02012849": "crane", "n03126707": "crane", "n01440764": "tench"}
    assert [label for _, label in found.labels] == ["n03126707", "n01440764"]


def test_sets_of_shapes(tmp_path):
    found = read(tmp_path, "modelnet40")
    assert found.templates == ("a cloud of {}.", "the {}.")
    assert found.labels == [("airplane_0627", "airplane"), ("night_stand_0201", "night_stand")]
    assert found.classes["night_stand"] == "night stand"
    points = np.load(io.BytesIO(found.converted["point"]["airplane_0627"]()))
    np.testing.assert_allclose(points, [[0.1, 0.2, 0.3], [-0.1, 0.5, 0.25]], atol=1e-7)
    assert points.dtype == np.float32
    found = read(tmp_path, "objaverse-lvis")
    assert found.labels == [("u1", "Band_Aid"), ("u3", "alligator")] and found.listed == 3
    assert keys(found, "image") == ["u3"] and found.classes["Band_Aid"] == "Band Aid"


@pytest.mark.parametrize("name", ["modelnet40", "objaverse-lvis"])
def test_own_templates_need_no_file_of_templates(tmp_path, name):
    folder = write(tmp_path, name)
    (folder / "templates.json").unlink()
    assert SETS[name].read(folder, ("my {}",)).templates == ("my {}",)
