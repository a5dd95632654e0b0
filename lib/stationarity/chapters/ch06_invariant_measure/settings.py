"""The invariant measure (chapter 6): chains whose invariant measures are known.

The larger scales are longer runs of more trajectories; theory has no larger data.
"""

from typing import ClassVar

from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register


class DescentMap(Settings):
    """Settings of noise-free descent that wanders: how fast its histogram settles."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:descent_map"

    times: tuple[int, ...]  # lengths of the histograms, in steps
    trajectories: Count  # independent starts

    @property
    def total_steps(self) -> int:
        return self.trajectories * max(self.times)


class FiniteChains(Settings):
    """Settings of chains on finitely many states, by their transition matrices."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:finite_chains"

    states: Count  # of the rounded SGD and of the rotation
    learning_rate: Positive  # of the rounded SGD
    noise: float  # of its gradient, in either direction
    times: tuple[int, ...]  # lengths T of the time averages; the longest is 2 T

    @property
    def total_steps(self) -> int:
        return self.states**2 * max(self.times)


class Plane(Settings):
    """Settings of SGD with momentum in two dimensions, with Gaussian gradient noise."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.plane:noisy_plane"

    curvatures: tuple[float, ...]  # two eigenvalues of the Hessian
    angle: float  # of the first eigenvector, in degrees
    noise_variances: tuple[float, ...]  # of the gradient, along the two coordinates
    learning_rate: Positive
    momentum: Share
    start: tuple[float, ...]  # two coordinates
    steps: Count
    trajectories: Count


class DoubleWell(Settings):
    """Settings of SGD on a function with two minima, with bounded gradient noise."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.chains:double_well"

    learning_rate: Positive
    widths: tuple[float, ...]  # of the noise, uniform on [-width, width]
    steps: Count  # the second half is averaged
    trajectories: Count  # for each of two starts


class Identities(Settings):
    """Settings of softmax regression with momentum and decay, and two identities."""

    study: ClassVar[str] = "chapters.ch06_invariant_measure.identities:two_identities"

    dataset: str
    examples: Whole  # a multiple of the batch size
    label_noise: Share  # share of the labels that are replaced by random ones
    batch_size: Count
    learning_rate: Positive
    momentum: Share
    weight_decay: NotNegative
    edges: tuple[int, ...]  # steps at which the windows of time end
    stride: Count  # steps between two measurements of the full gradient
    replicates: Count  # independent chains, for the errors

    @property
    def total_steps(self) -> int:
        return self.replicates * self.edges[-1]


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
        dataset="digits", examples=320, label_noise=0.15, batch_size=16, learning_rate=0.05,
        momentum=0.9, weight_decay=0.02, edges=(140, 420, 1260, 3780, 7560), stride=7,
        replicates=12, threads=1,
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
