"""What can be had without training a connection, and without one true pair: every method has to beat these."""

from collections.abc import Callable

from pipeline.evaluate.baselines.hops import training_free_bridge, two_hop_nearest, two_hop_perplexity, two_hop_softmax
from pipeline.evaluate.baselines.linear import procrustes, ridge, ridge_pseudo, unprojected
from pipeline.evaluate.baselines.link_data import LinkData
from pipeline.evaluate.baselines.untrained import untrained
from pipeline.evaluate.views import Scorer

# A new baseline is a function of a link's data and one line here; None where it is not defined.
BASELINES: dict[str, Callable[[LinkData], Scorer | None]] = {
    "untrained": untrained,
    "unprojected": unprojected,
    "procrustes": procrustes,
    "ridge": ridge,
    "ridge_pseudo": ridge_pseudo,
    "two_hop_nearest": two_hop_nearest,
    "two_hop_softmax": two_hop_softmax,
    "two_hop_perplexity": two_hop_perplexity,
    "bridge": training_free_bridge,
}

__all__ = ["BASELINES", "LinkData"]
