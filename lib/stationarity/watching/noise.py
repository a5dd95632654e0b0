"""Gradient, noise and noise scale from M minibatches, in the memory of no gradient."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..measure.derivatives import gradients
from ..measure.group_sums import Sample
from ..runs import distributed
from .sketch import Sketch

FEW = 12  # batches: of fewer, an interval errs to the wide side
HOOKED = Tensor.register_hook  # itself: that of a forward pass is inert while one measures
WIDTH = 2**17  # of sketches of gradients: of more parameters, all is right within 0.6 %
SLICE = 2**14  # of their entries, that are multiplied at once


class Gradients:
    """Collects minibatch gradients, each as its :class:`~.sketch.Sketch`.

    The map is the same for all, so that their mean and their noise are seen exactly as they
    are in a space of ``WIDTH`` dimensions: what is unbiased stays so, and squared norms are
    those in P dimensions within sqrt(4 / WIDTH) = 0.6 %. No gradient is held: the backward pass
    gives each parameter's to the sketch, and lets it go.
    """

    def __init__(self, parameters: list[Tensor], count: int):
        width = min(WIDTH, sum(one.numel() for one in parameters))
        self.parameters, self.sketch = parameters, Sketch(parameters, width)
        self.rows, self.losses = self.sketch.nothing(count + 1), []

    def add(self, loss: Tensor) -> None:
        """Add the gradient of a loss; hooks of the parameters must have been put aside."""
        total, hooks = self.rows[len(self.losses)], [p._backward_hooks for p in self.parameters]

        def take(start: int, gradient: Tensor) -> Tensor:
            self.sketch.add(total, start, gradient.detach().to_dense().reshape(-1))
            if gradient.is_sparse:
                return torch.zeros_like(gradient)
            return gradient.new_zeros(()).expand_as(gradient)  # in its place, and no memory

        handles = [
            HOOKED(p, partial(take, start))
            for p, start in zip(self.parameters, self.sketch.starts)
        ]
        try:
            gradients(loss, self.parameters)
        finally:
            for p, handle, before in zip(self.parameters, handles, hooks):
                handle.remove()
                p._backward_hooks = before
        self.losses.append(loss.detach().double())

    def noise(self, decays: Iterable[float], examples: int, population: int | None = None):
        """Return :class:`Noise`; of ``decays`` each parameter has one, within the gradient."""
        for p, start, decay in zip(self.parameters, self.sketch.starts, decays):
            if decay:
                part = self.sketch.nothing()
                self.sketch.add(part, start, p.detach().reshape(-1))
                self.rows[-1] += decay * part
        pieces = distributed.mean(self.rows).split(SLICE, dim=1)
        gram = sum(one @ one.T for one in (piece.double() for piece in pieces)).cpu().numpy()
        losses = distributed.mean(torch.stack(self.losses)).cpu().numpy()
        return Noise(gram, losses, examples, population or math.inf)


@dataclass(frozen=True)
class Noise:
    """What M gradients say: see the properties.

    ``gram`` (M + 1, M + 1) are inner products of the gradients and, last, of the decay;
    ``losses`` (M,); ``examples`` the number in each batch; ``population`` M where the batches
    are the whole training set.
    """

    gram: NDArray
    losses: NDArray
    examples: int
    population: float = math.inf

    @cached_property
    def sample(self) -> Sample:
        """The gradients as :mod:`stationarity.measure.group_sums` has them, one a group."""
        products = self.gram[:-1, :-1]
        ones = np.ones(len(products), int)
        how = products.diagonal(), ones, self.population
        return Sample(products, *how, max(products.sum(), 0.0))

    @cached_property
    def regularised(self) -> Sample:
        """The same with the decay's part in every gradient."""
        ones = np.ones(len(self.gram) - 1)
        square = self.sample.square_of_sum + len(ones) * (
            2 * self.gram[-1, :-1].sum() + len(ones) * self.gram[-1, -1]
        )
        return self.sample.shifted(1.0, self.gram[-1], max(square, 0.0))

    @cached_property
    def scale(self) -> "NoiseScale":
        """The gradient noise scale, in examples."""
        return noise_scale(self.gram[:-1, :-1], self.examples)


@dataclass(frozen=True)
class NoiseScale:
    """tr Sigma / |g|^2 in examples: an estimate, its interval at 95 %, its standard error.

    ``high`` is infinite where the gradient is not told from zero: the scale is then at least
    ``low``. ``value`` is infinite where the unbiased |g|^2 is not positive.
    """

    value: float
    low: float
    high: float
    error: float


def noise_scale(products: NDArray, examples: int) -> NoiseScale:
    """Estimate the gradient noise scale from inner products of M minibatch gradients.

    With g_i the gradient of the i-th of M independent batches of B ``examples``, the sample
    variance s^2 = sum ||g_i - g||^2 / (M - 1) is unbiased for tr Sigma / B, the noise of a
    batch, and U = ||g||^2 - s^2 / M for |grad f|^2. The scale is B s^2 / U, less its bias of
    first order by the jackknife (leave one batch out). The interval is Fieller's: the ratios r
    for which N - r U, of mean zero at the true one, is within Student's t with M - 1 degrees of
    freedom of its error by :func:`jackknife`. Where U is not told from zero it has no upper
    end.

    The two-batch estimate of McCandlish et al. (2018, appendix A) compares one batch of B with
    one of M B; averaged over all choices of the former it is N / U.

    ``products`` (M, M), M >= 3: else the interval is everything. Units: examples.

    >>> gradients = np.array([[1.0, 0.5], [1.0, -0.5], [1.2, 0.0], [0.8, 0.0]])
    >>> scale = noise_scale(gradients @ gradients.T, examples=10)
    >>> scale.low < scale.value < scale.high
    True
    """
    count = len(products)
    if count < 3:
        return NoiseScale(math.nan, 0.0, math.inf, math.nan)
    squares = products.diagonal()
    apart = (squares[:, None] + squares) / 2 - products
    whole, without, covariance = jackknife(np.stack([examples * apart, products]))
    bound = scipy.stats.t.isf(0.025, count - 1) ** 2
    low, high = map(float, ratio_interval(whole, covariance * bound))
    if whole[1] <= 0:
        return NoiseScale(math.inf, low, high, math.nan)
    ratios = without[0] / without[1]
    value, error = whole[0] / whole[1], math.nan
    if math.isfinite(high):  # else a part without one batch may be close to zero
        error = math.sqrt((count - 1) * ratios.var())
        value = min(max(count * value - (count - 1) * ratios.mean(), low), high)
    return NoiseScale(float(value), low, high, error)


def jackknife(kernels: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return means over pairs, those with each item left out, and the covariance of the former.

    ``kernels`` (K, n, n) are symmetric functions h(x_i, x_j) of independent items, n >= 3; the
    diagonal is not looked at. With h = mean + a_i + a_j + b_ij, all uncorrelated, the variance
    of the mean is 4 var(a) / n + 2 var(b) / (n (n - 1)), and the jackknife's in the mean
    4 var(a) / n + 4 var(b) / (n (n - 2)) (Efron and Stein 1981). Of ``FEW`` items or more the
    excess is taken off, with var(b) from what the means of rows leave, n (n - 3) / 2 degrees
    of freedom; what remains is no less than where a = 0. Of fewer, var(b) is told badly.
    """
    count = kernels.shape[-1]
    off = kernels * (1 - np.eye(count))
    across = off.sum(2)
    total = across.sum(1)
    whole = total / (count * (count - 1))
    without = (total[:, None] - 2 * across) / ((count - 1) * (count - 2))
    centred = without - without.mean(1, keepdims=True)
    covariance = centred @ centred.T * (count - 1) / count
    if count < FEW:
        return whole, without, covariance
    own = -centred * (count - 1) / 2  # a: leaving an item out takes 2 a / (n - 1) off
    rest = off - (whole[:, None, None] + own[:, :, None] + own[:, None])
    rest = rest.reshape(len(off), -1)[:, ~np.eye(count, dtype=bool).ravel()]
    excess = 2 * (rest @ rest.T) / (count * (count - 3)) / ((count - 1) * (count - 2))
    least = covariance * (count - 2) / (2 * (count - 1))
    enough = np.linalg.eigvalsh(covariance - excess - least).min() > 0
    return whole, without, covariance - excess if enough else least


def ratio_interval(parts: NDArray, covariance: NDArray) -> tuple[float, float]:
    """Return Fieller's interval of parts[0] / parts[1], at least 0.

    ``covariance`` (2, 2) is that of the parts, times the square of the law's quantile.
    """
    noise, signal = parts
    a = signal**2 - covariance[1, 1]
    b = noise * signal - covariance[0, 1]
    c = noise**2 - covariance[0, 0]
    root = math.sqrt(max(b**2 - a * c, 0.0))
    if a > 0 and signal > 0:
        return max((b - root) / a, 0.0), max((b + root) / a, 0.0)
    if c <= 0:  # noise is not told from zero either
        return 0.0, math.inf
    if a >= 0:  # the square is seen below zero, or just not above it
        return noise / math.sqrt(covariance[1, 1]), math.inf
    return max((b - root) / a, (b + root) / a), math.inf
