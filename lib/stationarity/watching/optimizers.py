"""What a watched training's optimizer does: its buffers, and the curvature it can bear."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import UsageError

KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
BUFFERS = {"SGD": "momentum_buffer", "Adam": "exp_avg", "AdamW": "exp_avg"}
SETTINGS = "momentum", "betas", "weight_decay", "nesterov", "dampening"  # of a group
ALONE = "loss, gradient, noise, curvature and displacements are watched with optimizer=None"


class Followed:
    """What the steps of an optimizer, or of None, are taken with.

    A scheduler may have changed rates, momenta and decays before a step is noted: those that
    it was taken with are seen by a hook. ``settings`` are those of the groups but for the
    rates, ``facts`` and ``forgetting`` what follows from them.
    """

    def __init__(self, optimizer):
        self.optimizer, self.hook = optimizer, None
        self.stepped, self.rates = None, rates(optimizer)  # of a step that is not noted yet
        self._look(settings(optimizer))
        if optimizer:
            self.hook = optimizer.register_step_post_hook(self._see)

    def _look(self, now: list[dict]) -> None:
        self.settings, self.facts = now, facts(self.optimizer)
        self.forgetting = forgetting(self.optimizer)

    def _see(self, *_) -> None:
        skips = getattr(self.optimizer, "found_inf", None)  # of a fused one, by its scaler
        if skips is None or not skips:
            self.stepped, now = rates(self.optimizer), settings(self.optimizer)
            if now != self.settings:
                self._look(now)

    def noted(self) -> list:
        """Return the rates of the step that is noted now."""
        self.rates, self.stepped = self.stepped or [], None
        return self.rates

    def groups(self) -> list[dict]:
        """Return the parameter groups as the step had them that was noted last."""
        known = zip(self.optimizer.param_groups, self.rates, self.settings)
        return [group | {"lr": float(rate)} | kept for group, rate, kept in known]

    def close(self) -> None:
        if self.hook:
            self.hook.remove()


def plain(optimizer):
    """Return the optimizer within its wrappers; :class:`UsageError` for an unknown one."""
    while optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = getattr(optimizer, "optimizer", optimizer.__class__)
        if isinstance(optimizer, type):
            raise UsageError(f"The optimizer is no torch.optim.Optimizer, but {optimizer}.")
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner  # Accelerate's is an Optimizer itself
    if optimizer is None:
        return None
    if type(optimizer) not in KNOWN:
        name = type(optimizer).__name__
        said = f"What a step of {name} does is not known here, as it is of SGD, Adam and AdamW"
        raise UsageError(f"{said}: {ALONE}.")
    if any(group["maximize"] for group in optimizer.param_groups):
        raise UsageError("The optimizer maximizes: watch the objective with its sign turned.")
    return optimizer


def name_of(optimizer) -> str:
    """Return ``SGD``, ``Adam`` or ``AdamW``, or nothing."""
    if optimizer is None:
        return ""
    groups = optimizer.param_groups
    decoupled = any(group.get("decoupled_weight_decay") for group in groups)
    return "AdamW" if decoupled else type(optimizer).__name__


def groups(optimizer, parameters: list[Tensor]) -> tuple[list[int], int, Callable]:
    """Return the group of each parameter, their number, and what gives a parameter's buffer.

    Raises :class:`UsageError` for parameters that are not the optimizer's.
    """
    if optimizer is None:
        return [0] * len(parameters), 1, lambda p: None
    held = optimizer.param_groups
    of = {id(p): n for n, group in enumerate(held) for p in group["params"]}
    if lacking := [p for p in parameters if id(p) not in of]:
        said = f"{len(lacking)} of the model's {len(parameters)} trainable parameters"
        remedy = "give it them, or set requires_grad to False"
        raise UsageError(f"{said} are not the optimizer's: {remedy}.")
    key = BUFFERS[type(optimizer).__name__]
    buffer = lambda p: optimizer.state.get(p, {}).get(key)  # noqa: E731
    return [of[id(p)] for p in parameters], len(held), buffer


def facts(optimizer) -> list[dict]:
    """Return what the watch's page needs of each parameter group."""
    groups = []
    for group in optimizer.param_groups if optimizer else ():
        adam = "betas" in group
        momentum = [float(b) for b in group["betas"]] if adam else float(group["momentum"])
        fact = {"momentum": momentum, "nesterov": bool(group.get("nesterov", False))}
        fact |= {"weight_decay": float(group["weight_decay"])}
        fact |= {"decoupled": decoupled(optimizer, group)}
        fact |= {"dampening": float(group.get("dampening", 0.0) if momentum else 0.0)}
        groups.append(fact)
    return groups


def decoupled(optimizer, group: dict) -> bool:
    """Return whether the decay is a step of its own, and no part of the gradient."""
    return bool(group.get("decoupled_weight_decay", type(optimizer) is torch.optim.AdamW))


def rates(optimizer) -> list:
    """Return the groups' learning rates, numbers, or copies of scalar tensors.

    Raises :class:`UsageError` for a rate with several entries.
    """
    by_group = []
    for group in optimizer.param_groups if optimizer else ():
        rate = group["lr"]
        if isinstance(rate, Tensor):
            if rate.numel() != 1:
                said = f"A learning rate has {rate.numel()} entries, one for each weight"
                raise UsageError(f"{said}: give each rate a parameter group of its own.")
            rate = rate.detach().clone()
        by_group.append(rate)
    return by_group


def settings(optimizer) -> list[dict]:
    """Return the groups' :data:`SETTINGS`, those that they have."""
    held = optimizer.param_groups if optimizer else ()
    return [{name: group[name] for name in SETTINGS if name in group} for group in held]


def forgetting(optimizer) -> list[float]:
    """Return by how much a step of rate 1 forgets the weights: lambda / (1 - beta), by group.

    Where the decay is a step of its own, lambda: momentum does not carry it. NaN for a decay
    that Adam rescales.
    """
    by_group = []
    for group in optimizer.param_groups if optimizer else ():
        decay, adam = float(group["weight_decay"]), "betas" in group
        if adam and not decoupled(optimizer, group):
            decay = math.nan if decay else 0.0
        elif not adam and group["momentum"]:
            decay *= (1 - group["dampening"]) / (1 - group["momentum"])
        by_group.append(decay)
    return by_group


def stable_curvature(optimizer, group: dict) -> float:
    """Return the largest curvature h for which a step is stable on h x^2 / 2.

    Each follows from the multiplier -1 of the linear step (see also Cohen et al., 2021, and
    2022 for Adam). With rate eta, decay lambda and momentum beta:

    - SGD: 2 (1 + beta) / (eta (1 - dampening)) - lambda;
    - with Nesterov's momentum: 2 (1 + beta) / (eta (1 + 2 beta)) - lambda;
    - Adam, h being that of the Hessian over P = (1 - b1^t) (sqrt(v / (1 - b2^t)) + eps), to
      which a coupled decay is added: 2 (1 + b1) / (eta (1 - b1));
    - AdamW: (2 / eta - lambda) (1 + b1) / (1 - b1).
    """
    rate, decay = float(group["lr"]), float(group["weight_decay"])
    if rate == 0:
        return math.inf
    if "betas" in group:
        beta = float(group["betas"][0])
        own = decay if decoupled(optimizer, group) else 0.0
        return (2 / rate - own) * (1 + beta) / (1 - beta)
    beta = float(group["momentum"])
    if group["nesterov"]:
        return 2 * (1 + beta) / (rate * (1 + 2 * beta)) - decay
    damped = 1 - group["dampening"] if beta else 1.0
    return 2 * (1 + beta) / (rate * damped) - decay


def preconditioner(optimizer, group: dict, parameter: Tensor) -> Tensor | None:
    """Return Adam's P for a parameter, in its shape; None where it has taken no step."""
    state = optimizer.state.get(parameter) or {}
    if "exp_avg_sq" not in state:
        return None
    second = state.get("max_exp_avg_sq", state["exp_avg_sq"])
    first, last = (float(beta) for beta in group["betas"])
    count = float(state["step"])
    root = (second / (1 - last**count)).sqrt_().add_(group["eps"])
    return root.mul_(1 - first**count)
