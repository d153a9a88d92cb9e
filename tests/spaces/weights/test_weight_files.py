"""Weights in the layouts in which people publish them: each is read, or is said to be what it is."""

import json
import sys
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.spaces import FAMILIES, SpaceSpec, load_space, weight_files
from pipeline.spaces.weights.checkpoint_files import POINTER, checkpoint_files, find_checkpoint
from pipeline.spaces.weights.checkpoints import read_tensors
from tests.spaces.test_conformance import TINY_CLIP

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
POINTER_FILE = POINTER + b"v1\noid sha256:" + b"4" * 64 + b"\nsize 605143284\n"


def shard(folder: Path, tensors: dict[str, Tensor], stem: str = "model", suffix: str = ".safetensors") -> Path:
    """`tensors` in three files with an index, as transformers cuts large models."""
    weight_map = {}
    for number, name in enumerate(sorted(tensors)):
        file = f"{stem}-0000{number % 3 + 1}-of-00003{suffix}"
        weight_map[name] = file
    for file in set(weight_map.values()):
        part = {name: tensors[name].contiguous() for name, place in weight_map.items() if place == file}
        save_file(part, folder / file) if suffix == ".safetensors" else torch.save(part, folder / file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = open_clip.CLIP(**TINY_CLIP).eval()
    return model


def folder_of(root: Path) -> Path:
    root.mkdir()
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": {"size": 32}}
    (root / "open_clip_config.json").write_text(json.dumps(config))
    return root


def rows(folder: Path) -> Tensor:
    space = load_space(SpaceSpec("open_clip", str(folder)))
    return space.encode("text", torch.stack([space.preprocess("text", text) for text in (b"a dog", b"rain")]))


def test_open_clip_folders_in_five_layouts_hold_the_same_space(clip: nn.Module, tmp_path: Path) -> None:
    tensors = clip.state_dict()
    layouts = {
        name: folder_of(tmp_path / name) for name in ("safe", "bin", "both", "shards", "shards_bin", "lightning")
    }
    for name in ("safe", "both"):
        save_file(tensors, layouts[name] / "open_clip_model.safetensors")
    torch.save(tensors, layouts["bin"] / "open_clip_pytorch_model.bin")
    (layouts["both"] / "open_clip_pytorch_model.bin").write_bytes(b"not read")
    shard(layouts["shards"], tensors, "open_clip_model")
    shard(layouts["shards_bin"], tensors, "pytorch_model", ".bin")
    lightning = {"state_dict": {f"model.{name}": tensor for name, tensor in tensors.items()}, "callbacks": {}}
    torch.save(lightning | {"pytorch-lightning_version": "2.5", "loops": {}}, layouts["lightning"] / "last.ckpt")
    expected = nn.functional.normalize(clip.encode_text(open_clip.tokenize(["a dog", "rain"], 12)).detach(), dim=1)
    for name, folder in layouts.items():
        torch.testing.assert_close(rows(folder), expected, msg=name)
        assert folder / "open_clip_config.json" in weight_files(SpaceSpec("open_clip", str(folder))), name
    assert len(weight_files(SpaceSpec("open_clip", str(layouts["shards"])))) == 5


class OpenAis(nn.Module):
    """A program in the likeness of OpenAI's: the tensors of CLIP at the root, and three numbers as buffers."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        for name, child in clip.named_children():
            self.add_module(name, child)
        for name, parameter in clip.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, value in (("input_resolution", 32), ("context_length", 12), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)  # type: ignore[operator, no-any-return]


@pytest.fixture(scope="module")
def program(clip: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "ViT-Tiny.pt"
    torch.jit.trace(OpenAis(clip).half().float(), torch.zeros(1, 3, 32, 32)).save(str(path))  # type: ignore[no-untyped-call]
    return path


def test_a_program_is_read_as_tensors_and_never_built(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.jit.load(str(program)).state_dict()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the program was built"))
    found = read_tensors(find_checkpoint(str(program)))
    assert found.keys() == expected.keys() and len(found) > 20
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_programs_of_other_types_and_strides(dtype: torch.dtype, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(dtype)
    module[0].weight = nn.Parameter(torch.randn(3, 4, dtype=dtype).T)
    torch.jit.script(module).save(str(tmp_path / "a.pt"))
    found = read_tensors(find_checkpoint(str(tmp_path / "a.pt")))
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


def test_a_program_is_loaded_as_the_architecture_that_it_is(program: Path, tmp_path: Path, clip: nn.Module) -> None:
    (tmp_path / "Tiny-Program.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path)
    space = load_space(SpaceSpec("open_clip", str(program), model="Tiny-Program"))
    ids = space.preprocess("text", b"a dog")[None]
    expected = nn.functional.normalize(clip.encode_text(ids).detach(), dim=1)
    torch.testing.assert_close(space.encode("text", ids), expected)


def test_a_damaged_program_is_said_to_be_one(program: Path, tmp_path: Path) -> None:
    content = program.read_bytes()
    (tmp_path / "a.pt").write_bytes(content.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"))
    with pytest.raises(UserError, match=r"is not a checkpoint, or it is damaged|holds more than weights"):
        read_tensors(find_checkpoint(str(tmp_path / "a.pt")))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "pytorch_model.bin", "model.safetensors.index.json"])
@pytest.mark.parametrize("encoder", ["open_clip", "laion_clap", "ulip2"])
def test_a_git_lfs_pointer_is_named_in_every_family(encoder: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(POINTER_FILE)
    spec = SpaceSpec(encoder, str(tmp_path), model="ViT-B-32" if encoder == "open_clip" else "")
    for ask in (load_space, weight_files):
        with pytest.raises(UserError, match="pointer of git-lfs") as caught:
            ask(spec)
        assert "git lfs pull" in caught.value.hint


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    tensors = {f"t{number}": torch.full((2, 2), float(number)) for number in range(7)}
    index = shard(tmp_path, tensors)
    found = find_checkpoint(str(tmp_path))
    assert found.path == index and len(found.shards) == 3
    assert {name: tensor.tolist() for name, tensor in read_tensors(found).items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
    moved = tmp_path / "other"
    moved.mkdir()
    for path in (index, *found.shards):
        (moved / path.name).write_bytes(path.read_bytes())
    assert find_checkpoint(str(moved / index.name)).sha256 == found.sha256
    save_file({"t0": torch.ones(2, 2)}, moved / found.shards[0].name)
    assert find_checkpoint(str(moved)).sha256 != found.sha256
    (tmp_path / found.shards[1].name).unlink()
    with pytest.raises(UserError, match="1 of them are missing: model-00002-of-00003"):
        checkpoint_files(str(tmp_path))


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {"a": "../../etc/passwd"}}', "not json"])
def test_an_index_reaches_nothing_but_its_neighbours(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError, match="not an index of weights"):
        checkpoint_files(str(tmp_path))


def test_families_say_what_they_read(tmp_path: Path) -> None:
    path = tmp_path / "ulip.pt"
    path.write_bytes(b"weights")
    assert weight_files(SpaceSpec("ulip2", str(path))) == [path]
    compact = tmp_path / "compact"
    compact.mkdir()
    (compact / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"has no config\.json"):
        weight_files(SpaceSpec("compact", str(compact)))
    clap = tmp_path / "clap"
    (clap / "roberta-base").mkdir(parents=True)
    (clap / "630k.pt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"lacks config\.json, vocab\.json, merges\.txt"):
        weight_files(SpaceSpec("laion_clap", str(clap)))
    for name in ("config.json", "vocab.json", "merges.txt"):
        (clap / "roberta-base" / name).write_text("x")
    assert [file.name for file in weight_files(SpaceSpec("laion_clap", str(clap)))] == [
        "630k.pt",
        "config.json",
        "vocab.json",
        "merges.txt",
    ]
    assert weight_files(SpaceSpec("open_clip", "hf-hub:owner/name")) == []
    with pytest.raises(UserError, match="no encoder family"):
        weight_files(SpaceSpec("opne_clip", "x"))


def test_of_somebodys_own_family_every_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_family")
    module.Silent, module.Told = type("Silent", (), {}), type("Told", (), {})  # type: ignore[attr-defined]
    module.Told.weight_files = staticmethod(lambda spec: [Path(spec.checkpoint, "b.npz")])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_family", module)
    monkeypatch.setitem(FAMILIES, "silent", "my_family:Silent")
    monkeypatch.setitem(FAMILIES, "told", "my_family:Told")
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"x")
    assert [file.name for file in weight_files(SpaceSpec("silent", str(tmp_path)))] == ["a.npz", "b.npz"]
    assert [file.name for file in weight_files(SpaceSpec("told", str(tmp_path)))] == ["b.npz"]
    with pytest.raises(UserError, match="does not exist"):
        weight_files(SpaceSpec("silent", str(tmp_path / "gone")))
