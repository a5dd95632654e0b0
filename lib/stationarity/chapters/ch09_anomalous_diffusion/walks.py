"""Processes whose displacement is known exactly, and the fitted exponent on them.

Each process has independent coordinates and is simulated exactly, not step by step
with an error: Brownian motion, the same with a drift, fractional Brownian motion by
circulant embedding, a stationary Ornstein-Uhlenbeck process. Source: our section
"Anomalous diffusion".
"""

import math

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...stats.displacement import exponent, slope_weights, spaced_lags, squared_displacements
from .settings import WalkStudy


def brownian(
    generator, members: int, steps: int, dimensions: int, drift=0.0
) -> NDArray:
    """Return paths (members, steps + 1, dimensions) of unit steps, from 0.

    ``drift`` is added to every step of every coordinate: per coordinate
    E Δ_k² = k + (drift k)².
    """
    noise = generator.standard_normal((members, steps, dimensions)) + drift
    return np.pad(noise.cumsum(1), ((0, 0), (1, 0), (0, 0)))


def fractional(
    generator, members: int, steps: int, dimensions: int, hurst: float
) -> NDArray:
    """Return paths of fractional Brownian motion, shaped as :func:`brownian`'s.

    Per coordinate E Δ_k² = k^(2 hurst). The increments are drawn by circulant
    embedding (Davies and Harte 1987), which is exact. Raises :class:`UsageError` for a
    Hurst index outside (0, 1).
    """
    if not 0 < hurst < 1:
        raise UsageError(f"A Hurst index lies between 0 and 1, and {hurst:g} does not.")
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
    """Return stationary paths of variance 1 and relaxation time ``time``, in steps.

    Shaped as :func:`brownian`'s. Per coordinate E Δ_k² = 2 (1 − exp(−k / time)).
    """
    kept = math.exp(-1 / time)
    noise = generator.standard_normal((members, steps + 1, dimensions))
    noise[:, 1:] *= math.sqrt(1 - kept**2)
    return scipy.signal.lfilter([1.0], [1.0, -kept], noise, axis=1)


def processes(settings: WalkStudy) -> dict:
    """Return name -> (function that draws paths, its argument, E Δ_k² of a coordinate)."""
    drift, time = settings.drift, settings.relaxation
    known = {
        "Brownian": (brownian, 0.0, lambda k: k),
        "Brownian with drift": (brownian, drift, lambda k: k + (drift * k) ** 2),
        "Ornstein-Uhlenbeck": (
            ornstein_uhlenbeck, time, lambda k: 2 * (1 - np.exp(-k / time)),
        ),
    }  # fmt: skip
    for hurst in settings.hurst:
        known[f"fractional, H = {hurst:g}"] = (
            fractional,
            hurst,
            lambda k, h=hurst: k ** (2 * h),
        )
    return known


def known_walks(settings: WalkStudy) -> list:
    """Fit the exponent of processes for which it is known. Rows, of each process:

    - ``global_displacement_squared (process)[k,r]``: of trajectory k from reference
      point r, at the lag ``step``, in the first ensemble;
    - ``exact (process)``: its exact mean at that lag;
    - ``coverage (process)``: the share of ``replicates`` ensembles whose interval of the
      exponent, over the last two thirds of the lags, holds that of the exact means, with
      its binomial standard error; ``exponent (process)`` the mean of the fitted ones,
      ``exact_exponent (process)`` that of the exact means. The step is the longest lag.
    """
    longest, rows = settings.longest, []
    lags = spaced_lags(longest)
    within = (longest / 3, longest)
    for place, (name, process) in enumerate(processes(settings).items()):
        draw, argument, law = process
        generator = np.random.default_rng([settings.seed, place])
        exact = settings.dimensions * law(lags.astype(float))
        truth = np.log(exact) @ slope_weights(lags, within)
        found = []
        for replicate in range(settings.replicates):
            size = (
                settings.members,
                settings.references * longest,
                settings.dimensions,
            )
            squares = squared_displacements(draw(generator, *size, argument), lags)
            found.append(exponent(lags, squares, within))
            if replicate == 0:
                rows += displacement_rows(f"({name})", lags, squares)
        rows += [
            (int(k), math.nan, f"exact ({name})", v, 0.0) for k, v in zip(lags, exact)
        ]
        held = np.mean([fit.low <= truth <= fit.high for fit in found])
        values = np.array([fit.value for fit in found])
        count = len(found)
        for quantity, value, error in (
            ("coverage", held, math.sqrt(held * (1 - held) / count)),
            ("exponent", values.mean(), float(values.std()) / math.sqrt(count)),
            ("exact_exponent", truth, 0.0),
        ):
            rows.append(
                (longest, math.nan, f"{quantity} ({name})", float(value), error)
            )
    return rows


def displacement_rows(label: str, lags: ArrayLike, squares: NDArray) -> list:
    """Return the rows of squared displacements (K, R, L); the step is the lag."""
    return [
        (
            int(lag),
            math.nan,
            f"global_displacement_squared {label}[{k},{r}]",
            float(value),
            math.nan,
        )
        for k, member in enumerate(squares)
        for r, values in enumerate(member)
        for lag, value in zip(lags, values, strict=True)
    ]
