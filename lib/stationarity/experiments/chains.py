"""The invariant measure (chapter 6): chains whose invariant measures are known.

The larger scales are longer runs of more trajectories; theory has no larger data.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class DescentMap:
    """Settings of noise-free descent that wanders: how fast its histogram settles."""

    times: tuple[int, ...]  # lengths of the histograms, in steps
    trajectories: int  # independent starts
    seed: int = 0


@dataclass(frozen=True)
class FiniteChains:
    """Settings of chains on finitely many states, by their transition matrices."""

    states: int  # of the rounded SGD and of the rotation
    learning_rate: float  # of the rounded SGD
    noise: float  # of its gradient, in either direction
    times: tuple[int, ...]  # lengths T of the time averages; the longest is 2 T
    seed: int = 0  # nothing is random here


@dataclass(frozen=True)
class Plane:
    """Settings of SGD with momentum in two dimensions, with Gaussian gradient noise."""

    curvatures: tuple[float, ...]  # two eigenvalues of the Hessian
    angle: float  # of the first eigenvector, in degrees
    noise_variances: tuple[float, ...]  # of the gradient, along the two coordinates
    learning_rate: float
    momentum: float
    start: tuple[float, ...]  # two coordinates
    steps: int
    trajectories: int
    seed: int = 0


@dataclass(frozen=True)
class DoubleWell:
    """Settings of SGD on a function with two minima, with bounded gradient noise."""

    learning_rate: float
    widths: tuple[float, ...]  # of the noise, uniform on [-width, width]
    steps: int  # the second half is averaged
    trajectories: int  # for each of two starts
    seed: int = 0


@dataclass(frozen=True)
class Identities:
    """Settings of softmax regression with momentum and decay, and two identities."""

    dataset: str
    examples: int  # a multiple of the batch size
    label_noise: float  # share of the labels that are replaced by random ones
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    edges: tuple[int, ...]  # steps at which the windows of time end
    stride: int  # steps between two measurements of the full gradient
    replicates: int  # independent chains, for the errors
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


CHAINS = {
    "descent_map": {
        "classroom": DescentMap(
            times=(10, 30, 100, 300, 1000, 3000, 10000, 30000), trajectories=100
        ),
        "single-gpu": DescentMap(
            times=(10, 100, 1000, 10000, 100000), trajectories=200
        ),
        "paper": DescentMap(
            times=(10, 100, 1000, 10000, 100000), trajectories=500
        ),
    },
    "finite_chains": {
        "classroom": FiniteChains(
            states=81, learning_rate=0.1, noise=2.0,
            times=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        ),
        "single-gpu": FiniteChains(
            states=321, learning_rate=0.1, noise=2.0,
            times=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        ),
        "paper": FiniteChains(
            states=641, learning_rate=0.1, noise=2.0,
            times=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
        ),
    },
    "noisy_plane": {
        "classroom": Plane(
            curvatures=(1.0, 0.2), angle=30.0, noise_variances=(1.0, 0.1),
            learning_rate=0.1, momentum=0.9, start=(4.0, -4.0), steps=400,
            trajectories=4000,
        ),
        "single-gpu": Plane(
            curvatures=(1.0, 0.2), angle=30.0, noise_variances=(1.0, 0.1),
            learning_rate=0.1, momentum=0.9, start=(4.0, -4.0), steps=400,
            trajectories=40000,
        ),
        "paper": Plane(
            curvatures=(1.0, 0.2), angle=30.0, noise_variances=(1.0, 0.1),
            learning_rate=0.1, momentum=0.9, start=(4.0, -4.0), steps=1000,
            trajectories=400000,
        ),
    },
    "double_well": {
        "classroom": DoubleWell(
            learning_rate=0.3, widths=(0.3, 1.5), steps=4000, trajectories=50
        ),
        "single-gpu": DoubleWell(
            learning_rate=0.3, widths=(0.3, 1.5), steps=40000, trajectories=50
        ),
        "paper": DoubleWell(
            learning_rate=0.3, widths=(0.3, 1.5), steps=100000, trajectories=200
        ),
    },
    "two_identities": {
        "classroom": Identities(
            dataset="digits", examples=320, label_noise=0.15, batch_size=16,
            learning_rate=0.05, momentum=0.9, weight_decay=0.02,
            edges=(140, 420, 1260, 3780, 7560), stride=7, replicates=12, threads=1,
        ),
        "single-gpu": Identities(
            dataset="digits", examples=1280, label_noise=0.15, batch_size=64,
            learning_rate=0.05, momentum=0.9, weight_decay=0.02,
            edges=(140, 420, 1260, 3780, 11340, 34020), stride=7, replicates=64,
        ),
        "paper": Identities(
            dataset="digits", examples=1408, label_noise=0.15, batch_size=64,
            learning_rate=0.05, momentum=0.9, weight_decay=0.02,
            edges=(154, 462, 1386, 4158, 12474, 37422, 112266), stride=7, replicates=64,
        ),
    },
}  # fmt: skip
