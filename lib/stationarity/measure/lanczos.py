"""Largest eigenpairs of a symmetric operator that is known by its products.

Rayleigh-Ritz on a growing orthonormal basis, with its images. Each new direction is the
residual of a wanted pair: from one start, Lanczos with full re-orthogonalisation. A thick
restart caps the memory.

The stopping rule, after at least four products: the estimated errors ``min(r, r^2 / gap)``
are within the tolerance and the last product confirmed them, the residuals fall, and the
next Ritz value plus its residual is no larger than the k-th. For ``k > 1`` or ``n <= 2500``
a random direction then rules out missed eigenvalues (:func:`nothing_missed`); where
``n > 2500``, those larger by a tenth. For one pair of a large operator that would double the
products: there the start is random, and the probability that it has too little of the top
eigenvector, of one larger by a tenth, is at most 0.1 (:func:`may_miss`).

Why not a library: ``torch.lobpcg`` needs products with a block; SciPy's ``eigsh`` takes at
least twenty products, leaves the device, and sees one copy of a multiple eigenvalue.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .derivatives import inner
from .subspace import Ritz, Subspace, check_symmetric

SMALL = 2500  # up to this size k = 1 is verified, too: products are cheap
LEAST = 4  # products: fewer show too little of what a start hides
RISK = 0.01  # how often the verification may overlook an eigenvector
MISSED, BY = 0.1, 0.1  # how often a random direction may, of a value larger by such a part


class Sharpness(NamedTuple):
    """Largest eigenvalues of a Hessian, or of another symmetric operator of size P.

    Tensors are in the dtype of the vectors it acts on, on their device. ``converged`` is
    whether the stopping rule held before the ``products`` ran out.
    """

    eigenvalues: Tensor  # (k,), descending
    eigenvectors: Tensor  # (k, P), orthonormal
    residuals: Tensor  # (k,), ||A v - value v||
    products: int
    converged: bool
    directional: float = math.nan  # along the direction given


def largest_eigenpairs(
    matvec: Callable, like: Tensor, *, k=1, tol=1e-2, max_products=100, generator
) -> Sharpness:
    """Return the k algebraically largest eigenpairs of a symmetric operator.

    ``matvec`` maps a vector ``(P,)``, as ``like`` is, to its product with the operator;
    ``max_products`` is k at least. ``tol`` is the relative error of each eigenvalue, for one
    near zero relative to a thousandth of the largest in magnitude. ``generator``, on the CPU,
    draws random directions; the gradient may have nothing of the top eigenvector.

    >>> matrix = torch.diag(torch.tensor([3.0, -10.0, 1.0]))
    >>> generator = torch.Generator().manual_seed(0)
    >>> largest_eigenpairs(lambda v: matrix @ v, torch.ones(3), generator=generator)[0].round()
    tensor([3.])
    """
    space = Subspace(matvec, like, k, generator)
    space.append(space.outside(space.random(), 0.0)[0])
    converged = False
    while not converged and iterate(space, tol, max_products):
        trusted = space.count == space.size or (k == 1 and space.size > SMALL)
        converged = trusted or nothing_missed(space, tol, max_products)
    ritz = Ritz(space)
    check_symmetric(matvec, space.rows, space.images, getattr(matvec, "precision", 0.0))
    values, residuals = ritz.values[:k].to(like), ritz.norms[:k].to(like)
    return Sharpness(values, ritz.vectors(0, k), residuals, space.products, converged)


def iterate(space: Subspace, tol: float, max_products: int) -> bool:
    """Expand the basis by residuals; return whether the wanted pairs have settled."""
    before, patience = None, 0
    while space.count < space.size:
        if patience and space.products < max_products:
            # As the residuals are, in one Lanczos recurrence all in this direction.
            direction, patience = space.images[-1], patience - 1
        else:
            ritz = Ritz(space)
            allowed = ritz.tolerances(tol)
            enough = space.products >= LEAST and _settled(ritz, before, allowed)
            if enough and not _may_have_missed(space, ritz):
                return True
            if space.products >= max_products:
                return False
            # The worst of the wanted pairs; where all are good, the next one.
            excess = ritz.errors() / allowed
            worst = int(excess.argmax()) if excess.max() > 1 else len(ritz.norms) - 1
            direction = ritz.residuals(worst, worst + 1)[0]
            # A product settles no more than a few pairs: so soon it cannot be all.
            lacking = space.k - len(excess) + int((excess > 1).sum())
            before, patience = ritz, max(lacking - 1, 0) // 4
        space.append(space.outside(direction, ritz.scale)[0])
    return True


def _settled(ritz: Ritz, before: Ritz | None, allowed: Tensor) -> bool:
    """Return whether the estimated errors are small, and were so before the last step.

    Or they are half as large, and no value rose by more than its estimated error.
    """
    k = ritz.k
    if before is None or len(before.values) < k or len(ritz.values) == k:
        return False
    # An eigenvalue lies within the residual of the next pair: it must not be a wanted one.
    if not ritz.values[k] + ritz.norms[k] <= ritz.values[k - 1] + allowed[-1]:
        return False
    errors, earlier = ritz.errors(), before.errors()
    risen = ritz.values[:k] - before.values[:k]
    right = (errors <= allowed / 2) & (risen <= earlier.clamp(min=allowed))
    small = ((errors <= allowed) & (earlier <= allowed)) | right
    # A residual that grows again shows an eigenvector emerging.
    falling = (ritz.norms[:k] <= before.norms[:k]) | (ritz.norms[:k] <= allowed)
    return bool((small & falling).all())


def _may_have_missed(space: Subspace, ritz: Ritz) -> bool:
    """Return whether the risk that the random start missed a larger one is not small.

    Not asked for several pairs, which are verified, nor after a restart.
    """
    if space.k > 1 or space.products > space.count:
        return False
    value = ritz.values[0].item()
    _, norm = space.outside(space.images[-1], ritz.scale)
    if norm == 0.0:
        return False
    coupling = (space.rows[1:] * space.images[:-1]).sum(dim=1).double()
    log_norms = coupling.abs().log().sum().item() + math.log(norm)
    threshold = value + BY * abs(value)
    return may_miss(ritz.values, log_norms, threshold, MISSED, space.size)


def may_miss(
    values: Tensor, log_norms: float, threshold: float, risk: float, size: int
) -> bool:
    """Return whether Lanczos misses an eigenvector with a probability above the risk.

    After j steps from a unit vector z an eigenvector u with an eigenvalue above the threshold t
    obeys |u'z| <= prod beta_i / prod (t - mu_i): ``values`` are the Ritz values mu_i, all below
    t, ``log_norms`` the sum of log beta_i (van Dorsselaer et al., SIAM J. Matrix Anal. Appl.
    22, 2000). Of a random z of so many entries u'z is about normal / sqrt(size), and |normal|
    is below x with probability sqrt(2 / pi) x.
    """
    largest = log_norms - (threshold - values).log().sum().item()
    return largest > math.log(risk * math.sqrt(math.pi / 2 / size))


def nothing_missed(space: Subspace, tol: float, max_products: int) -> bool:
    """Return whether no eigenvalue above the k-th was missed.

    Lanczos from a random direction outside the basis, until :func:`may_miss` denies it. False:
    a Ritz value came out above, which the basis now holds, or the products ran out.
    """
    room = min(space.k // 2 + 10, space.capacity - space.k)  # for the operator's own basis
    space.keep(min(space.count, space.capacity - room))
    ritz, risk = Ritz(space), RISK
    last, scale = ritz.values[space.k - 1].item(), ritz.scale
    threshold = last + ritz.tolerances(tol)[-1].item()
    if space.size > SMALL:
        threshold, risk = max(threshold, last + BY * abs(last)), MISSED
    log_norms, diagonal, beside = 0.0, [], []  # the latter of a tridiagonal matrix
    unit, _ = space.outside(space.random(), 0.0)
    while space.products < max_products:
        space.append(unit)
        image = space.images[-1]
        diagonal.append(inner(unit[None], image[None]).item())
        bands = map(torch.DoubleTensor, (diagonal, beside))  # on the CPU
        values = torch.linalg.eigvalsh(sum(map(torch.diag, bands, (0, -1))))  # lower half
        if values.max() >= threshold:
            return False
        scale = max(scale, values.abs().max().item())
        if space.count == space.size:
            return True
        unit, norm = space.outside(image, scale)
        if norm == 0.0:  # the Krylov space of z is invariant
            return True
        beside.append(norm)
        log_norms += math.log(norm)
        if not may_miss(values, log_norms, threshold, risk, space.size):
            return True
    return False
