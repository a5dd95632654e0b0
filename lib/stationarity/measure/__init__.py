"""What is measured on a network: gradient, noise, curvature, distances.

Pure functions of a model, an objective and batches. What is measured is the mean
of the objective over the batches given, in the mode (training or evaluation) and
with the random state the caller set. Nothing is left behind: parameters, ``.grad``,
buffers, modes and random state are as they were, also after an exception.

Of several processes (see :mod:`stationarity.runs.distributed`) each gives its share of
every batch, of equal size, and all call together: losses, gradients and products are
the means over them, and each gets the same answer.
"""

from .curvature import Sharpness, directional_sharpness, sharpness
from .derivatives import displacement, inner, norms, parameter_vector
from .gradients import GradientStatistics, gradient_statistics, partition_statistics
from .objectives import LOSSES, Batch, Objective, cross_entropy, mean_loss, squared_error
from .projections import projected_gradients
from .state import float32_products, without_trace
