"""What an ensemble in phase space says of itself: rotation, temperatures, spectra, motion.

Series are stationary, (members, T, k) for k modes, with mean zero; standard errors are
by the jackknife over members. The theory of the same, in the same units, is in
``currents``. Source: our section "Modified loss and probability currents".
"""

import math

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ...stats.estimate import jackknife


def rotation(one: NDArray, other: NDArray, lags: ArrayLike) -> tuple[NDArray, NDArray]:
    """Measure how pairs of series rotate within ``lags`` (L,) steps: values, errors (L, k).

    ``E[y_t x_{t+k}] − E[x_t y_{t+k}]`` over twice √(E x² E y² − (E x y)²): positive where
    the pair turns clockwise in the (x, y) plane. It has no unit. In coordinates that
    make the pair's covariance the identity it is the mean area of the triangle of the
    origin and the states at t and t + k: Lévy's stochastic area, and for small steps the
    angle in radians, weighted with the square of the radius. It is 0 for a process that
    looks the same in reversed time.
    """
    swept = [(_product(other, one, lag) - _product(one, other, lag)) / 2 for lag in lags]
    moments = [_product(one, one, 0), _product(other, other, 0), _product(one, other, 0)]

    def scaled(mean):
        return mean[3:] / np.sqrt(mean[0] * mean[1] - mean[2] ** 2)

    return jackknife(scaled, np.stack(moments + swept), axis=1, unbiased=True)


def temperature_exponent(series: NDArray, curvature: NDArray) -> tuple[NDArray, NDArray]:
    """Measure p in ``h E θ² ∝ h^p`` over modes, by least squares on logarithms.

    The temperature that the Gibbs law exp(−f/T) would need in each mode is h E θ²:
    p is 0 where one temperature serves all, and 1 (λ = 0) for the modified loss of
    noise proportional to the Hessian.
    """
    logarithm = np.log(curvature) - np.log(curvature).mean()
    weights = logarithm / (logarithm**2).sum()
    squares = _product(series, series, 0)
    return jackknife(lambda mean: np.log(curvature * mean) @ weights, squares, unbiased=True)


def spectra(series: NDArray, segment: int) -> NDArray:
    """Return the power spectra (segment / 2 + 1, members, k): two-sided.

    By Welch's method with Hann windows that overlap by half.
    """
    how = {"nperseg": segment, "detrend": False, "return_onesided": False}
    modes = np.moveaxis(series, -1, 0)  # one at a time: memory
    power = [scipy.signal.welch(one, **how)[1].T[: segment // 2 + 1] for one in modes]
    return np.stack(power, -1)


def spectral_peaks(power: NDArray) -> tuple[NDArray, NDArray]:
    """Return the angles where spectra (bins, members, k), from 0 to π, are largest, (k,).

    The inverse of a spectrum is a parabola in the cosine of the frequency. It is fitted
    over the bins of more than half of the maximum, all of one relative error. NaN where
    the lowest point is not below cosine 1 by two standard errors: the spectrum may fall
    from 0 on.
    """
    cosine = np.cos(np.linspace(0, np.pi, len(power)))
    found = []
    for one in np.moveaxis(power, -1, 0):
        whole = one.mean(1)
        # Without the first bin: the window lets it in from both sides of 0.
        bins = 1 + np.flatnonzero(whole[1:] > whole[1:].max() / 2)

        def lowest(mean):
            below_one = cosine[bins] - 1
            second, first, _ = np.polyfit(below_one, 1 / mean[bins], 2, w=whole[bins])
            return 1 - first / (2 * second)

        nothing = (math.nan, math.nan)
        found.append(jackknife(lowest, one.T, unbiased=True) if len(bins) > 3 else nothing)
    place, error = np.array(found).T
    angle = np.arccos(np.where(place + 2 * error < 1, place, math.nan))
    return angle, error / np.sin(angle)


def local_motion(states: NDArray, edges: NDArray) -> tuple[NDArray, NDArray]:
    """Measure the mean motion at each place of phase space: the current over the density.

    For a mode's positions and velocities (2, members, T), each over its root mean square,
    the mean of (x_{t+1} − x_{t−1}) / 2 in the cells of a square grid with ``edges``
    (G + 1,): cell i G + j begins at the edges i of the position and j of the velocity.
    Returns the means (2, G²), NaN where a cell is empty, and the counts (G²,). Forward and
    backward means each have the symmetric part of the drift, which cancels.
    """
    states = states / np.sqrt(np.mean(np.square(states), axis=(1, 2), keepdims=True))
    motion = (states[..., 2:] - states[..., :-2]) / 2
    cells = np.searchsorted(edges, states[..., 1:-1]) - 1
    size = len(edges) - 1
    inside = ((cells >= 0) & (cells < size)).all(0)
    index = (cells[0] * size + cells[1])[inside]
    counts = np.bincount(index, minlength=size**2)
    sums = [np.bincount(index, part[inside], size**2) for part in motion]
    return np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1), counts


def _product(one: NDArray, other: NDArray, lag: int) -> NDArray:
    """Return the mean over t of one_t other_{t+lag} of each member, (members, k)."""
    length = one.shape[1] - lag
    return np.einsum("mtk,mtk->mk", one[:, :length], other[:, lag:]) / length
