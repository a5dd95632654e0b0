"""Processes whose displacement is known exactly, and the fitted exponent on them.

Each process has independent coordinates and is simulated exactly: its paths are
(members, steps + 1, dimensions). Source: our section "Anomalous diffusion".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ...runs.metrics import rows
from ...stats import displacement
from ...stats.estimate import mean_and_error
from .. import bootstrap

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import WalkStudy


def brownian(generator, members: int, steps: int, dimensions: int, drift: float) -> NDArray:
    """Return paths from 0 of unit steps; ``drift`` is added to each step of a coordinate."""
    noise = generator.standard_normal((members, steps, dimensions)) + drift
    return np.pad(noise.cumsum(1), ((0, 0), (1, 0), (0, 0)))


def fractional(generator, members: int, steps: int, dimensions: int, hurst: float) -> NDArray:
    """Return paths of fractional Brownian motion, 0 < hurst < 1.

    By circulant embedding (Davies and Harte 1987), which is exact.
    """
    lags = np.arange(steps + 1.0)
    powers = np.abs(lags + np.array([[1], [-1], [0]])) ** (2 * hurst)
    covariance = (powers[0] + powers[1]) / 2 - powers[2]
    circle = np.concatenate([covariance, covariance[-2:0:-1]])
    eigenvalues = np.fft.rfft(circle).real.clip(min=0)  # below 0 by rounding only
    noise = generator.standard_normal((members, len(circle), dimensions))
    roots = np.sqrt(eigenvalues)[:, None]
    increments = np.fft.irfft(roots * np.fft.rfft(noise, axis=1), len(circle), axis=1)
    return np.pad(increments[:, :steps].cumsum(1), ((0, 0), (1, 0), (0, 0)))


def ornstein_uhlenbeck(
    generator, members: int, steps: int, dimensions: int, time: float
) -> NDArray:
    """Return stationary paths of variance 1 and relaxation ``time`` (steps)."""
    kept = math.exp(-1 / time)
    noise = generator.standard_normal((members, steps + 1, dimensions))
    noise[:, 1:] *= math.sqrt(1 - kept**2)
    return scipy.signal.lfilter([1.0], [1.0, -kept], noise, axis=1)


def squared_displacements(paths: NDArray, lags: ArrayLike) -> NDArray:
    """Return ‖Δ_k‖² of each path (K, T + 1, D) at lags (L,) from reference points, (K, R, L).

    As many points as fit in without overlap.

    >>> squared_displacements(np.arange(5.0).reshape(1, 5, 1), [1, 2])
    array([[[1., 4.],
            [1., 4.]]])
    """
    longest = max(lags)
    references = np.arange(0, paths.shape[1] - longest, longest)
    gone = paths[:, references[:, None] + lags] - paths[:, references, None]
    return (gone**2).sum(3)


def processes(settings: WalkStudy) -> dict[str, tuple]:
    """Return name -> (function that draws paths, its argument, E Δ_k² of a coordinate)."""
    drift, time = settings.drift, settings.relaxation
    return {
        "Brownian": (brownian, 0.0, lambda k: k),
        "Brownian with drift": (brownian, drift, lambda k: k + (drift * k) ** 2),
        "Ornstein-Uhlenbeck": (ornstein_uhlenbeck, time, lambda k: 2 * (1 - np.exp(-k / time))),
    } | {
        f"fractional, H = {hurst:g}": (fractional, hurst, lambda k, h=hurst: k ** (2 * h))
        for hurst in settings.hurst
    }


def known_walks(settings: WalkStudy, place: Place) -> list[tuple]:
    """Fit the exponent of processes for which it is known. Rows ``of`` each process:

    - ``global_displacement_squared``: of trajectory ``member`` from reference point
      ``index``, at the lag ``step``, in the first ensemble;
    - ``exact``: its exact mean at that lag;
    - ``coverage``: the share of ensembles whose interval of the exponent, over the last two
      thirds of the lags, holds that of the exact means, ``exact_exponent``; and
      ``exponent``, the mean of the fitted ones. The step is the longest lag.
    """
    longest, count, metrics = settings.longest, settings.replicates, []
    size = (settings.members, settings.references * longest, settings.dimensions)
    lags, within = displacement.spaced_lags(longest), (longest / 3, longest)
    for number, (name, (draw, argument, law)) in enumerate(processes(settings).items()):
        generator = np.random.default_rng([settings.seed, number])
        exact = settings.dimensions * law(lags.astype(float))
        truth = np.log(exact) @ bootstrap.exponent_weights(lags, within)
        ensembles = [
            squared_displacements(draw(generator, *size, argument), lags) for _ in range(count)
        ]
        fits = [bootstrap.exponent(lags, squares, within) for squares in ensembles]
        axes = dict(member=range(size[0]), index=range(settings.references), step=lags)
        metrics += rows("global_displacement_squared", ensembles[0], of=name, **axes)
        metrics += rows("exact", exact, 0.0, of=name, step=lags)
        held = np.mean([fit.low <= truth <= fit.high for fit in fits])
        fitted = mean_and_error([fit.value for fit in fits])
        where = dict(of=name, step=longest)
        metrics += rows("coverage", held, math.sqrt(held * (1 - held) / count), **where)
        metrics += rows("exponent", *fitted, **where)
        metrics += rows("exact_exponent", truth, 0.0, **where)
    return metrics
