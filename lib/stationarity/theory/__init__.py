"""What theory predicts of SGD around a minimum.

Exact for SGD on noisy quadratics is ``discrete``; ``continuous`` is its Langevin equation.
"""

from .continuous import damping, limiting_covariance, propagator
from .discrete import (
    check_stable,
    decay,
    displacement_squared,
    moments,
    oscillation,
    stationary_covariance,
    transition,
)
