"""What decides claim B1: it holds for anomalous motion, and for what only looks so it fails."""

import numpy as np
import pytest
from stationarity.book import claims, verdicts
from stationarity.chapters import bootstrap, quantities
from stationarity.chapters.ch09_anomalous_diffusion import reading
from stationarity.runs import metrics, records
from stationarity.runs.settings import SCALES, get
from stationarity.stats import displacement

MEMBERS, BEGINS, LONGEST = 6, (0, 2048), 4096
LAGS = displacement.spaced_lags(LONGEST)
B1 = next(claim for claim in claims.read() if claim.name == "B1")


def made_up(squares, losses, shared, base="base") -> records.Run:
    """A run of squared displacements (K, 2, L), losses (T, K) and shares of replicas (K, L)."""
    settings = get("diffusion").plain()
    info = {"experiment": "diffusion", "scale": "classroom", "settings": settings}
    info |= {"start": "2027-01-01T00:00:00+00:00", "status": "complete", "fingerprint": "f"}
    run = records.Run(records.PROJECT / "nowhere", info)
    where, of = dict(member=range(MEMBERS), step=LAGS), dict(of=base, member=range(MEMBERS))
    total = squares.mean(1)
    found = metrics.common_rows(
        {"replica_displacement_squared": total, "shared_displacement_squared": shared * total},
        **where,
    )
    axes = of | dict(index=range(2), step=LAGS)
    found += metrics.rows("global_displacement_squared", squares, **axes)
    steps = 512 * np.arange(len(losses))
    found += metrics.rows("loss", losses.T, **of, step=steps)
    found += metrics.rows(
        "loss", losses.T * 0.9999**steps, **of | {"of": "weight_decay=0"}, step=steps
    )
    found += metrics.rows("settling_loss", np.full(MEMBERS, 2.3), member=range(MEMBERS), step=0)
    run.__dict__["metrics"] = metrics.frame(found)
    return run


def diffusing(power=0.5, share=0.4, fall=0.0, scatter=0.05):
    """A run of a power law, with the scatter of six seeds."""
    generator = np.random.default_rng(1)
    slopes = power + scatter * generator.standard_normal((MEMBERS, 2, 1))
    losses = 0.3 * (1 + 0.02 * generator.standard_normal((13, MEMBERS)))
    losses *= 1 - np.linspace(0, fall, 13)[:, None]
    shares = share + 0.02 * generator.standard_normal((MEMBERS, len(LAGS)))
    return made_up((LAGS / LONGEST) ** slopes, losses, shares)


def settling():
    """A control run: it spreads no further."""
    squares = 1 + 0.02 * np.random.default_rng(2).standard_normal((MEMBERS, 2, len(LAGS)))
    return made_up(squares, np.ones((13, MEMBERS)), np.full((MEMBERS, len(LAGS)), 0.5))


def relaxing():
    """The run of known walks, with a process that settles."""
    scatter = 1 + 0.02 * np.random.default_rng(3).standard_normal((MEMBERS, 2, len(LAGS)))
    law = 1 - np.exp(-10 * LAGS / LONGEST)
    blank = np.ones((13, MEMBERS)), np.full((MEMBERS, len(LAGS)), 0.5)
    return made_up(law * scatter, *blank, base="Ornstein-Uhlenbeck")


def judged(run) -> dict:
    """The verdict of each piece of B1, by its quantity."""
    runs = {"diffusion": [run], "diffusion_convex": [settling()], "walks": [relaxing()]}
    table = verdicts.verdicts([B1], runs.get)
    own = table[table.role == "claim"].set_index("quantity")
    assert len(own) == len(B1.evidence)
    return own.verdict.to_dict()


def test_anomalous_diffusion_holds():
    assert set(judged(diffusing()).values()) == {"holds"}


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (dict(power=0.0), "displacement_exponent"),
        (dict(power=2.0), "displacement_exponent"),
        (dict(power=1.0), "distance_from_brownian"),
        (dict(share=1.0), "shared_share"),
        (dict(fall=0.15), "followed_loss_change"),
    ],
)
def test_each_piece_fails_where_the_claim_is_false(change, quantity):
    assert judged(diffusing(**change))[quantity] == "does not hold"


def test_seeds_that_scatter_too_much_decide_nothing():
    found = judged(diffusing(scatter=0.5))
    assert found["distance_from_brownian"] == "void"
    assert found["exponent_change"] in ("void", "cannot be judged here")


def separable_descent(settle: int):
    """Full-batch descent of separable logistic regressions (K,): paths, and losses.

    It has no noise at all: the weights grow as log t for ever, the loss falls as 1 / t.
    """
    generator = np.random.default_rng(11)
    normal = generator.standard_normal((MEMBERS, 1, 10))
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    inputs = generator.standard_normal((MEMBERS, 30, 10))
    inputs *= np.sign((inputs * normal).sum(2, keepdims=True))  # times the label
    inputs += 0.3 * normal  # a margin
    theta, path, losses = np.zeros((MEMBERS, 10, 1)), [], []
    for step in range(settle + BEGINS[-1] + LONGEST + 1):
        scores = inputs @ theta
        if step >= settle:
            path.append(theta[..., 0])
            losses.append(np.logaddexp(0, -scores).mean((1, 2)))
        theta = theta + 0.1 * inputs.swapaxes(1, 2) @ (1 / (1 + np.exp(scores))) / 30
    return np.stack(path, 1), np.array(losses)


def test_descent_without_noise_is_no_anomalous_diffusion():
    """The likeliest to fool: an exponent of 1.9 that does not change, at a loss near zero."""
    given = get("diffusion")
    path, losses = separable_descent(given.settle + given.burn_in)
    gone = [path[:, begin + LAGS] - path[:, [begin]] for begin in BEGINS]
    squares = (np.stack(gone, 1) ** 2).sum(3)
    every = np.arange(0, len(losses), 512)
    run = made_up(squares, losses[every], np.ones((MEMBERS, len(LAGS))))
    found = {item.quantity: quantities()[item.quantity](run) for item in B1.evidence}
    # It passes what the ledger once asked for, without an upper limit and without a share:
    lost = 2.3 - losses.mean()
    assert abs(losses[-1] - losses[0]).max() / lost < 0.05
    exponent = found["displacement_exponent"]
    assert 1.85 < exponent.low < exponent.high < 2
    assert abs(found["exponent_change"].value) < 0.1
    # and fails three pieces of what it asks for now.
    failed = {
        item.quantity
        for item in B1.evidence
        if item.criteria[-1].judge(found[item.quantity]) == "does not hold"
    }
    assert failed == {"followed_loss_change", "displacement_exponent", "shared_share"}


@pytest.mark.parametrize("of", reading.LAWS)
def test_a_made_up_case_has_its_law_and_the_scatter_of_the_run(of):
    run = diffusing()
    lags, squares = reading.displacements(run, of)
    assert squares.mean((0, 1)) == pytest.approx(reading.LAWS[of][0](lags / LONGEST))
    own = reading.displacements(run)[1]
    assert squares / squares.mean((0, 1)) == pytest.approx(own / own.mean((0, 1)))
    fit, made = (reading.displacement_exponent(run, case) for case in ("", of))
    assert made.high - made.low == pytest.approx(fit.high - fit.low, rel=0.05)


def test_a_loss_that_falls_to_half_is_not_settled_because_it_fell_more_before():
    run = diffusing(fall=0.5)  # from .3 to .15 nats, after 2 nats
    assert reading.followed_loss_change(run).high < -0.5
    assert reading.followed_loss_change(run, "flat").value == pytest.approx(0, abs=1e-12)
    age = get("diffusion").settle + get("diffusion").burn_in
    fall = reading.followed_loss_change(run, "falling")
    assert fall.value == pytest.approx(-6144 / (age + 3072), rel=0.01)
    own = reading.followed_loss_change(run)
    assert fall.high - fall.low == pytest.approx(own.high - own.low)


def test_made_up_shares_keep_the_scatter_over_nets():
    run = diffusing()
    own = reading.shared_share(run)
    for case, value in reading.SHARES.items():
        found = reading.shared_share(run, case)
        assert found.value == value
        assert found.high - found.low == pytest.approx(own.high - own.low)


def limits(quantity):
    return next(item.criteria[-1] for item in B1.evidence if item.quantity == quantity)


def test_limits_lie_where_their_reasons_say():
    def fit(law, within=(LONGEST / 3, LONGEST)):
        return np.log(law) @ bootstrap.exponent_weights(LAGS, within)

    low, high = limits("displacement_exponent").above, limits("displacement_exponent").below
    assert round(fit(1 - np.exp(-5 * LAGS / LONGEST)), 1) == low
    for age in (5, 6, 8, 20):  # weights that grow as log t, after so many longest lags
        assert fit(np.log1p(LAGS / (age * LONGEST)) ** 2) > high
    for scale in SCALES:
        given = get("diffusion", scale)
        age = given.settle + given.burn_in
        assert given.longest / age < 0.21
        assert given.followed / (age + given.followed / 2) > 1 / 6
    # A bend by .1 between the halves of four octaves.
    octaves = np.log2(16 * LAGS / LONGEST)
    bent = 2 ** (octaves * 0.3 + 0.025 * octaves**2)
    halves = (LONGEST / 4, LONGEST), (LONGEST / 16, LONGEST / 4)
    late, early = (bootstrap.exponent_weights(LAGS, ends) for ends in halves)
    assert np.log(bent) @ (late - early) == pytest.approx(
        limits("exponent_change").below, abs=0.005
    )
    chord = 2 ** (octaves * (0.3 + 0.025 * 4))
    assert max(chord / bent) == pytest.approx(1.07, abs=0.005)
    for exponent, correlation in ((0.8, -0.13), (1.2, 0.15)):
        assert 2 ** (exponent - 1) - 1 == pytest.approx(correlation, abs=0.005)
    # A settled process of which replicas share half, and a drift as large as itself.
    assert limits("shared_share").below == (0.5 + 1) / (1 + 1)
