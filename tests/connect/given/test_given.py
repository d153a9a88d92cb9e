"""What other programs hand over is taken for what it is, or refused in a sentence; nothing is misread in silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mcr_connect import ConnectedSpace, Encoder, SpaceSpec, embed, load_space
from pipeline.errors import UserError

WIDTH = 6
ROWS = np.eye(5, WIDTH, dtype=np.float32)[::-1].copy()


@pytest.fixture
def space(small_project: Path) -> ConnectedSpace:
    return ConnectedSpace.load("data/models/audio_image")


@pytest.mark.parametrize(
    "given",
    [
        ROWS.astype(">f4"),
        ROWS[::-1][::-1],
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        ROWS.astype(np.longdouble),
        ROWS.astype(object),
        ROWS.astype(int),
        ROWS.tolist(),
        [torch.tensor(row, requires_grad=True) for row in ROWS],
        [torch.tensor(row).bfloat16() for row in ROWS],
        torch.tensor(ROWS, requires_grad=True),
        torch.tensor(ROWS).to_sparse(),
        torch.tensor(ROWS).half(),
        pd.DataFrame(ROWS, index=range(7, 12)),
    ],
)
def test_rows_of_any_kind_are_projected_alike(space: ConnectedSpace, given: Any) -> None:
    assert torch.equal(space.project("clip", given), space.project("clip", ROWS))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ROWS.astype(complex), "its values are complex128"),
        (torch.tensor(ROWS).to(torch.complex64), "complex"),
        (ROWS.astype(bool), "its values are bool"),
        (np.ma.masked_less(ROWS, 0.5), "masked"),
        ([[1.0], [1.0, 2.0]], "inhomogeneous"),
        ([torch.ones(WIDTH), torch.ones(2)], "equal size"),
        ([torch.ones(WIDTH, dtype=torch.complex64)], "complex"),
        ([["a"] * WIDTH], "its values are <U1"),
        (None, "NoneType cannot be read as rows"),
        ({"a": 1}, "cannot be read as rows"),
        (torch.empty(2, WIDTH, device="meta"), "without values"),
        (ROWS[0], r"shape \[6\]"),
        (ROWS * 3, "row 0 of those of clip has length 3, where"),
        (ROWS * 0, "row 0 of those of clip is zero"),
        (ROWS * np.float32(1e30), "row 0 of those of clip"),
        (np.where(np.arange(5)[:, None] == 3, np.nan, ROWS), "row 3 of those of clip is not finite"),
    ],
)
def test_what_is_no_table_of_embeddings_is_refused(space: ConnectedSpace, given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        space.project("clip", given)


def test_a_modality_or_a_space_that_is_not_there_is_refused(space: ConnectedSpace) -> None:
    with pytest.raises(UserError, match="clip does not embed 'imge'"):
        space.project("clip", ROWS, "imge")
    for name in ("clop", ["clip"]):
        with pytest.raises(UserError, match="has no space"):
            space.project(name, ROWS)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="has no space"):
            space.frozen_space(name)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no precision torch.float16"):
        load_space(SpaceSpec("compact", "data/spaces/clip", precision=torch.float16))  # type: ignore[arg-type]
    kept = ConnectedSpace.load("data/models/audio_image", keep=0.5)
    with pytest.raises(UserError, match="different numbers of rows: 5 of clip, 2 of clap"):
        kept.project_towers({"clip": ROWS, "clap": np.eye(2, space.config.spaces["clap"].dimension)}, "text")
    with pytest.raises(UserError, match="weight of the frozen space clip is 0.7"):
        ConnectedSpace.load("data/models/audio_image", keep="0.7")  # type: ignore[arg-type]


@pytest.mark.parametrize("frozen", [False, True])
def test_files_and_texts_may_be_any_list(space: ConnectedSpace, frozen: bool) -> None:
    asked = space.frozen_space("clip") if frozen else space
    texts, file = ["a photo", "of w0"], "data/raw/photos/p01.png"
    expected = embed(asked, [file], texts)
    series = pd.Series(texts, index=[5, 6])
    for given in (np.array(texts), series, tuple(texts), dict.fromkeys(texts).keys(), (text for text in texts)):
        assert torch.equal(embed(asked, pd.Series([file], index=[3]), given), expected)
    assert torch.equal(embed(asked, (name for name in [file]), texts), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"texts": [b"a"]}, "Text 0 is a bytes"),
        ({"texts": ["a", None]}, "Text 1 is a NoneType"),
        ({"texts": ["a", float("nan")]}, "Text 1 is a float"),
        ({"texts": ["a\ud800"]}, "Text 0 has no character at 1"),
        ({"texts": {"a"}}, "not a set"),
        ({"texts": {"a": 1}}, "not a dict"),
        ({"texts": None}, "not a NoneType"),
        ({"texts": b"a"}, "even of one"),
        ({"texts": [" "]}, "^An empty text is not a usable text"),
        ({"texts": ["x" * 2_000_000]}, r"^\[...\] is not a usable text"),
        ({"files": [None]}, "File 0 is a NoneType"),
        ({"files": [b"a.png"]}, "File 0 is a bytes"),
    ],
)
def test_what_is_no_list_of_files_or_texts_is_refused(space: ConnectedSpace, given: Any, said: str) -> None:
    for asked in (space, space.frozen_space("clip")):
        with pytest.raises(UserError, match=said) as error:
            embed(asked, **given)
        assert len(str(error.value)) < 300
    for mistaken in (None, "data/models/audio_image", SpaceSpec("compact", "data/spaces/clip")):
        with pytest.raises(UserError, match="is not a space"):
            embed(mistaken, ["a"])  # type: ignore[arg-type]


def test_payloads_are_bytes_of_files(space: ConnectedSpace) -> None:
    payload = Path("data/raw/photos/p01.png").read_bytes()
    expected = space.embed("image", [payload])
    for kind in (bytearray, memoryview):
        assert torch.equal(space.embed("image", [kind(payload)]), expected)
    assert torch.equal(space.embed("image", (one for one in [payload])), expected)
    with open("data/raw/photos/p01.png", "rb") as file:
        for wrong in ("a.png", None, Path("a.png"), file, np.zeros((8, 8, 3), np.uint8)):
            with pytest.raises(UserError, match="Item 0 is a .*, not the bytes of a file"):
                space.embed("image", [wrong])  # type: ignore[list-item]
    for single in (payload, "a dog"):
        with pytest.raises(UserError, match="`payloads` must be a list"):
            space.embed("text", single)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 names for 2 payloads"):
        space.embed("image", [payload, b"x"], names=["a"])


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99", "xpu:7"])
@pytest.mark.parametrize("load", ["space", "connection"])
def test_a_device_that_is_not_there_is_told(small_project: Path, device: str, load: str) -> None:
    loaders: dict[str, Callable[[], object]] = {
        "connection": lambda: ConnectedSpace.load("data/models/audio_image", device),
        "space": lambda: embed(load_space(SpaceSpec("compact", "data/spaces/clip"), device), texts=["a"]),
    }
    if load == "space" and device == "meta":
        pytest.skip("a space on no device fails where it computes")
    with pytest.raises(UserError, match=f"device '{device}' cannot be used"):
        loaders[load]()


def test_the_encoder_refuses_what_it_would_misread(space: ConnectedSpace) -> None:
    encoder = Encoder(space)
    for wrong in (np.zeros((2, 1600), np.float32), np.zeros((1, 2, 3), np.float32)):
        with pytest.raises(UserError, match="is not a sound"):
            encoder.encode([{"array": wrong, "sampling_rate": 8000}])
    for strange in (np.ones(1600, complex), torch.ones(1600, dtype=torch.complex64), [[]] * 100, None):
        with pytest.raises(UserError, match="is not a sound"):
            encoder.encode([{"array": strange, "sampling_rate": 8000}])
    with pytest.raises(UserError, match="is not a sound"):
        encoder.encode([{"array": np.zeros(1600), "sampling_rate": float("inf")}])
    wave = torch.full((1600,), 0.25)
    expected = encoder.encode([{"array": wave.tolist(), "sampling_rate": 8000}])
    for kind in (wave.bfloat16(), wave.double().requires_grad_(), wave.numpy().astype(">f4")):
        assert np.array_equal(encoder.encode([{"array": kind, "sampling_rate": 8000}]), expected)
    with pytest.raises(UserError, match="-1 samples a second is not a sound"):
        encoder.encode([{"array": np.zeros(10, np.float32), "sampling_rate": -1}])
    with pytest.raises(UserError, match="sound of int16 has no known loudness"):
        encoder.encode([{"array": np.full(1600, 9000, np.int16), "sampling_rate": 8000}])
    with pytest.raises(UserError, match="A text has no character at 0"):
        encoder.encode(["\ud800"])
    with pytest.raises(UserError, match="is not a connected space"):
        Encoder(space.frozen_space("clip"))  # type: ignore[arg-type]
    assert torch.equal(encoder.similarity(ROWS.astype(">f4"), pd.DataFrame(ROWS)), encoder.similarity(ROWS, ROWS))
    for compare, other in ((encoder.similarity, ROWS[:, :3]), (encoder.similarity_pairwise, ROWS[:2])):
        with pytest.raises(UserError, match="cannot be compared"):
            compare(ROWS, other)
