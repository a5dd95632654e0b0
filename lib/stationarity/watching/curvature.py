"""The largest curvature of a watched training's loss, from both sides.

The top eigenvalue of the Hessian H_S of a few batches S is in the mean no less than that of the
Hessian H of all data, as the largest eigenvalue is a convex function. Its eigenvector v is a
direction like any other to batches that are independent of S: there v'H_B v has the mean
v'Hv <= lambda_max(H). So the top curvature of all data lies between the two.

Lanczos' method starts in each measurement from another direction, so that what a start hides
averages out. Its residual says only that some eigenvalue of H_S is as near, and not that it is
the top one: where its stopping rule (:mod:`stationarity.measure.lanczos`) did not hold before
the products ran out, the top eigenvalue may be any larger one, and its error is infinite.
"""

import math

import torch
from torch import Tensor

from .. import measure
from ..measure.curvature import MeanHessian
from ..measure.derivatives import flat, parameter_vector
from ..measure.lanczos import largest_eigenpairs
from ..measure.state import without_trace
from ..runs.distributed import key
from ..runs.seeds import seed_of
from ..stats.estimate import mean_and_error
from . import optimizers

PRODUCTS, TOLERANCE = 50, 0.02


def bracket(watch, batches: list) -> list[tuple]:
    """Return rows (quantity, value, error) of a watch's curvature; note in run.json of what.

    The first ``watch.few`` batches give the eigenvalue, with the residual of Lanczos' method as
    its error (infinite where it did not converge), and the others the curvature along its
    vector, with the standard error of their mean. Where a batch is the whole training set there
    are no others, and the first is exact.
    """
    root, shift = scales(watch)
    few, fresh = batches[: watch.few], batches[watch.few :]
    top = _top(watch, few, root, shift)
    told = watch.table.info["watch"]
    told["sharpness_examples"] = len(few) * told["measured_batch_size"]
    error = top.residuals[0] if top.converged else math.inf
    rows = [("sharpness", top.eigenvalues[0], error)]
    rows.append(("sharpness_products", top.products))
    if fresh:
        values = _along(watch, fresh, root * top.eigenvectors[0], shift)
        rows.append(("fresh_curvature", *mean_and_error(values)))
    if watch.optimizer:
        rows.append(("stable_sharpness", _stable(watch)))
    return rows


def _top(watch, batches: list, root, shift):
    """Return the largest eigenpair of R (H + shift) R, of the mean over the batches."""
    how = {"tol": TOLERANCE, "max_products": PRODUCTS}
    generator = torch.Generator().manual_seed(seed_of("watch", "top", watch.taken))
    with without_trace(watch.model, watch.objective, curvature=True) as before:
        hessian = MeanHessian(before, watch.objective, batches)

        def product(vector: Tensor) -> Tensor:
            inner = root * vector
            image = root * (hessian(inner, check=not hessian.checked) + shift * inner)
            product.precision = hessian.precision  # known when the objective was called
            return image

        like = parameter_vector(watch.model)
        return largest_eigenpairs(product, like, k=1, generator=generator, **how)


def _along(watch, batches: list, direction: Tensor, shift) -> list[float]:
    """Return d' (H + shift) d for each batch, each with random numbers of its own."""
    square = direction.double().square()
    own, values = float((shift * square).sum()), []
    with without_trace(watch.model, watch.objective):  # which puts the random state back
        for number, batch in enumerate(batches):
            torch.manual_seed(seed_of("watch", "fresh", watch.taken, number, *key()))
            how = watch.model, watch.objective, [batch], direction
            along = measure.directional_sharpness(*how)
            values.append(along * float(square.sum()) + own)
    return values


def _stable(watch) -> float:
    """Return the largest stable curvature, in the fastest group's terms."""
    groups = watch.followed.groups()
    rate = {"lr": max(group["lr"] for group in groups)}
    return min(optimizers.stable_curvature(watch.optimizer, group | rate) for group in groups)


def scales(watch) -> tuple:
    """Return the root of what preconditions the Hessian, and the decay within it, (P,).

    That is each group's rate over the highest, and Adam's own preconditioner. Numbers, 1 and
    0, where the Hessian is as it is.
    """
    if watch.optimizer is None:
        return 1.0, 0.0
    groups = watch.followed.groups()
    top = max(group["lr"] for group in groups)
    adam = optimizers.name_of(watch.optimizer) != "SGD"
    if not adam and all(group["lr"] == top for group in groups):
        return 1.0, 0.0
    roots, shifts = [], []
    for p, number in zip(watch.parameters, watch.steps.of):
        group = groups[number]
        whole = torch.full_like(p, group["lr"] / top if top else 1.0)
        other = optimizers.preconditioner(watch.optimizer, group, p) if adam else None
        roots.append((whole if other is None else whole / other).sqrt_())
        inside = adam and not optimizers.decoupled(watch.optimizer, group)
        shifts.append(torch.full_like(p, float(group["weight_decay"]) if inside else 0.0))
    return flat(roots), flat(shifts)
