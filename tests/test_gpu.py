"""The same answers on a GPU as on the CPU; skipped where there is none."""

import copy
import os

import pytest
import stationarity
import torch
from stationarity import launch, measure
from stationarity.nets import mlp
from stationarity.train import loop

# PyTorch looks at it once, at the first product on a GPU; deterministic runs need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def moved(batches):
    return [tuple(part.cuda() for part in batch) for batch in batches]


def test_measurements_agree_with_the_cpu_to_float32():
    torch.manual_seed(0)
    model = mlp((64, 32, 10))
    other = copy.deepcopy(model).cuda()
    batches = [(torch.randn(64, 64), torch.randint(10, (64,))) for _ in range(20)]
    with measure.float32_products("tf32"):  # which measuring must not use
        found = measure.gradient_statistics(other, measure.cross_entropy, moved(batches))
        sharp = measure.sharpness(other, measure.cross_entropy, moved(batches[:3]), k=2)
    expected = measure.gradient_statistics(model, measure.cross_entropy, batches)
    for name in ("loss", "gradient_norm_squared", "noise_norm", "standard_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4)
    torch.testing.assert_close(
        found.mean_gradient.cpu(), expected.mean_gradient, rtol=1e-4, atol=1e-6
    )
    reference = measure.sharpness(model, measure.cross_entropy, batches[:3], k=2)
    torch.testing.assert_close(
        sharp.eigenvalues.cpu(), reference.eigenvalues, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_run_ends_as_if_it_was_not(precision, tmp_path, monkeypatch):
    settings = {
        "measure_on": "draws", "crop_padding": 4,
        "epochs": 3, "drops": "2", "measure_every": 1, "measure_batches": 3, "width": 4,
        "sharpness_batches": 1, "precision": precision, "deterministic": True,
    }  # fmt: skip
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "whole"))
    whole = stationarity.run("imagenet_resnet", settings=settings, device="cuda")
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "interrupted"))
    take_step = loop.State.take_step

    def take_or_stop(state, batch):
        if state.step == 30:
            raise KeyboardInterrupt
        return take_step(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.State, "take_step", take_or_stop)
        patch.setattr(launch, "CHECKPOINT_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            stationarity.run("imagenet_resnet", settings=settings, device="cuda")
    resumed = stationarity.run("imagenet_resnet", settings=settings, device="cuda")
    assert resumed.metrics.equals(whole.metrics)
