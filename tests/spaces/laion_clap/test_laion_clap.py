"""Our CLAP against the library's own public calls, with a small text tower and a random checkpoint made here."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from pipeline.decode.audio import Sound
from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.laion_clap import audio as sounds
from pipeline.spaces.laion_clap.library import build_clap, load_tokenizer, roberta_folder
from pipeline.spaces.laion_clap.space import LaionClapSpace
from pipeline.testing.fake_cuda import encode_on_fake_cuda
from tests.spaces.laion_clap.make_tokenizers import REVISION, offline_hub

NEEDS_LIBRARY = pytest.mark.skipif(find_spec("laion_clap") is None, reason="the extra `clap` is not installed")
pytestmark = NEEDS_LIBRARY
TEXTS = ["a dog barks", "waves <pad> break", "an engine starts " * 40]
ROOT = Path(__file__).parents[3]
# A model of the real size takes seconds to build and to run: most of it is for `make test-slow`.
KINDS = pytest.mark.parametrize("kind", ["plain", pytest.param("fused", marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("huggingface")
    with offline_hub(home):
        yield home


class Pair:
    """The library's model and our space of the same random weights."""

    def __init__(self, folder: Path, fusion: bool) -> None:
        self.path = folder / ("630k-fusion-best.pt" if fusion else "630k-best.pt")
        self.spec = SpaceSpec("laion_clap", str(self.path), options={"fusion": fusion})
        self.theirs = self._save(fusion)
        self.ours: Any = load_space(self.spec)

    def _save(self, fusion: bool) -> Any:
        build_clap("HTSAT-tiny", fusion, roberta_folder())  # imports the library without the network
        import laion_clap

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            theirs = laion_clap.CLAP_Module(enable_fusion=fusion, device="cpu")
            for parameter in theirs.model.parameters():  # as they start all texts, and all clips, look alike
                if parameter.ndim > 1 and parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
            # What mel spectrograms in decibels are like, as a trained model has learned it.
            theirs.model.audio_branch.bn0.running_mean.fill_(-30)
            theirs.model.audio_branch.bn0.running_var.fill_(400)
        layout = {f"module.{name}": tensor for name, tensor in theirs.model.state_dict().items()}
        layout["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
        optimizer = {"param_groups": [{"lr": np.float64(1e-4)}]}
        torch.save({"epoch": 1, "name": "630k", "state_dict": layout, "optimizer": optimizer}, self.path)
        theirs.model.eval()
        return theirs

    def embed(self, modality: str, *payloads: bytes) -> NDArray[np.float32]:
        batch = torch.stack([self.ours.preprocess(modality, payload) for payload in payloads])
        embeddings: NDArray[np.float32] = self.ours.encode(modality, batch).numpy()
        return embeddings


@pytest.fixture(scope="module")
def plain(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("clap"), fusion=False)


@pytest.fixture(scope="module")
def fused(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("clap"), fusion=True)


def clip(seconds: float, seed: int = 0, rate: int = 48_000) -> NDArray[np.float32]:
    """A chirp with noise: no second of it is like another."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    swept = np.sin(2 * np.pi * (200 + 150 * seed + 90 * time) * time) * np.minimum(1, time / seconds + 0.1)
    return (0.8 * swept + 0.02 * noise).astype(np.float32)


def wav(wave: NDArray[np.float32], rate: int = 48_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def library_audio(pair: Pair, *waves: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        embeddings: NDArray[np.float32] = pair.theirs.get_audio_embedding_from_data(list(waves))
    return embeddings


def largest(difference: NDArray[np.float32]) -> float:
    return float(np.abs(difference).max())


def test_clips_within_the_window_agree_with_the_library(plain: Pair) -> None:
    waves = [clip(0.3, 1), clip(10, 2), 3 * clip(4.1, 3)]  # repeated, exact, and clipped as 16-bit samples are
    ours = plain.embed("audio", *map(wav, waves))
    theirs = library_audio(plain, *waves)
    assert largest(ours - theirs) < 1e-5
    assert largest(theirs[0] - theirs[1]) > 1e-2, "the test tells clips apart"
    assert ours.dtype == np.float32


def test_a_gpu_gets_all_that_it_needs_and_rounds_no_product(plain: Pair) -> None:
    """The spectrogram is a convolution: rounded to TF32, a tone is off by decibels."""
    for modality, payload in (("audio", wav(clip(1))), ("text", b"a dog barks")):
        rows, watch = encode_on_fake_cuda(plain.spec, modality, plain.ours.preprocess(modality, payload)[None])
        assert rows.shape == (1, 512)
        assert watch.products and not watch.loose


@pytest.mark.slow
def test_fusion_clips_within_the_window_agree_with_the_library(fused: Pair) -> None:
    waves = [clip(0.3, 1), clip(10, 2), clip(10.005, 3)]  # the last is longer than 10 s by less than a frame
    assert largest(fused.embed("audio", *map(wav, waves)) - library_audio(fused, *waves)) < 1e-5


def test_texts_agree_with_the_library(plain: Pair) -> None:
    with torch.no_grad():
        theirs = plain.theirs.get_text_embedding(TEXTS)
    assert largest(plain.embed("text", *(text.encode() for text in TEXTS)) - theirs) < 1e-5
    assert largest(theirs[0] - theirs[1]) > 1e-2


@pytest.mark.slow
def test_files_agree_with_the_library(plain: Pair, tmp_path: Path) -> None:
    stereo = np.stack([clip(2, 1, 44_100), clip(2, 2, 44_100)], axis=1)
    (tmp_path / "stereo.wav").write_bytes(wav(stereo, 44_100))
    with torch.no_grad():
        theirs = plain.theirs.get_audio_embedding_from_filelist([str(tmp_path / "stereo.wav")])
    assert largest(plain.embed("audio", (tmp_path / "stereo.wav").read_bytes()) - theirs) < 1e-5


@KINDS
def test_longer_clips_have_one_embedding_here_and_several_there(kind: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(kind)
    long = clip(23, 4)
    once, again = (pair.embed("audio", wav(long)) for _ in range(2))
    assert np.array_equal(once, again)
    state = np.random.get_state()
    np.random.seed(1)
    there = [library_audio(pair, long) for _ in range(2)]
    np.random.set_state(state)
    assert largest(there[0] - there[1]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10.02, 23])
@pytest.mark.parametrize("crop", ["center", "start"])
@KINDS
def test_longer_clips_are_one_of_the_librarys_throws(
    kind: str, crop: str, seconds: float, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its dice loaded the library agrees with the policy that the fingerprint states."""
    pair: Pair = request.getfixturevalue(kind)
    share = {"center": 0.5, "start": 0.0}[crop]
    monkeypatch.setattr(np.random, "randint", lambda low, high: low + int((high - 1 - low) * share))
    monkeypatch.setattr(np.random, "choice", lambda possible: possible[int(len(possible) * share)])
    monkeypatch.setattr(pair.ours, "crop", crop)
    if pair.ours.views:
        monkeypatch.setattr(pair.ours.views, "crop", crop)
    waves = [clip(seconds, 4), clip(3, 5)]  # a short one in the same batch
    assert largest(pair.embed("audio", *map(wav, waves)) - library_audio(pair, *waves)) < 1e-5


@KINDS
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near(
    kind: str, precision: str, tolerance: float, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair: Pair = request.getfixturevalue(kind)
    half: Any = load_space(replace(pair.spec, precision=precision))
    for modality, payloads in {"audio": [wav(clip(12, 4)), wav(clip(3, 5))], "text": [b"a dog barks"]}.items():
        batch = torch.stack([half.preprocess(modality, payload) for payload in payloads])
        embeddings = half.encode(modality, batch)
        assert embeddings.dtype == torch.float32
        difference = largest(embeddings.numpy() - pair.embed(modality, *payloads))
        assert 1e-6 < difference < tolerance
    assert half.fingerprint("audio")["precision"] == precision


@pytest.mark.slow
def test_fingerprint_names_what_decides(plain: Pair, fused: Pair) -> None:
    audio, text = plain.ours.fingerprint("audio"), plain.ours.fingerprint("text")
    assert audio["sha256"] == text["sha256"] != fused.ours.fingerprint("audio")["sha256"]
    assert {"crop", "model", "fusion", "precision", "code_version"} <= audio.keys()
    assert {"torch", "laion_clap", "soxr", "torchaudio"} <= audio["packages"].keys()
    assert len(text["tokenizer_sha256"]) == 64
    assert "transformers" in text["packages"]
    start = LaionClapSpace(plain.ours.clap, plain.ours.tokenizer, {**plain.ours.common, "crop": "start"}, "cpu")
    assert start.fingerprint("text") == text, "how clips are cropped is nothing to a text"
    assert start.fingerprint("audio")["preprocessing"] != audio["preprocessing"]


@pytest.mark.slow
def test_wrong_architectures(plain: Pair, fused: Pair) -> None:
    with pytest.raises(
        UserError, match=r"of CLAP HTSAT-tiny without fusion: \d+ unexpected \(audio_branch\.patch_embed"
    ):
        load_space(replace(fused.spec, options={}))
    with pytest.raises(UserError, match=r"of CLAP HTSAT-tiny with fusion: \d+ missing \(audio_branch\.patch_embed"):
        load_space(replace(plain.spec, options={"fusion": True}))
    with pytest.raises(UserError, match=r"of CLAP HTSAT-base without fusion: .*of another shape \(\S+ \["):
        load_space(replace(plain.spec, model="HTSAT-base"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "but the space asks for"),
        ({"checkpoint": "nowhere.pt"}, "does not exist"),
        ({"model": "HTSAT-huge"}, "no CLAP model 'HTSAT-huge'"),
        ({"precision": "int8"}, "no precision 'int8'"),
        ({"options": {"crop": "random"}}, "crop of a CLAP space cannot be 'random'"),
        ({"options": {"fusion": 1}}, "fusion of a CLAP space cannot be 1"),
        ({"options": {"seed": 1}}, "no option 'seed'"),
    ],
)
def test_wrong_settings(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(UserError, match=message):
        load_space(replace(SpaceSpec("laion_clap", str(tmp_path)), **change))


def test_missing_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cache \S+ lacks its config\.json, vocab\.json, merges\.txt") as caught:
        load_space(SpaceSpec("laion_clap", str(tmp_path)))
    assert "hf download roberta-base config.json vocab.json merges.txt" in caught.value.hint


@pytest.mark.parametrize("content", ["{}", '{"<s>": 0', '{"<s>": 0, "<pad>": 1}'])
def test_damaged_tokenizer(hub: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "roberta"
    shutil.copytree(hub / "hub" / "models--roberta-base" / "snapshots" / REVISION, folder)
    assert len(load_tokenizer(folder)) > 256
    (folder / "vocab.json").write_text(content)
    with pytest.raises(UserError, match="tokenizer in .* is damaged"):
        load_tokenizer(folder)


def test_samples_that_cannot_be_used(plain: Pair) -> None:
    with pytest.raises(SampleError, match="libsndfile"):
        plain.ours.preprocess("audio", b"RIFF")
    with pytest.raises(SampleError, match="UTF-8"):
        plain.ours.preprocess("text", b"\xff\xff")
    slow = Sound(np.zeros(100_000, np.float32), 1)
    with pytest.raises(SampleError, match="4800000000 frames at 48000 Hz, the limit is"):
        sounds.prepare_wave(slow)


ALONE = """
import logging, random, socket, sys
import numpy as np, torch
def refuse(*_): raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
import pipeline.spaces
assert not {"laion_clap", "transformers", "librosa"} & set(sys.modules)
import pipeline.spaces.laion_clap.space
assert not {"laion_clap", "transformers", "librosa", "soxr"} & set(sys.modules)
def state():
    generators = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    return list(sys.path), list(sys.argv), logging.root.level, list(logging.root.handlers), generators
before = state()
space = pipeline.spaces.load_space(pipeline.spaces.SpaceSpec("laion_clap", sys.argv[1]))
assert state() == before, "loading left a trace"
from transformers import BertTokenizer
assert "from_pretrained" not in vars(BertTokenizer)
tokens = space.preprocess("text", b"a dog barks")
np.save(sys.argv[2], space.encode("text", tokens[None]).numpy())
"""


@pytest.mark.slow
def test_loading_uses_no_network_and_leaves_no_trace(plain: Pair, hub: Path, tmp_path: Path) -> None:
    """In a process of its own, without HF_HUB_OFFLINE, where the first import of the library is ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-c", ALONE, str(plain.path), str(tmp_path / "text.npy"), "--unknown-flag"]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, "HF_HOME": str(hub)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert largest(np.load(tmp_path / "text.npy") - plain.embed("text", b"a dog barks")) < 1e-6
