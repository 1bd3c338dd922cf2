"""A user's optimiser as one of our rules."""

from __future__ import annotations

from typing import Any

from bench.child.own.factory import Refusal
from workloads.optim import SGD, AdamW, Optimizer

DEFAULT = SGD(learning_rate=0.01, momentum=0.9)
NOT_OURS: dict[str, dict[str, Any]] = {
    "SGD": {"dampening": 0, "nesterov": False, "weight_decay": 0, "maximize": False},
    "Adam": {"amsgrad": False, "maximize": False, "weight_decay": 0},
    "AdamW": {"amsgrad": False, "maximize": False},
}
"""What each must be given as, since our rule has no other, by PyTorch's names."""


def rule_of(optimizer: Any) -> Optimizer:
    """Returns the rule of a torch optimiser, or one of ours as it is. Raises Refusal for what we have no rule for."""
    if optimizer is None:
        return DEFAULT
    if isinstance(optimizer, Optimizer):
        return optimizer
    kind = type(optimizer).__name__
    groups = getattr(optimizer, "param_groups", None)
    if not type(optimizer).__module__.startswith("torch.optim") or kind not in NOT_OURS or not groups:
        raise Refusal(f"the optimizer is a {kind}; there are rules for: torch.optim.SGD with momentum, Adam, AdamW")
    settings = [{name: value for name, value in group.items() if name != "params"} for group in groups]
    if any(other != settings[0] for other in settings):
        raise Refusal(f"the {kind} has groups of parameters with settings of their own; give all the same")
    chosen = settings[0]
    for name, value in NOT_OURS[kind].items():
        if chosen.get(name, value) != value:
            raise Refusal(f"the {kind} has {name}={chosen[name]}, which there is no rule for; give {name}={value}")
    rate = float(chosen["lr"])
    if kind == "SGD":
        if not chosen["momentum"]:
            raise Refusal("the SGD has no momentum; its step is verified by its moment: give it some, such as 0.9")
        return SGD(rate, float(chosen["momentum"]))
    beta1, beta2 = map(float, chosen["betas"])
    return AdamW(rate, beta1, beta2, float(chosen["eps"]), float(chosen["weight_decay"]))


def parameters_in(optimizer: Any) -> set[int] | None:
    """Returns the ids of the parameters that a torch optimiser updates, None where it does not say."""
    groups = getattr(optimizer, "param_groups", None)
    return None if groups is None else {id(parameter) for group in groups for parameter in group["params"]}
