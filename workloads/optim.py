"""The optimisers' update rules, once, for every framework.

The bias corrections of AdamW are kept as state: 1 - beta^t is the moving average of ones, and carried so it
keeps full accuracy in float32, where `1 - 0.999 ** t` would lose five digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from workloads.ops import Array, Ops, Parameters


class Optimizer(ABC):
    """An update rule with its hyperparameters.

    `moments` names the tensors that it keeps for each parameter, `scalars` the numbers it keeps beside them; all start
    at zero.
    """

    moments: ClassVar[tuple[str, ...]]
    scalars: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def update(self, ops: Ops, state: Parameters, gradients: Parameters) -> dict[str, Array]:
        """Returns the next parameters and moments for `gradients` by parameter name."""

    @abstractmethod
    def gradient(self, first_moment: Array) -> Array:
        """Returns the gradient of the first step, from the moment behind it: moments begin as zeros."""

    def description(self) -> dict[str, Any]:
        """Returns the rule's name and its hyperparameters."""
        return {"rule": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum, as in `torch.optim.SGD` without dampening."""

    learning_rate: float
    momentum: float
    moments = ("first_moment",)

    def update(self, ops: Ops, state: Parameters, gradients: Parameters) -> dict[str, Array]:
        new: dict[str, Array] = {}
        for name, gradient in gradients.items():
            moment = self.momentum * state[f"first_moment.{name}"] + gradient
            new[f"first_moment.{name}"] = moment
            new[f"parameter.{name}"] = state[f"parameter.{name}"] - self.learning_rate * moment
        return new

    def gradient(self, first_moment: Array) -> Array:
        return first_moment


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay on every parameter (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    moments = ("first_moment", "second_moment")
    scalars = ("correction.first_moment", "correction.second_moment")

    def update(self, ops: Ops, state: Parameters, gradients: Parameters) -> dict[str, Array]:
        correction1 = self.beta1 * state["correction.first_moment"] + (1 - self.beta1)
        correction2 = self.beta2 * state["correction.second_moment"] + (1 - self.beta2)
        new = {"correction.first_moment": correction1, "correction.second_moment": correction2}
        root_correction2 = ops.sqrt(correction2)
        rate = self.learning_rate / correction1
        for name, gradient in gradients.items():
            parameter = state[f"parameter.{name}"]
            first = self.beta1 * state[f"first_moment.{name}"] + (1 - self.beta1) * gradient
            second = self.beta2 * state[f"second_moment.{name}"] + (1 - self.beta2) * (gradient * gradient)
            denominator = ops.sqrt(second) / root_correction2 + self.epsilon
            new[f"first_moment.{name}"] = first
            new[f"second_moment.{name}"] = second
            decayed = (1 - self.learning_rate * self.weight_decay) * parameter
            new[f"parameter.{name}"] = decayed - rate * (first / denominator)
        return new

    def gradient(self, first_moment: Array) -> Array:
        return first_moment / (1 - self.beta1)
