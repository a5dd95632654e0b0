"""The invariant measure (chapter 6): larger scales are longer runs of more trajectories."""

import math
from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from ...errors import UsageError
from ...runs.settings import Count, NotNegative, Positive, Settings, Share, register
from ...theory.discrete import check_stable
from ...train.settings import AtLeastTwo, SmallNet


class DescentMap(Settings):
    """Settings of noise-free descent that wanders: how fast its histogram settles."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:descent_map"

    times: tuple[Count, ...]  # lengths of the histograms, in steps
    trajectories: AtLeastTwo  # independent starts

    total_steps = property(lambda self: self.trajectories * max(self.times))


class FiniteChains(Settings):
    """Settings of chains on finitely many states, by their transition matrices."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:finite_chains"

    states: AtLeastTwo  # of the rounded SGD and of the rotation
    learning_rate: Positive  # of the rounded SGD
    noise: float  # of its gradient, in either direction
    times: tuple[Count, ...]  # lengths T of the time averages; the longest is 2 T

    total_steps = property(lambda self: self.states**2 * max(self.times))


class Plane(Settings):
    """Settings of SGD with momentum in two dimensions, with Gaussian gradient noise."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:noisy_plane"

    curvatures: tuple[float, float]  # eigenvalues of the Hessian
    angle: float  # of the first eigenvector, in degrees
    noise_variances: tuple[NotNegative, NotNegative]  # of the gradient, along the coordinates
    learning_rate: Positive
    momentum: Share
    start: tuple[float, float]
    steps: Count
    trajectories: AtLeastTwo
    total_steps = property(lambda self: self.trajectories * self.steps)

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_stable(self.curvatures, self.learning_rate, self.momentum)
        return self


class DoubleWell(Settings):
    """Settings of SGD on a function with two minima, with bounded gradient noise."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:double_well"

    learning_rate: Positive
    widths: tuple[NotNegative, ...]  # of the noise, uniform on [-width, width]
    steps: Count  # the second half is averaged
    trajectories: AtLeastTwo  # for each of two starts
    total_steps = property(lambda self: self.trajectories * self.steps)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        rate = self.learning_rate
        for width in self.widths:
            # From the largest value of a step for θ ≥ 0; without noise (1 + η) θ − η θ³.
            radius = 2 * rate * ((1 + rate) / (3 * rate)) ** 1.5 + rate * width
            if (1 + rate) * radius - rate * radius**3 - rate * width < -radius:
                raise UsageError(
                    f"The learning rate {rate:g} is too large for noise of width {width:g} on "
                    "the double well: weights may leave for good; take less."
                )
        return self


class Identities(SmallNet):
    """Settings of softmax regression with momentum and decay, and two identities."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.two_identities:two_identities"

    examples: Count  # a multiple of the batch size
    edges: tuple[Count, ...]  # steps at which the windows of time end
    stride: Count  # steps between two measurements of the full gradient
    replicates: AtLeastTwo  # independent chains, for the errors

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        per_epoch, rest = divmod(self.examples, self.batch_size)
        if rest:
            raise UsageError(
                f"A reshuffled epoch needs whole minibatches: {self.examples} examples "
                f"are no multiple of the batch size {self.batch_size}."
            )
        if not self.edges or min(np.diff((0, *self.edges))) < self.stride:
            raise UsageError(
                f"The setting edges must rise by at least the stride {self.stride} each, so "
                f"that every window is measured: it is {self.edges}."
            )
        if math.gcd(self.stride, per_epoch) > 1:
            raise UsageError(
                f"The stride {self.stride} must share no factor with the {per_epoch} "
                "minibatches of an epoch, to see all parts of it."
            )
        return self

    total_steps = property(lambda self: self.replicates * self.edges[-1])

    def epochs(self, step: int) -> float:
        """Return how many passes over the data so many steps are."""
        return step * (self.batch_size / self.examples)


register(
    "descent_map",
    DescentMap(times=(10, 30, 100, 300, 1000, 3000, 10000, 30000), trajectories=100),
    single_gpu=dict(times=(10, 100, 1000, 10000, 100000), trajectories=200),
    paper=dict(times=(10, 100, 1000, 10000, 100000), trajectories=500),
)  # fmt: skip
register(
    "finite_chains",
    FiniteChains(
        states=81, learning_rate=0.1, noise=2.0,
        times=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    ),
    single_gpu=dict(states=321),
    paper=dict(states=641, times=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)),
)  # fmt: skip
register(
    "noisy_plane",
    Plane(
        curvatures=(1.0, 0.2), angle=30.0, noise_variances=(1.0, 0.1), learning_rate=0.1,
        momentum=0.9, start=(4.0, -4.0), steps=400, trajectories=4000,
    ),
    single_gpu=dict(trajectories=40000),
    paper=dict(steps=1000, trajectories=400000),
)  # fmt: skip
register(
    "double_well",
    DoubleWell(learning_rate=0.3, widths=(0.3, 1.5), steps=4000, trajectories=50),
    single_gpu=dict(steps=40000),
    paper=dict(steps=100000, trajectories=200),
)  # fmt: skip
register(
    "two_identities",
    Identities(
        dataset="digits", examples=320, hidden=(), label_noise=0.15, batch_size=16,
        learning_rate=0.05, momentum=0.9, weight_decay=0.02, stride=7, replicates=12,
        edges=(140, 420, 1260, 3780, 7560), threads=1,
    ),
    single_gpu=dict(
        examples=1280, batch_size=64, edges=(140, 420, 1260, 3780, 11340, 34020),
        replicates=64, threads=0,
    ),
    paper=dict(
        examples=1408, batch_size=64, edges=(154, 462, 1386, 4158, 12474, 37422, 112266),
        replicates=64, threads=0,
    ),
)  # fmt: skip
