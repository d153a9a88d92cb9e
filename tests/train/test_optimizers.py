"""Our Adam is torch's, and imports no compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pipeline import optimizers

TRAIN = """
import sys, torch
import pipeline.train.run
from pipeline import optimizers
from pipeline.connect import ProjectorSpec, build_projector
projector = build_projector(ProjectorSpec(kind="mlp", input=8, hidden=8, dimension=8))
optimizer = getattr(optimizers, sys.argv[1])(projector.parameters(), lr=0.1, fused=sys.argv[2] == "fused")
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
for _ in range(3):
    optimizer.zero_grad()
    projector(torch.ones(4, 8)).square().sum().backward()
    optimizer.step()
    schedule.step()
optimizer.load_state_dict(optimizer.state_dict())
print(*[name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("how", ["fused", "plain"])
def test_no_compiler_is_imported(name, how):
    done = subprocess.run([sys.executable, "-c", TRAIN, name, how], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [] and "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("fused", [True, False])
def test_equal_to_torchs_bit_for_bit_also_after_a_restart(name, fused):
    inputs = torch.randn(6, 16, 5, generator=torch.Generator().manual_seed(1))

    def train(kinds):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
        state = None
        for kind in kinds:  # each continues where the one before has ended
            optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1, fused=fused)
            optimizer.param_groups[0]["lr"] = 0.02
            if state:
                optimizer.load_state_dict(state)
            for batch in inputs:
                optimizer.zero_grad()
                model(batch).square().mean().backward()
                optimizer.step()
            assert all(not parameter.grad.requires_grad for parameter in model.parameters())
            state = optimizer.state_dict()
        return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])

    ours, theirs = getattr(optimizers, name), getattr(torch.optim, name)
    expected = train([theirs, theirs])
    assert torch.equal(train([ours, ours]), expected) and torch.equal(train([theirs, ours]), expected)
    assert not torch.equal(train([getattr(torch.optim, "AdamW" if name == "Adam" else "Adam")] * 2), expected)
