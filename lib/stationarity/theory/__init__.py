"""What theory predicts of SGD around a minimum.

``discrete`` is exact for SGD on noisy quadratics, ``continuous`` its Langevin equation,
``modes`` what is measured of single directions; ``simulation`` draws trajectories.
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
