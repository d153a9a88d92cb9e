"""A plug-in that does not keep the protocol is named with its method; no mistake of it is called a bug of ours, or passes."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import SampleError, UserError
from pipeline.plugins import ENCODERS
from pipeline.spaces import SpaceSpec, load_space, weight_files
from tests.makers.small_project import mcr

GOOD = """
import torch
from pipeline.errors import SampleError

class Mine:
    modalities = ("text",)
    dimension = 8

    @classmethod
    def load(cls, spec, device):
        return cls()

    def fingerprint(self, modality):
        return {"version": 1}

    def preprocess(self, modality, payload):
        if not payload:
            raise SampleError("decode", "it is empty")
        return torch.tensor([float(payload[0] % (number + 2)) for number in range(8)])

    def encode(self, modality, batch):
        return torch.nn.functional.normalize(batch + 1, dim=1)
"""
LENGTH = "torch.nn.functional.normalize(batch + 1, dim=1)"
PLUGIN = "The encoder 'mine' of plugins/ "


def use(source: str, entry: str = "my_encoder_of_tests:Mine") -> torch.Tensor:
    """Rows of two texts by the plug-in that `source` makes."""
    Path("plugins/entry_points.txt").write_text(f"[{ENCODERS}]\nmine = {entry}\n")
    Path("plugins/my_encoder_of_tests.py").write_text(source)
    space = load_space(SpaceSpec("mine", "."))
    assert "plugin" in space.fingerprint("text")
    return space.encode("text", torch.stack([space.preprocess("text", text) for text in (b"a dog", b"cat")]))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "plugins").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_encoder_of_tests", raising=False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import torch\n", "import sys\nsys.exit(3)\n", "cannot be loaded (it ends the program)"),
        ("import torch\n", 'raise ValueError("a\\nb")\n', "cannot be loaded (a b)"),
        ("def load", "def lode", "has no method `load`"),
        ("def fingerprint", "def finger", "has no method `fingerprint`"),
        ("def preprocess", "def prepare", "has no method `preprocess`"),
        ("def encode", "def embed", "has no method `encode`"),
        ("spec, device", "spec", "failed in `load` (TypeError: "),
        ("return cls()", "return None", "has modalities None"),
        ('("text",)', '"text"', "has modalities 'text'"),
        ("dimension = 8", 'dimension = "8"', "has dimension '8'"),
        ('{"version": 1}', "None", "failed in `fingerprint` (TypeError: it returned a NoneType"),
        ('{"version": 1}', '{"version": float("nan")}', "failed in `fingerprint` (ValueError: "),
        ('{"version": 1}', '{"version": object()}', "failed in `fingerprint` (TypeError: "),
        (
            "        return torch.tensor(",
            "        1 / 0\n        return torch.tensor(",
            "failed in `preprocess` (ZeroDivision",
        ),
        ("return torch.tensor(", "return list(", "returned a list from `preprocess`"),
        ("range(8)", "range(len(payload))", "returned tensors of shapes [5] and [3] from `preprocess`"),
        (LENGTH, 'open("nothing").read()', ""),
        (LENGTH, '{}["x"]', "failed in `encode` (KeyError: 'x')"),
        (LENGTH, "None", "returned a NoneType from `encode`"),
        (LENGTH, LENGTH + ".numpy()", "returned a ndarray from `encode`"),
        (LENGTH, LENGTH + "[:1]", "returned torch.float32 [1, 8] from `encode`"),
        (LENGTH, LENGTH + "[:, :7]", "returned torch.float32 [2, 7] from `encode`"),
        (LENGTH, LENGTH + ".int()", "returned torch.int32 [2, 8] from `encode`"),
        (LENGTH, "batch + 1", "returned a row of length"),
    ],
)
def test_a_mistake_is_named_with_its_method(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError if said else FileNotFoundError) as error:
        use(GOOD.replace(old, new))
    if said:
        assert f"{PLUGIN}{said}" in str(error.value) and "Repair" in error.value.hint


def test_what_is_not_its_fault_passes() -> None:
    rows = use(GOOD.replace(LENGTH, LENGTH + ".requires_grad_()"))
    assert rows.shape == (2, 8) and not rows.requires_grad
    space = load_space(SpaceSpec("mine", "."))
    with pytest.raises(SampleError, match="it is empty"):
        space.preprocess("text", b"")
    with pytest.raises(UserError, match="has no method `load`"):
        use(GOOD, "my_encoder_of_tests")


@pytest.mark.parametrize("error", ["MemoryError", "torch.OutOfMemoryError"])
def test_memory_that_runs_out_is_not_its_fault(error: str) -> None:
    with pytest.raises((MemoryError, torch.OutOfMemoryError)):  # a smaller batch may fit
        use(GOOD.replace("        return " + LENGTH, f"        raise {error}"))


def test_its_weight_files_are_paths_or_its_own_fault() -> None:
    listed = '\n    @staticmethod\n    def weight_files(spec):\n        return ["a.bin"]\n'
    use(GOOD + listed)
    assert weight_files(SpaceSpec("mine", ".")) == [Path("a.bin")]


def test_check_names_an_encoder_that_is_not_there(small_project: Path) -> None:
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("encoder: compact", "encoder: compct", 1))
    with pytest.raises(UserError, match="no encoder family 'compct'"):
        mcr("check")
