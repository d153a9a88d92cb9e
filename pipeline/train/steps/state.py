"""All that a training changes as it goes, by the names that it has in checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class TrainingState:
    """Weights, statistics, the optimiser's state and the terms of the loss so far.

    Args:
        projectors: By space.
        parameters: Theirs, by space and name.
        optimizer: Of all of them.
        history: [steps, terms] on the device.
    """

    def __init__(
        self,
        projectors: Mapping[str, nn.Module],
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        history: Tensor,
    ) -> None:
        self.projectors, self.parameters, self.optimizer, self.history = projectors, parameters, optimizer, history

    def moving(self) -> dict[str, Tensor]:
        """What a step changes in place: all but the history."""
        state = {
            f"weights.{space}.{name}": tensor
            for space, projector in self.projectors.items()
            for name, tensor in projector.state_dict().items()
        }
        for name, parameter in self.parameters.items():
            for entry, tensor in self.optimizer.state[parameter].items():
                state[f"optimizer.{name}.{entry}"] = tensor
        return state

    def tensors(self) -> dict[str, Tensor]:
        """All of it."""
        return {**self.moving(), "history": self.history}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to an earlier state."""
        for space, projector in self.projectors.items():
            projector.load_state_dict({name: tensors[f"weights.{space}.{name}"] for name in projector.state_dict()})
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = {
                entry: tensors[f"optimizer.{name}.{entry}"].to(parameter.device)
                for entry in ("step", "exp_avg", "exp_avg_sq")
            }
        self.history.copy_(tensors["history"])
