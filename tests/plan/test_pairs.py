"""The operations that `mcr plan` expects of retrieval, against those that the pair makers really ask of torch."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.methods import BUILT_IN, implementation
from pipeline.params.load import load_params
from pipeline.plan.pairs import COSTS, Sizes, cost_of
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import Softness
from tests.makers.links import make_link
from tests.makers.walk import FIRST, ROWS, WIDTHS, build


class Products(TorchDispatchMode):
    """Counts the floating-point operations of all products of matrices, also of those with a buffer for the result."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            left, right = [one for one in arguments if isinstance(one, torch.Tensor)][-2:]
            self.operations += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.name)
def test_the_plan_counts_the_products_of_every_set(method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build(method.name)
    connection = load_params(Path("params.yaml")).connections[FIRST]
    [link] = connection.links(FIRST)
    settings = connection.retrieve
    # Temperatures as they are: to solve for one takes a sample of the products.
    solved = [name for name in ("profile", "partner") if hasattr(settings, name)]
    settings = settings.model_copy(update=dict.fromkeys(solved, Softness(temperature=0.1)))
    for name in link.sets:
        wanted = PairSet(link, method.name, settings, 0, Path("data/embeddings"), name)
        with Products() as counted:
            maker = implementation(method.pair_maker, "pipeline.retrieve")(wanted, "cpu", 1)
            for part in maker.parts:
                maker.rows(part)
        sizes = Sizes(ROWS if link.queries else 0, dict.fromkeys(WIDTHS, ROWS), WIDTHS)
        assert COSTS[method.pairs](link, name, sizes).operations == counted.operations, name


def test_the_cost_of_a_link_is_that_of_its_sets() -> None:
    sizes = Sizes(50, {"clip": 30, "clap": 20}, {"clip": 8, "clap": 4}, draws=3)
    link = make_link("unified", base="clip", sets=("overlap", "leaf", "base"))
    whole, single = cost_of(link, "averaged", sizes), [COSTS["averaged"](link, name, sizes) for name in link.sets]
    assert whole.bytes == sum(one.bytes for one in single) == 4 * 2 * (50 + 20 + 30) * 12
    assert whole.operations == sum(one.operations for one in single)
    assert cost_of(link, "true", sizes).bytes == 3 * 4 * 20 * 12
