"""The studies of chapter 2: their truths are true, their estimators are as derived."""

import math

import pandas as pd
import pytest
import torch
from stationarity import UsageError, data
from stationarity.chapters import levels
from stationarity.chapters.ch02_what_to_measure import reading
from stationarity.chapters.ch02_what_to_measure import study as studies
from stationarity.launch import study_of
from stationarity.nets import mlp
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.stats.estimate import NORMAL
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("one_thread")

STUDIED = ("gradient_estimators", "normalised_loss", "sharpness_estimators")
SMALL = {
    "gradient_estimators": {
        "examples": 96, "batch_size": 8, "hidden": (16,), "training_steps": 150,
        "sizes": (3, 6), "drawn": (4, 12), "replicates": 80, "learning_rate": 0.1,
    },
    "normalised_loss": {
        "width": 6, "blocks": (1,), "training_steps": 100, "batch_sizes": (2, 64),
        "learning_rate": 0.2, "measured_examples": 1024, "scales": (0.3, 1.0, 3.0),
    },
    "sharpness_estimators": {
        "hidden": (4,), "training_steps": 30, "max_products": 8, "batches": 2,
    },
}  # fmt: skip
ESTIMATORS, NORMALISATION, CURVATURE = (get(name, overrides=SMALL[name]) for name in STUDIED)


def values(frame: pd.DataFrame, quantity: str, of: str | None = None) -> pd.DataFrame:
    """The rows of a quantity, those of one kind where one is named."""
    rows = frame[(frame.quantity == quantity) & (of is None or frame.of.eq(of))]
    assert len(rows)
    return rows.reset_index(drop=True)


def value(frame: pd.DataFrame, quantity: str, of: str | None = None) -> float:
    return values(frame, quantity, of).value.iloc[-1]


@pytest.fixture(scope="module")
def estimators() -> pd.DataFrame:
    return metrics.frame(studies.gradient_estimators(ESTIMATORS, Place()))


@pytest.fixture(scope="module")
def normalisation() -> pd.DataFrame:
    return metrics.frame(studies.normalised_loss(NORMALISATION, Place()))


@pytest.fixture(scope="module")
def curvature() -> pd.DataFrame:
    return metrics.frame(studies.sharpness_estimators(CURVATURE, Place()))


@pytest.fixture(scope="module")
def example_gradients() -> torch.Tensor:
    """Gradients (n, P) of single examples at the study's weights, in float64."""
    dataset = data.load(
        "digits",
        examples=ESTIMATORS.examples,
        batch_size=ESTIMATORS.batch_size,
        dtype=torch.float64,
    )
    torch.manual_seed(0)
    model = mlp((64, *ESTIMATORS.hidden, 10)).double()
    for images, labels in dataset.training_batches(0, ESTIMATORS.training_steps):
        parameters = list(model.parameters())
        loss = functional.cross_entropy(model(images), labels)
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.data -= ESTIMATORS.learning_rate * g
    rows = []
    for images, labels in dataset.partition():
        for image, label in zip(images, labels):
            loss = functional.cross_entropy(model(image[None]), label[None])
            gradient = torch.autograd.grad(loss, parameters)
            rows.append(torch.cat([g.ravel() for g in gradient]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", STUDIED)
@pytest.mark.parametrize("scale", ["classroom", "single-gpu", "paper"])
def test_settings_of_every_scale_are_valid(name, scale):
    settings = get(name, scale)
    assert callable(study_of(settings))
    if hasattr(settings, "drawn"):
        assert settings.examples % settings.batch_size == 0
        assert max(settings.drawn) == settings.examples // settings.batch_size


def test_the_truth_is_the_gradient_over_all_data(estimators, example_gradients):
    exact = example_gradients.mean(0).square().sum().item()
    assert value(estimators, "exact_norm_squared") == pytest.approx(exact, rel=1e-9)


def test_the_noise_is_that_of_a_minibatch(estimators, example_gradients):
    count, size = len(example_gradients), ESTIMATORS.batch_size
    single = example_gradients.var(dim=0, correction=1).sum().item()
    exact = single / size * (1 - size / count)
    assert value(estimators, "exact_noise_variance") == pytest.approx(exact, rel=1e-9)


def test_the_naive_square_is_inflated_by_the_noise_over_m(estimators):
    truth = value(estimators, "exact_norm_squared")
    noise = value(estimators, "exact_noise_variance")
    for row in values(estimators, "naive_norm_squared").itertuples():
        assert abs(row.value - truth - noise / row.step) < 4 * row.error
        assert row.value - truth > 4 * row.error


def test_the_corrected_square_is_unbiased(estimators):
    truth = value(estimators, "exact_norm_squared")
    for objective, exact in (("loss", truth), ("tilted loss", 0.0)):
        for row in values(estimators, "norm_squared", objective).itertuples():
            assert abs(row.value - exact) < 4 * row.error


def test_the_jackknife_is_conservative_at_a_zero_gradient(estimators):
    """By sqrt(2 (M - 1) / (M - 2)) in the root mean square."""
    spread = values(estimators, "spread", "tilted loss")
    reported = values(estimators, "reported_error", "tilted loss")
    for real, said in zip(spread.itertuples(), reported.itertuples(), strict=True):
        factor = math.sqrt(2 * (real.step - 1) / (real.step - 2))
        margin = math.hypot(said.error, factor * real.error)
        assert abs(said.value - factor * real.value) < 4 * margin


def test_the_correction_shrinks_without_replacement(estimators):
    truth = value(estimators, "exact_norm_squared")
    naive, wrong, right = (
        values(estimators, "drawn_norm_squared", name).set_index("step")
        for name in ("naive", "wrong", "right")
    )
    share = (naive.value - right.value) / (naive.value - wrong.value)
    assert share.to_dict() == pytest.approx({4: 1 - 4 / 12, 12: 0.0}, abs=1e-9)
    assert abs(right.value[4] - truth) < 4 * right.error[4]


def test_nothing_is_to_correct_over_the_whole_partition(estimators):
    truth = value(estimators, "exact_norm_squared")
    assert value(estimators, "drawn_norm_squared", "right") == pytest.approx(truth, rel=1e-9)
    assert value(estimators, "drawn_norm_squared", "naive") == pytest.approx(truth, rel=1e-9)
    assert value(estimators, "drawn_norm_squared", "wrong") < 0.9 * truth


def test_a_batch_size_that_does_not_divide_the_data_is_refused():
    settings = ESTIMATORS.but(batch_size=7, training_steps=1)
    with pytest.raises(UsageError, match="no multiple of the batch size 7"):
        studies.gradient_estimators(settings, Place())


def test_normalised_weights_are_orthogonal_to_their_gradient(normalisation):
    exact = values(normalisation, "cosine", "normalised, negligible epsilon").value
    assert len(exact) == 3 and exact.max() < 1e-12
    assert values(normalisation, "cosine", "normalised, usual epsilon").value.max() < 1e-3
    assert values(normalisation, "cosine", "other, usual epsilon").value.max() > 1e-2


def test_decay_leaves_no_stationary_point(normalisation):
    square = value(normalisation, "decay_square")
    assert square > 0
    assert value(normalisation, "decay_product") == pytest.approx(square, rel=1e-9)


def test_scaling_normalised_weights_divides_their_gradient(normalisation):
    norms = values(normalisation, "gradient_norm_scaled").value
    norms = norms * pd.Series(NORMALISATION.scales)
    for quantity in (norms, values(normalisation, "scale_free_norm_scaled").value):
        assert quantity.tolist() == pytest.approx([quantity[0]] * 3, rel=1e-9)


def test_the_loss_depends_on_the_batch_in_training_mode_only(normalisation):
    small, large = values(normalisation, "loss", "training mode").itertuples()
    assert small.value - large.value > 4 * math.hypot(small.error, large.error)
    small, large = values(normalisation, "loss", "evaluation mode").itertuples()
    assert abs(small.value - large.value) < 4 * math.hypot(small.error, large.error)


def test_the_dense_hessian_is_the_hessian():
    """Of softmax regression on one example: (diag p - pp') times xx'."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4, bias=False).double()
    x = torch.randn(1, 3, dtype=torch.float64)
    p = model(x).softmax(1)[0].detach()
    expected = torch.kron(torch.diag(p) - torch.outer(p, p), x.T @ x)
    found = studies.dense_hessian(model, [(x, torch.tensor([1]))])
    torch.testing.assert_close(found, expected)


def test_sharpness_is_that_of_the_dense_hessian(curvature):
    for state in ("before", "after"):
        largest = value(curvature, "largest", state)
        found = value(curvature, "sharpness", state)
        assert found == pytest.approx(largest, rel=1e-2)
        dense = value(curvature, "directional_dense", state)
        along = value(curvature, "directional", state)
        assert along == pytest.approx(dense, rel=1e-9)
        assert dense <= largest
        assert (values(curvature, "power", state).value <= largest * (1 + 1e-9)).all()


@pytest.mark.parametrize("settings", [ESTIMATORS, NORMALISATION, CURVATURE])
def test_rows_are_reproducible_by_seed(settings):
    fewer = {"training_steps": 3, "measured_examples": 16, "replicates": 3}
    settings = settings.but(**{k: v for k, v in fewer.items() if hasattr(settings, k)})
    first, again, other = (
        metrics.frame(study_of(one)(one, Place()))
        for one in (settings, settings, settings.but(seed=1))
    )
    pd.testing.assert_frame_equal(again, first, rtol=0, atol=0)
    assert not other.value.equals(first.value)


@pytest.mark.parametrize("epsilon, decay, target", [(1e-5, 5e-4, 3.7), (1e-3, 5e-2, 2.7)])
def test_with_epsilon_a_normalised_net_with_decay_has_a_stationary_point(
    epsilon, decay, target
):
    found = reading.one_channel(epsilon, decay, target)
    assert found.gradient_norm < 1e-14
    square = found.gain**2 * epsilon / (found.weight_norm**2 + epsilon)
    assert square == pytest.approx(found.weight_norm**2)
    assert found.weight_norm**2 > 50 * epsilon and found.cosine == pytest.approx(-1)
    assert found.sharpness > 2 / 0.1


def test_intervals_of_a_squared_norm_hold_where_noise_has_one_direction():
    """An upper end below the truth is a gradient that vanishes and does not."""
    found = reading.misses(1, 1.5, replicates=600)
    assert found["plain below"] > 0.13
    assert found["widened below"] < 0.08 and found["level below"] < 0.05
    assert max(found["widened above"], found["level above"]) < 0.035


def test_intervals_of_a_squared_norm_hold_where_noise_has_many_directions():
    found = reading.misses(20, 1.0, replicates=600)
    assert max(share for name, share in found.items() if " " in name) < 0.06
    assert found["widened below"] < 0.02


def test_the_interval_is_widened_by_what_one_direction_asks_for():
    one, many, sure = (levels.squared_norm(1.0, error, 1.0) for error in (3.0, 0.1, 0.0))
    assert one.high == pytest.approx(1 + NORMAL * 3 + 1 + NORMAL**2)
    assert many.high == pytest.approx(1 + NORMAL * 0.1 + 0.01 * (1 + NORMAL**2))
    assert (one.low, many.low) == pytest.approx((1 - NORMAL * 3, 1 - NORMAL * 0.1))
    assert sure == (1.0, 1.0, 1.0)
