"""Ensembles in phase space: the studies against theory, and against plain SGD."""

import dataclasses

import numpy as np
import pytest
import stationarity
import torch
from stationarity import UsageError, data
from stationarity.book import claims, verdicts
from stationarity.chapters.ch11_modified_loss import currents, reading, study
from stationarity.chapters.ch11_modified_loss.settings import NOISES
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get

SMALL = {"trajectories": 24, "steps": 1200, "burn_in": 400, "lags": 12, "segment": 512}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATIONARITY_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield {
            "phase_space": stationarity.run(
                "phase_space", settings=SMALL | {"trajectories": 100}
            ),
            "minibatch_currents": stationarity.run("minibatch_currents", settings=SMALL),
        }


def scores(table, *names):
    columns = [
        (table[name] - table[f"{name}_exact"]) / table[f"{name}_error"] for name in names
    ]
    return np.abs(np.concatenate(columns))


@pytest.mark.parametrize("label", NOISES)
def test_gaussian_noise_follows_the_exact_theory(runs, label):
    table = reading.table(runs["phase_space"], label)
    # Five statistics of six modes, each mode's correlated; the two flat modes, with a
    # memory of a hundred steps, have few independent values.
    found = scores(
        table,
        "mode_variance",
        "mode_velocity_variance",
        "rotation",
        "mode_frequency",
        "position_rotation",
    )
    assert np.nanmax(found) < 4
    assert (np.isfinite(found)).sum() >= 6 * 3 + 4
    steep = table.iloc[0]
    assert abs(steep.rotation - steep.rotation_limit) > 10 * steep.rotation_error
    assert abs(steep.mode_variance - steep.mode_variance_limit) > 10 * steep.mode_variance_error


def test_spectra_follow_the_exact_one_and_its_peak(runs):
    run, label = runs["phase_space"], NOISES[0]
    table, settings = reading.table(run, label), run.settings
    for mode in (0, 1):  # peaks much wider than the resolution
        series = run.series("spectrum", of=label, index=mode)
        exact = currents.power_spectrum(
            2 * np.pi * series.step / settings.segment,
            table.curvature[mode],
            settings.learning_rate,
            table.noise_variance[mode],
            settings.momentum,
        )
        near = exact > exact.max() / 20
        off = ((series.value - exact) / series.error)[near]
        assert abs((series.value / exact - 1)[near].mean()) < 0.03 and off.abs().max() < 4.5
        peak = abs(table.spectrum_peak[mode] - table.spectrum_peak_exact[mode])
        assert peak < 4 * table.spectrum_peak_error[mode] < 0.05
    flat = table.iloc[-1]
    for name in ("spectrum_peak", "spectrum_peak_exact", "mode_frequency_exact"):
        assert np.isnan(flat[name])


def test_welch_has_the_units_of_the_theory():
    noise = np.random.default_rng(0).standard_normal((50, 2000, 1))
    power = study.spectra(noise, 100)
    assert power.shape == (51, 50, 1)
    assert power[1:-1].mean() == pytest.approx(1, rel=0.02)


def test_the_regression_is_that_of_plain_sgd():
    settings = get("minibatch_currents", overrides={"examples": 256})
    inputs, residuals, curvature = study.problem(settings, Place())
    n = len(inputs)
    assert np.allclose((inputs.T @ inputs / n).numpy(), np.diag(curvature), atol=1e-10)
    assert (inputs.T @ residuals).abs().max() / n < 1e-10  # the minimum
    assert torch.allclose(
        residuals.T @ residuals / n, torch.eye(residuals.shape[1], dtype=torch.float64)
    )
    # The same minibatches, by PyTorch's optimiser on pixels and one-hot labels.
    dataset = data.load("digits", batch_size=256, examples=256, dtype=torch.float64)
    images, labels = next(iter(dataset.partition()))
    pixels = images.flatten(1) - images.flatten(1).mean(0)
    targets = torch.nn.functional.one_hot(labels, 10).double()
    targets = targets - targets.mean(0)
    best = torch.linalg.lstsq(pixels, targets, driver="gelsd").solution
    weights = torch.nn.Parameter(best.clone())
    optimiser = torch.optim.SGD([weights], lr=0.02, momentum=0.9)
    theta, v = torch.zeros(2, inputs.shape[1], residuals.shape[1]).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        chosen = torch.randint(n, (32,), generator=generator)
        optimiser.zero_grad()
        error = pixels[chosen] @ weights - targets[chosen]
        (error.square().sum(1).mean() / 2).backward()
        optimiser.step()
        error = inputs[chosen] @ theta - residuals[chosen]
        v = 0.9 * v - inputs[chosen].T @ error / 32
        theta = theta + 0.02 * v
    moved = pixels @ (weights.detach() - best)
    ours = inputs @ theta
    # Both fits differ by a turn and a scale of the outputs: U S Vᵀ of the residuals.
    start = targets - pixels @ best
    turn = torch.linalg.lstsq(residuals, start).solution
    assert torch.allclose(ours @ turn, moved, atol=1e-9)


def test_the_noise_is_the_covariance_of_examples_gradients():
    settings = get("minibatch_currents", overrides={"examples": 200})
    inputs, residuals, _ = study.problem(settings, Place())
    inputs = inputs[:, [0, 5, 9]]
    gradients = -inputs[:, :, None] * residuals[:, None]  # (n, k, C)
    mean = gradients.mean(0)
    centred = gradients - mean
    expected = torch.einsum("nic,njc->ijc", centred, centred).mean(2) / len(inputs)
    found = study.noise_covariance(inputs, residuals)
    assert np.allclose(found, expected.numpy(), atol=1e-12)


def test_minibatches_follow_the_theory_and_its_noise(runs):
    run = runs["minibatch_currents"]
    table = reading.table(run, "momentum 0.9")
    assert np.nanmax(scores(table, "rotation", "mode_frequency", "position_rotation")) < 4
    assert np.all(np.abs(table.mode_variance / table.mode_variance_exact - 1) < 0.15)
    assert run.series("outputs").value.item() == 9


def test_the_ledger_tells_the_controls_apart(runs):
    ledger = [claim for claim in claims.read() if claim.name == "B5"]
    judged = verdicts.verdicts(ledger, lambda name: [runs[name]])
    controls, known = (judged[judged.role == role] for role in ("control", "known"))
    assert len(controls) == 5 and set(controls.verdict) == {"does not hold"}
    assert set(known[known.of == "phase_space"].verdict) == {"holds"}
    exponent = reading.temperature_exponent(runs["minibatch_currents"])
    assert 0.8 < exponent.low < exponent.value < exponent.high < 1.2
    gibbs = reading.temperature_exponent(runs["phase_space"], "isotropic")
    assert abs(gibbs.value) < 0.1


def test_a_spoilt_rotation_does_not_hold(runs):
    """Reversed velocities turn the wrong way, and the criterion says so."""
    run = runs["minibatch_currents"]
    metrics = run.metrics.copy()
    rows = metrics.quantity == "rotation"
    metrics.loc[rows, "value"] *= -1
    spoilt = dataclasses.replace(run)
    spoilt.__dict__["metrics"] = metrics
    assert reading.rotation_ratio(spoilt).high < 0 < reading.rotation_ratio(run).low


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("phase_space", {"learning_rate": 1.0}, "too large"),
        ("phase_space", {"curvatures": (1.0, -0.1)}, "greater than 0"),
        ("phase_space", {"curvatures": (1.0,)}, "at least two"),
        ("phase_space", {"noise": 0.0}, "noise"),
        ("phase_space", {"steps": 100}, "steps"),
        ("phase_space", {"trajectories": 3}, "trajectories"),
        ("minibatch_currents", {"learning_rate": 1.0}, "too large"),
        ("minibatch_currents", {"momenta": (1.0,)}, "momenta"),
        ("minibatch_currents", {"modes": (0, 99)}, "modes"),
        ("minibatch_currents", {"steps": 100}, "steps"),
        ("minibatch_currents", {"examples": 40, "batch_size": 20}, "exactly"),
    ],
)
def test_bad_settings_are_one_sentence(name, values, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        getattr(study, name)(get(name, overrides=values), Place())
    assert "\n" not in str(caught.value)


def test_the_largest_stable_rate_is_named():
    settings = get("phase_space", overrides={"learning_rate": 1.0})
    with pytest.raises(UsageError, match=f"{2 * 1.9 / 10:g}"):
        study.phase_space(settings, Place())
