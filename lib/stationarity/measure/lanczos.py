"""Largest eigenpairs of a symmetric operator that is known by its products.

Rayleigh-Ritz on a growing orthonormal basis. Each new direction is the residual
of a wanted pair, which from one start is the Lanczos recurrence with full
re-orthogonalisation; a thick restart caps the memory. The images of the basis are
kept beside it, so residuals are computed, not inferred, and any direction may
join: several starts, or a fresh random one after a breakdown.

The stopping rule, after at least four products: the estimated errors
``min(r, r^2 / gap)`` are within the tolerance and the last product confirmed them, the
residuals fall, and the next Ritz value plus its residual is no larger than the k-th.
For ``k > 1`` or ``n <= 2500`` a random direction then rules out missed eigenvalues
(:func:`nothing_missed`); where ``n > 2500``, those larger by a tenth. For one pair of a
large operator that would double the products: there a start with much of a lower
eigenvector and next to nothing of the top one may end at the lower eigenvalue. For a
random start the probability of that is known (:func:`log_missed`), and the rule asks
that it be at most 0.1 for an eigenvalue larger by a tenth.

Why not a library: ``torch.lobpcg`` needs a block and products with it;
``scipy.sparse.linalg.eigsh`` stops on the residual alone, takes at least twenty
products of a typical network's Hessian, leaves the device, and sees one copy of a
multiple eigenvalue unless rounding brings the other.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .subspace import Ritz, Subspace

# Up to this size k = 1 is verified as well: products cost next to nothing there.
SMALL = 2500
# Fewer products show too little of what a start near an eigenvector hides.
LEAST = 4
# How often the verification may overlook an eigenvector.
RISK = 0.01
# How often a random direction may miss an eigenvalue larger by so large a part.
MISSED, BY = 0.1, 0.1


def largest_eigenpairs(
    matvec: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    k: int = 1,
    tol: float = 1e-2,
    max_products: int = 100,
    random_start: bool = False,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, int, bool]:
    """Return the k algebraically largest eigenpairs of a symmetric operator.

    Parameters
    ----------
    matvec: maps a flat vector ``(n,)`` to its product with the operator.
    start: ``(m, n)``, directions to begin with, ``m >= 1``. They decide the
        products needed: they should hold some of the wanted eigenvectors.
    k: how many pairs, ``1 <= k <= min(n, max_products)``.
    tol: relative error of each eigenvalue (for one near zero: relative to a
        thousandth of the largest in magnitude).
    max_products: the most calls of ``matvec``.
    random_start: whether ``start`` is one Gaussian direction.
    generator: of the random directions, on the CPU.

    Returns
    -------
    ``(values, vectors, residuals, products, converged)``: values ``(k,)``
    descending, orthonormal vectors ``(k, n)`` and residuals ``||A v - value v||``
    ``(k,)``, in the dtype of ``start``; the calls made; whether the stopping
    rule held before they ran out.

    >>> matrix = torch.diag(torch.tensor([3.0, -10.0, 1.0]))
    >>> generator = torch.Generator().manual_seed(0)
    >>> ones = torch.ones(1, 3)
    >>> largest_eigenpairs(lambda v: matrix @ v, ones, generator=generator)[0]
    tensor([3.])
    """
    space = Subspace(matvec, start[0], k, generator)
    for direction in start[: min(max_products, space.size)]:
        scale = torch.linalg.vector_norm(direction).item()
        space.append(space.outside(direction, scale)[0])
    converged = False
    while not converged and iterate(space, tol, max_products, random_start):
        trusted = space.complete or (k == 1 and space.size > SMALL)
        converged = trusted or nothing_missed(space, tol, max_products)
    ritz = space.ritz()
    values, residuals = ritz.values[:k].to(start), ritz.norms[:k].to(start)
    return values, ritz.vectors(0, k), residuals, space.products, converged


def iterate(space: Subspace, tol: float, max_products: int, random_start: bool = False) -> bool:
    """Expand the basis by residuals until the wanted pairs have settled."""
    before, patience = None, 0
    while not space.complete:
        if patience and space.products < max_products:
            # As the residuals are, in one Lanczos recurrence all in this direction.
            direction, patience = space.images[-1], patience - 1
        else:
            ritz = space.ritz()
            allowed = ritz.tolerances(tol, space.precision)
            enough = space.products >= LEAST and _settled(ritz, before, allowed)
            if enough and not (random_start and _may_have_missed(space, ritz)):
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
            scale = ritz.values.abs().max().item()
        space.append(space.outside(direction, scale)[0])
    return True


def _settled(ritz: Ritz, before: Ritz | None, allowed: Tensor) -> bool:
    """Return whether the estimated errors are small, confirmed by the last step.

    It confirms them where they were small before it; or where they are half as
    large now, and no value rose by more than its error was estimated to be.
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
    """Return whether the risk that a random start missed a larger one is not small.

    Not asked for several pairs, which are verified, nor after a restart, which comes
    later than it.
    """
    if space.k > 1 or space.products > space.count:
        return False
    value, scale = ritz.values[0].item(), ritz.values.abs().max().item()
    _, norm = space.outside(space.images[-1], scale)
    if norm == 0.0:
        return False
    coupling = (space.rows[1:] * space.images[:-1]).sum(dim=1).double()
    log_norms = coupling.abs().log().sum().item() + math.log(norm)
    missed = log_missed(ritz.values, log_norms, value + BY * abs(value))
    return missed > log_chance(MISSED, space.size)


def log_missed(values: Tensor, log_norms: float, threshold: float) -> float:
    """Return the log of the largest |u'z| of an eigenvector u that Lanczos missed.

    After j steps of Lanczos from a unit vector z an eigenvector u with eigenvalue
    above the threshold t obeys |u'z| <= prod beta_i / prod (t - mu_i): ``values`` are
    the Ritz values mu_i, all below t, ``log_norms`` the sum of log beta_i (van
    Dorsselaer, Hochstenbach and van der Vorst, SIAM J. Matrix Anal. Appl. 22, 2000).
    """
    return log_norms - (threshold - values).log().sum().item()


def log_chance(probability: float, size: int) -> float:
    """Return the log x for which |u'z| < x has at most that probability.

    z is a random unit vector of so many entries: its component on u is about
    normal / sqrt(size), and |normal| is below x with probability sqrt(2 / pi) x.
    """
    return math.log(probability * math.sqrt(math.pi / 2 / size))


def nothing_missed(space: Subspace, tol: float, max_products: int) -> bool:
    """Return whether no eigenvalue above the k-th was missed.

    Lanczos from a random direction z orthogonal to the basis, until an eigenvector
    of the deflated operator with an eigenvalue above the k-th would have been missed
    with probability RISK at most; in a large operator, as of one pair, one larger by
    a tenth with probability MISSED. An eigenvector of which the basis holds nothing is
    one of that operator; the more the basis holds of others, the sooner it is certain.
    False: a Ritz value came out above, and the basis now holds it, or the products
    ran out.
    """
    room = min(space.k // 2 + 10, space.capacity - space.k)  # for the operator's own basis
    space.keep(min(space.count, space.capacity - room))
    threshold, risk, scale = _to_rule_out(space, tol)
    log_norms, diagonal, beside = 0.0, [], []
    unit, _ = space.outside(space.random(), 0.0)
    while space.products < max_products:
        space.append(unit)
        image = space.images[-1]
        diagonal.append((unit @ image).item())
        values = torch.linalg.eigvalsh(_tridiagonal(diagonal, beside))
        if values.max() >= threshold:
            return False
        scale = max(scale, values.abs().max().item())
        if space.complete:
            return True
        unit, norm = space.outside(image, scale)
        if norm == 0.0:  # the Krylov space of z is invariant
            return True
        beside.append(norm)
        log_norms += math.log(norm)
        if log_missed(values, log_norms, threshold) <= log_chance(risk, space.size):
            return True
    return False


def _to_rule_out(space: Subspace, tol: float) -> tuple[float, float, float]:
    """Return from where on eigenvalues are to be ruled out, at what risk, and their scale."""
    ritz = space.ritz()
    last, scale = ritz.values[space.k - 1].item(), ritz.values.abs().max().item()
    threshold = last + ritz.tolerances(tol, space.precision)[-1].item()
    if space.size > SMALL:
        return max(threshold, last + BY * abs(last)), MISSED, scale
    return threshold, RISK, scale


def _tridiagonal(diagonal: list[float], off_diagonal: list[float]) -> Tensor:
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    beside = torch.tensor(off_diagonal, dtype=torch.float64)
    return matrix + torch.diag(beside, 1) + torch.diag(beside, -1)
