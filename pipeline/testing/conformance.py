"""What every frozen space must do, as tests: a class that inherits from `SpaceConformance` runs them all.

class TestMine(SpaceConformance):
    spec = SpaceSpec("mine", "data/spaces/mine")
    samples = {"text": [b"a dog", b"two cats in the rain", b"x"]}
"""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import atomic_path
from pipeline.spaces import Space, SpaceSpec, load_space
from pipeline.spaces.weights.checkpoints import SAFE_SUFFIX, SUFFIXES, find_checkpoint, read_tensors
from pipeline.testing.fake_cuda import encode_on_fake_cuda


class SpaceConformance:
    """The tests, on the CPU.

    Attributes:
        spec: The space; its checkpoint is a file or a folder.
        samples: For each of its modalities the bytes of three or more files that differ; of several sizes, if they may.
        tolerance: How far a row may move with the other rows of its batch, and with its size; fp32 rounds near 1e-7.
        half_tolerance: How far the same row in bf16 may be.
        precisions: What the space can be asked to compute in.
    """

    spec: SpaceSpec
    samples: Mapping[str, Sequence[bytes]]
    tolerance = 1e-5
    half_tolerance = 0.05
    precisions: Sequence[str] = ("fp32", "bf16")

    def alter(self, weights: Path) -> None:
        """Change one number in a file of weights, or in those of a folder."""
        for file in [path for path in weights.iterdir() if path.suffix in SUFFIXES] if weights.is_dir() else [weights]:
            tensors = read_tensors(find_checkpoint(str(file)))
            name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
            tensors[name] = tensors[name].clone()
            tensors[name].view(-1)[0] += 1e-3
            with atomic_path(file) as other:  # the tensors may still be mapped to the file itself
                if file.suffix == SAFE_SUFFIX:
                    safetensors.torch.save_file(tensors, other)
                else:
                    torch.save({"state_dict": tensors}, other)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "modality" in metafunc.fixturenames:
            metafunc.parametrize("modality", list(metafunc.cls.samples))

    @pytest.fixture(scope="class")
    def space(self) -> Space:
        return load_space(self.spec)

    def batch(self, space: Space, modality: str) -> Tensor:
        return torch.stack([space.preprocess(modality, payload) for payload in self.samples[modality]])

    def test_there_are_samples_of_every_modality(self, space: Space) -> None:
        assert set(space.modalities) == set(self.samples)
        assert all(len(set(payloads)) >= 3 for payloads in self.samples.values())

    def test_rows_are_unit_vectors(self, space: Space, modality: str) -> None:
        rows = space.encode(modality, self.batch(space, modality))
        assert rows.shape == (len(self.samples[modality]), space.dimension)
        assert rows.dtype == torch.float32 and rows.device.type == "cpu" and not rows.requires_grad
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))

    def test_other_files_have_other_rows(self, space: Space, modality: str) -> None:
        rows = space.encode(modality, self.batch(space, modality))
        assert torch.pdist(rows).min() > 10 * self.tolerance

    def test_the_same_file_has_the_same_row_whatever_was_drawn_before(self, space: Space, modality: str) -> None:
        found = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            found.append(space.encode(modality, self.batch(space, modality)))
        assert torch.equal(*found)

    def test_rows_do_not_depend_on_their_order_or_on_the_batch(self, space: Space, modality: str) -> None:
        batch = self.batch(space, modality)
        rows = space.encode(modality, batch)
        alone = torch.cat([space.encode(modality, one[None]) for one in batch])
        assert (alone - rows).abs().max() < self.tolerance
        assert (space.encode(modality, batch.flip(0)).flip(0) - rows).abs().max() < self.tolerance

    def test_threads_do_not_disturb_each_other(self, space: Space, modality: str) -> None:
        payloads = list(self.samples[modality]) * 4
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda payload: space.preprocess(modality, payload), payloads))
        assert all(
            torch.equal(one, alone) for one, alone in zip(found, [*self.batch(space, modality)] * 4, strict=True)
        )

    @pytest.mark.parametrize("payload", [b"", b"\xff\x00 nonsense"])
    def test_bad_bytes_are_a_sample_error(self, space: Space, modality: str, payload: bytes) -> None:
        with pytest.raises(SampleError):
            space.preprocess(modality, payload)

    def test_the_fingerprint_says_what_decides_and_not_where_it_lies(self, space: Space, tmp_path: Path) -> None:
        known = {modality: space.fingerprint(modality) for modality in space.modalities}
        assert json.loads(json.dumps(known)) == known
        moved = self.moved(tmp_path)
        again = load_space(moved)
        assert {modality: again.fingerprint(modality) for modality in space.modalities} == known
        self.alter(Path(moved.checkpoint))
        other = load_space(moved)
        assert all(other.fingerprint(modality) != known[modality] for modality in space.modalities)

    def moved(self, folder: Path) -> SpaceSpec:
        """The same space with its weights in another folder."""
        source = Path(self.spec.checkpoint)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source.name)
        return replace(self.spec, checkpoint=str(folder / source.name))

    def test_half_precision_is_near_and_recorded(self, space: Space) -> None:
        if "bf16" not in self.precisions:
            with pytest.raises(UserError, match="bf16"):
                load_space(replace(self.spec, precision="bf16"))
            return
        half = load_space(replace(self.spec, precision="bf16"))
        for modality in space.modalities:
            batch = self.batch(space, modality)
            assert (half.encode(modality, batch) - space.encode(modality, batch)).abs().max() < self.half_tolerance
            assert half.fingerprint(modality) != space.fingerprint(modality)

    def test_a_gpu_gets_all_that_it_needs_and_rounds_no_product(self, space: Space, modality: str) -> None:
        """Everything but the numbers, on a GPU that is not there: see `pipeline.testing.fake_cuda`."""
        batch = self.batch(space, modality)
        rows, watch = encode_on_fake_cuda(self.spec, modality, batch)
        assert rows.shape == (len(batch), space.dimension) and rows.device.type == "cpu"
        assert watch.products and not watch.loose

    @pytest.mark.cuda
    @pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a GPU: torch sees none"
    )  # outside of this suite, too
    @pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.99999), ("bf16", 0.99)])
    def test_a_gpu_computes_what_a_cpu_does(self, space: Space, modality: str, precision: str, cosine: float) -> None:
        if precision not in self.precisions:
            pytest.skip(f"it does not compute in {precision}")
        batch = self.batch(space, modality)
        there = load_space(replace(self.spec, precision=precision), "cuda").encode(modality, batch)
        assert (there * space.encode(modality, batch)).sum(1).min() > cosine

    @pytest.mark.parametrize(
        "wrong",
        [{"sha256": "0" * 64}, {"checkpoint": "no/such/place"}, {"precision": "int3"}, {"options": {"nonsense": 1}}],
    )
    def test_wrong_settings_are_the_users_mistake(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UserError):
            load_space(replace(self.spec, **wrong))  # type: ignore[arg-type]
