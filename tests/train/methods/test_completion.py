"""Statistics of the noise of semantic completion."""

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.train.methods.completion import complete, completion_variances, draw_noise
from pipeline.train.settings import TrainSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def completed(rows: torch.Tensor, variance: float, source: torch.Generator) -> torch.Tensor:
    return complete(rows, variance, draw_noise(len(rows), rows, variance, source))


def test_noise_has_the_variance_that_is_asked_for() -> None:
    # The normalisation is undone with the same draw, which leaves the noise itself.
    rows = normalize(torch.randn(4000, 64, generator=generator(1)), dim=-1)
    made = completed(rows, 0.004, generator(2))
    drawn = torch.randn(4000, 64, generator=generator(2))
    noise = drawn * 0.004**0.5
    torch.testing.assert_close(made, normalize(rows + noise, dim=-1), rtol=1e-6, atol=1e-7)
    # And without knowledge of the draw: E[cos] = E[1 / |x + theta|] (1 + theta . x) is a known function of the variance.
    cosine = (made * rows).sum(-1).mean().item()
    assert cosine == pytest.approx(1 / (1 + 64 * 0.004) ** 0.5, rel=0.01)


@pytest.mark.parametrize("dimension", [96, 128, 512, 1024])
def test_dimension_scaling_keeps_the_length_of_the_noise(dimension: int) -> None:
    scaled, plain = (TrainSettings(noise_variance=0.004, noise_scaling=way) for way in ("dimension", "none"))
    variances = completion_variances(scaled, {"clip": dimension, "clap": 512})
    assert variances["clip"] * dimension == pytest.approx(0.004 * 512)
    assert variances["clap"] == completion_variances(plain, {"clip": dimension})["clip"] == 0.004


def test_noise_is_fresh_for_each_row_and_call_and_repeats_with_its_seed() -> None:
    rows = normalize(torch.ones(8, 16), dim=-1)
    source = generator(5)
    first, second = completed(rows, 0.01, source), completed(rows, 0.01, source)
    assert not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in torch.cat([first, second])}) == 16
    assert torch.equal(first, completed(rows, 0.01, generator(5)))


def test_without_variance_only_the_normalisation_is_left() -> None:
    source = generator()
    before = source.get_state()
    torch.testing.assert_close(completed(torch.full((2, 4), 0.3), 0.0, source), torch.full((2, 4), 0.5))
    assert torch.equal(source.get_state(), before)


def test_inputs_are_not_changed_and_outputs_are_unit() -> None:
    rows = torch.randn(16, 8, generator=generator(3))
    copy = rows.clone()
    noise = torch.randn(rows.shape, generator=generator())
    drawn = noise.clone()
    made = complete(rows, 0.004, noise)
    assert torch.equal(rows, copy) and torch.equal(noise, drawn)
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(16))
