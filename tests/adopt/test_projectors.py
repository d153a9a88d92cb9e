"""The authors' files, written here with random weights, keep their numbers as connected spaces.

The reference evaluates the published arithmetic in float64 from the file alone; whose head is A and whose is B is
written down here once more, because the two papers swap them.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.adopt.projectors import NamedSpace, import_projectors
from pipeline.connect import ConnectedSpace
from pipeline.connect.config import load_config
from pipeline.connect.published import BLOBS, published_as
from pipeline.errors import UserError

SPACES = {role: NamedSpace(f"my_{role}", {"encoder": "toy", "checkpoint": role}) for role in ("clip", "clap", "ulip")}
WIDTH, HIDDEN = 512, 1024


def linear(prefix: str, outputs: int, inputs: int) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": torch.randn(outputs, inputs) / inputs**0.5, f"{prefix}.bias": torch.randn(outputs) / 10}


def norm(prefix: str, width: int) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.weight": torch.rand(width) + 0.5,
        f"{prefix}.bias": torch.randn(width) / 5,
        f"{prefix}.running_mean": torch.randn(width) / 5,
        f"{prefix}.running_var": torch.rand(width) / 50 + 0.01,
        f"{prefix}.num_batches_tracked": torch.tensor(3080),
    }


def block(prefix: str) -> dict[str, torch.Tensor]:
    first = linear(f"{prefix}net1.0", HIDDEN, WIDTH) | norm(f"{prefix}net1.1", HIDDEN)
    return first | linear(f"{prefix}net2.0", WIDTH, HIDDEN) | norm(f"{prefix}net2.1", WIDTH)


def published(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(len(name) + ord(name[-1]))
    if name == "clap_clip":
        return block("Head_A.") | block("Head_B.")
    if name == "ulip_clip":
        heads = (
            {**linear(f"{head}.net.0", WIDTH, WIDTH), **norm(f"{head}.net.1", WIDTH)} for head in ("Head_A", "Head_B")
        )
        return {key: tensor for head in heads for key, tensor in head.items()}
    return linear("Head1", WIDTH, WIDTH) | block("Head2.mlp1.") | block("Head2.mlp2.")


BLOCK = ["net1.0 linear", "net1.1 norm", "relu", "net2.0 linear", "net2.1 norm"]
LEAF = [f"Head2.mlp{number}.{step}" if step != "relu" else step for number in (1, 2) for step in BLOCK]
# Which layers the vectors of a space and modality go through, in the words of the file.
WAYS = {
    "clap_clip": {
        ("clap", "audio"): [f"Head_A.{step}" if step != "relu" else step for step in BLOCK],
        ("clip", "image"): [f"Head_B.{step}" if step != "relu" else step for step in BLOCK],
    },
    "ulip_clip": {
        ("clip", "text"): ["Head_A.net.0 linear", "Head_A.net.1 norm", "relu"],
        ("ulip", "point"): ["Head_B.net.0 linear", "Head_B.net.1 norm", "relu"],
    },
    "ex_clap": {("clap", "audio"): ["Head1 linear", *LEAF], ("clap", "text"): LEAF, ("clip", "image"): []},
    "ex_ulip": {("ulip", "point"): ["Head1 linear", *LEAF], ("ulip", "image"): LEAF, ("clip", "text"): []},
}


def direct(state: dict[str, torch.Tensor], steps: list[str], rows: np.ndarray) -> np.ndarray:
    """Layer by layer in float64."""
    values = {name: tensor.double().numpy() for name, tensor in state.items()}
    for step in steps:
        name, _, kind = step.partition(" ")
        if name == "relu":
            rows = np.maximum(rows, 0)
            continue
        weight, bias = values[f"{name}.weight"], values[f"{name}.bias"]
        if kind == "linear":
            rows = rows @ weight.T + bias
        else:
            mean, variance = values[f"{name}.running_mean"], values[f"{name}.running_var"]
            rows = (rows - mean) / np.sqrt(variance + 1e-5) * weight + bias
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}.pt" for name in WAYS}
    for name, path in found.items():
        torch.save(published(name), path)
    return found


def check(space: ConnectedSpace, name: str) -> None:
    rows = np.random.default_rng(1).standard_normal((20, WIDTH))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    for (role, modality), steps in WAYS[name].items():
        expected = direct(published(name), steps, rows.astype(np.float64))
        found = space.project(f"my_{role}", rows, modality).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{name} {role} {modality}")


@pytest.mark.parametrize("name", WAYS)
def test_a_published_file_keeps_its_numbers(files, tmp_path, name):
    import_projectors({name: files[name]}, SPACES, tmp_path / "model", "theirs")
    space = ConnectedSpace.load(tmp_path / "model")
    check(space, name)
    assert space.dimension == WIDTH
    # The authors' inference takes texts and images from CLIP wherever it can.
    assert space.space_of("text") == space.space_of("image") == "my_clip"


def test_two_leaves_are_one_connection(files, tmp_path):
    leaves = {name: files[name] for name in ("ex_clap", "ex_ulip")}
    import_projectors(leaves, SPACES, tmp_path / "model", "theirs")
    space = ConnectedSpace.load(tmp_path / "model")
    assert space.modalities == ("text", "image", "audio", "point") and space.config.base == "my_clip"
    for name in leaves:
        check(space, name)
    assert load_config(tmp_path / "model" / "my_clap").links[0].overlap == "text"


def test_equal_files_give_equal_bytes(files, tmp_path, tree_bytes):
    leaves = {name: files[name] for name in ("ex_clap", "ex_ulip")}
    import_projectors(leaves, SPACES, tmp_path / "model", "theirs")
    before = tree_bytes(tmp_path / "model")
    import_projectors(leaves, SPACES, tmp_path / "model", "theirs")
    assert tree_bytes(tmp_path / "model") == before and len(before) == 5


@pytest.mark.parametrize(
    ("name", "other"), [("clap_clip", "ulip_clip"), ("ex_clap", "clap_clip"), ("ulip_clip", "ex_ulip")]
)
def test_a_file_of_another_layout_is_refused(files, tmp_path, name, other):
    with pytest.raises(UserError, match=f"not laid out as {name}.pt"):
        import_projectors({name: files[other]}, SPACES, tmp_path / "model", "theirs")
    assert not (tmp_path / "model").exists()


def test_leaves_under_each_others_names_are_told_by_their_bytes(files, tmp_path, monkeypatch):
    """Both have one layout: CLAP's projector would have been ULIP's, and every number of both wrong. Ids are by git itself."""
    command = ["git", "hash-object", "--no-filters", str(files["ex_ulip"])]
    blob = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setitem(BLOBS, blob, "ex_ulip")
    assert published_as(files["ex_ulip"]) == "ex_ulip" and published_as(files["ex_clap"]) is None
    with pytest.raises(UserError, match=r"published as ex_ulip\.pt"):
        import_projectors({"ex_clap": files["ex_ulip"]}, SPACES, tmp_path / "model", "theirs")
    assert not (tmp_path / "model").exists()
    import_projectors({"ex_ulip": files["ex_ulip"]}, SPACES, tmp_path / "model", "theirs")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], "is damaged"),
        (lambda whole: b"<!DOCTYPE html><html>Sign in", "is not a checkpoint but an HTML page"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "pointer of git-lfs"),
        (lambda whole: b"", "is not a checkpoint"),
    ],
)
def test_what_is_no_projector_is_named(files, tmp_path, content, said):
    files["ex_clap"].write_bytes(content(files["ex_clap"].read_bytes()))
    with pytest.raises(UserError, match=said):
        import_projectors({"ex_clap": files["ex_clap"]}, SPACES, tmp_path / "model", "theirs")


def test_what_else_is_refused(files, tmp_path):
    state = published("ex_clap")
    state["Head1.weight"][3, 4] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UserError, match="Head1.weight is not finite"):
        import_projectors({"ex_clap": tmp_path / "nan.pt"}, SPACES, tmp_path / "model", "theirs")
    state = published("ulip_clip")
    state["Head_A.net.1.running_mean"] = state["Head_A.net.1.running_mean"][:-1]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(UserError, match="of another shape"):
        import_projectors({"ulip_clip": tmp_path / "short.pt"}, SPACES, tmp_path / "model", "theirs")
    with pytest.raises(UserError, match="not leaves of one"):
        import_projectors({n: files[n] for n in ("ex_clap", "clap_clip")}, SPACES, tmp_path / "model", "theirs")
    same = SPACES | {"clap": SPACES["clip"]}
    with pytest.raises(UserError, match="same space"):
        import_projectors({"clap_clip": files["clap_clip"]}, same, tmp_path / "model", "theirs")
    assert not (tmp_path / "model").exists()
    import_projectors({"clap_clip": files["clap_clip"]}, SPACES, tmp_path / "model", "theirs")
    load_config(tmp_path / "model").model_copy(update={"code": 1}).save(tmp_path / "model")
    with pytest.raises(UserError, match="was trained here"):
        import_projectors({"clap_clip": files["clap_clip"]}, SPACES, tmp_path / "model", "theirs")
