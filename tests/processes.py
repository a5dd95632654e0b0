"""A process with exact laws, for the tests of several wings."""

import numpy as np
import scipy.signal

TIME = 10.0  # the autocorrelation time of the process below


def ornstein_uhlenbeck(count, length, seed=0, time=TIME):
    """Sampled Ornstein-Uhlenbeck processes (count, length), of variance 1, stationary.

    An AR(1) sequence with correlation phi: its autocorrelation time is
    (1 + phi) / (1 - phi).
    """
    phi = (time - 1) / (time + 1)
    noise = np.random.default_rng(seed).standard_normal((count, length))
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return scipy.signal.lfilter([1], [1, -phi], noise, axis=1)
