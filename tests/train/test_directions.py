"""A trained net that goes on at a constant rate and is followed."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import stationarity
import torch
from stationarity import UsageError, data, launch, measure, nets
from stationarity.chapters.ch04_wikitext_transformer_xl.reading import load_model
from stationarity.nets import pretrained
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.runs.tables import Table
from stationarity.stats.estimate import variance_and_error
from stationarity.train import directions, loop
from torch import nn

TINY = {
    "examples": 160, "width": 4, "blocks": "1,1", "epochs": 6, "followed_epochs": 4,
    "batch_size": 16, "directions": 3, "direction_batches": 2, "noise_batches": 6,
    "precision": "float64", "crop_padding": 1, "plain_images": True, "label_noise": 0.0,
}  # fmt: skip
STEPS = 40  # that are followed


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))


def tiny(**settings):
    return stationarity.run("continued", settings=TINY | settings)


@pytest.fixture
def stored(monkeypatch):
    """All weights of a run, a row for each step that is followed, and what follows them."""
    kept, begun = [], []
    begin = directions.begin

    def begin_and_keep(state, keeper):
        begin(state, keeper)
        follower = state.follower
        follow = follower.follow
        kept.append(measure.parameter_vector(state.model))

        def follow_and_keep(theta):
            kept.append(theta.clone())
            follow(theta)

        follower.follow = follow_and_keep
        begun.append(follower)

    monkeypatch.setattr(directions, "begin", begin_and_keep)
    return kept, begun


def kept_directions(run):
    """Return what a run followed, and where it began, (k + 1, P)."""
    size = len(measure.parameter_vector(load_model(run)[0]))
    return Table(run.folder / "directions.bin", size, torch.float64).read(4)


def test_the_rows_are_those_of_the_weights(stored):
    run = tiny()
    weights, axes = torch.stack(stored[0]), stored[1][0].directions[:-1]
    assert len(weights) == STEPS + 1
    first = run.series("followed_from").value[0]
    assert first == 20
    moved = weights - weights[0]
    for index in (0, 2):
        shown = run.series("projection", index=index)
        assert shown.step.tolist() == list(range(20, 61))
        assert np.allclose(shown.value, moved @ axes[index], rtol=1e-6, atol=1e-12)
    for index, start in ((0, 0), (3, 15)):
        found = run.series("global_displacement_squared", index=index)
        exact = (weights[start + found.step] - weights[start]).square().sum(1)
        assert found.step.tolist()[:3] == [1, 2, 3]
        assert np.allclose(found.value, exact, rtol=1e-12)
    steps = weights.diff(dim=0).square().sum(1)
    assert np.allclose(run.series("local_displacement_squared").value, steps, rtol=1e-12)
    norms = weights[1:].square().sum(1)
    assert np.allclose(run.series("followed_weight_norm_squared").value, norms, rtol=1e-12)


def test_directions_are_eigenvectors_and_the_noise_is_that_along_them(stored):
    run = tiny()
    dataset = loop.load_data(run.settings, Place()).plain()
    model = nets.build(run.settings, dataset).double()
    nn.utils.vector_to_parameters(stored[0][0], model.parameters())
    axes = kept_directions(run)
    trained, _ = load_model(run)
    for buffer, of_run in zip(model.buffers(), trained.buffers(), strict=True):
        buffer.copy_(of_run)  # the norms are frozen: they are still those of then
    directions.freeze_norms(model)
    few = list(dataset.draws(2, "directions"))
    found = measure.sharpness(
        model, measure.cross_entropy, few, k=3, tol=1e-6, max_products=500
    )
    values, residual = run.series("eigenvalue").value, run.series("eigenvalue").error[0]
    assert np.allclose(values, found.eigenvalues, rtol=1e-2)
    along = measure.directional_sharpness(model, measure.cross_entropy, few, axes[0])
    assert along == pytest.approx(values[0]) and 0 <= residual < 0.3 * values[0]
    gradients = []
    for batch in dataset.draws(6, "noise"):
        model.zero_grad()
        measure.cross_entropy(model, batch).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    exact = (torch.stack(gradients) @ axes[:3].T).var(0)
    assert np.allclose(run.series("noise_variance").value, exact, rtol=1e-9)


def test_following_changes_no_bit_of_the_run(stored, monkeypatch):
    """The same steps at the same rate, with nothing that follows them."""
    followed = tiny(measure_every=2, measure_batches=3)
    with monkeypatch.context() as patch:
        patch.setattr(
            directions, "begin", lambda state, _: directions.freeze_norms(state.model)
        )
        alone = tiny(measure_every=2, measure_batches=3, seed=0, noise_batches=5)
    models = [load_model(run)[0] for run in (followed, alone)]
    for one, other in zip(*(m.state_dict().values() for m in models), strict=True):
        assert torch.equal(one, other)
    for quantity in ("loss", "train_loss", "sharpness", "accuracy"):
        assert followed.series(quantity).equals(alone.series(quantity))


def test_norms_are_frozen_images_plain_and_the_rate_constant(monkeypatch):
    seen, take_step = [], loop.State.take_step

    def take_and_note(state, batch):
        loss = take_step(state, batch)
        norms = [m for m in state.model.modules() if isinstance(m, nn.BatchNorm2d)]
        rate = state.optimizer.param_groups[0]["lr"]
        moments = torch.cat([norm.running_mean for norm in norms])
        crops = state.dataset.crop_padding
        seen.append((norms[0].training, crops, rate, moments))
        return loss

    monkeypatch.setattr(loop.State, "take_step", take_and_note)
    tiny(measure_every=3, measure_batches=3)  # which measures in evaluation mode, too
    trained, followed = seen[:20], seen[20:]
    assert {entry[:2] for entry in trained} == {(True, 1)}
    assert {entry[:3] for entry in followed} == {(False, 0, 0.01)}
    assert all(torch.equal(entry[3], followed[0][3]) for entry in followed)
    assert not torch.equal(trained[0][3], trained[1][3])
    rates = [entry[2] for entry in trained]
    assert rates[0] == 0.1 and rates[-1] < 0.01  # cosine, down to the steps followed


def test_modes_are_measured_where_there_are_steps_enough():
    run = tiny(followed_epochs=149, epochs=150, model="mlp")
    for quantity in ("mode_variance", "mode_velocity_variance"):
        assert run.series(quantity)["index"].tolist() == [0, 1, 2]
    assert len(run.series("projection", index=0)) == min(directions.SHOWN, 1491)
    assert len(run.series("local_displacement_squared")) == directions.WINDOWS


def test_plain_images_are_the_originals():
    cropped = data.load("digits", batch_size=16, crop_padding=2)
    plain = data.load("digits", batch_size=16)
    for (one, labels), (other, also) in zip(
        cropped.plain().draws(3, "key"), plain.draws(3, "key"), strict=True
    ):
        assert torch.equal(one, other) and torch.equal(labels, also)


def test_a_variance_with_its_error():
    values = np.random.default_rng(0).normal(size=(2000, 50, 1))
    pairs = np.array([variance_and_error(values[:, i]) for i in range(50)])[..., 0]
    assert pairs[:, 0].mean() == pytest.approx(1, abs=0.02)
    assert pairs[:, 1].mean() == pytest.approx((2 / 2000) ** 0.5, rel=0.05)
    assert pairs[:, 0].std() == pytest.approx(pairs[:, 1].mean(), rel=0.4)


def test_projected_gradients_are_those_of_the_gradients():
    model = nn.Linear(4, 3).double()
    batches = [(torch.randn(5, 4).double(), torch.randint(3, (5,))) for _ in range(3)]
    axes = torch.randn(2, 15, dtype=torch.float64)
    found = measure.projected_gradients(model, measure.cross_entropy, batches, axes)
    for row, batch in zip(found, batches, strict=True):
        model.zero_grad()
        measure.cross_entropy(model, batch).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        torch.testing.assert_close(row, axes @ gradient)
    with pytest.raises(ValueError, match=r"shape .*2, 14.*, not \(k, 15\)"):
        measure.projected_gradients(model, measure.cross_entropy, batches, axes[:, 1:])
    with pytest.raises(ValueError, match="no batch"):
        measure.projected_gradients(model, measure.cross_entropy, [], axes)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"followed_epochs": 9}, "last 9 of 6 epochs cannot be followed"),
        ({"followed_rate": 0.0}, "set followed_rate"),
        ({"direction_products": 2}, "at least that of directions"),
        ({"noise_batches": 1}, "noise_batches must be greater than or equal to 2"),
        ({"directions": 0}, "directions must be greater than 0"),
        ({"pretrained": True}, "torchvision's nets on imagenet alone"),
    ],
)
def test_settings_that_cannot_be_followed(settings, said):
    with pytest.raises(UsageError, match=said):
        tiny(**settings)


def test_directions_that_are_lost_or_of_another_run_are_not_gone_on_with(monkeypatch):
    take_step = loop.State.take_step

    def stop(state, batch):
        if state.step == 31:
            raise KeyboardInterrupt
        return take_step(state, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.State, "take_step", stop)
        patch.setattr(launch, "CHECKPOINT_SECONDS", 0)
        tiny()
    chosen = get("continued", overrides=TINY)
    file = launch.folder_of("continued", "classroom", chosen) / "directions.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(UsageError, match="of another run, or of another version"):
        tiny()
    file.write_bytes(whole)
    assert tiny().complete


@pytest.fixture
def hub_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def saved(tensors) -> bytes:
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def test_pretrained_weights_are_checked_by_their_hash(hub_dir, monkeypatch):
    import hashlib

    content = saved({"weight": torch.ones(2)})
    digest = hashlib.sha256(content).hexdigest()[:8]
    address = f"https://download.pytorch.org/models/resnet18-{digest}.pth"
    named = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=address))
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda model: named)
    file = hub_dir / f"resnet18-{digest}.pth"
    file.write_bytes(content)
    found, name = pretrained.weights("resnet18", 1000, hub_dir)
    assert torch.equal(found["weight"], torch.ones(2)) and name == file.name
    file.write_bytes(content + b"x")
    with pytest.raises(UsageError, match="is damaged: delete it"):
        pretrained.weights("resnet18", 1000, hub_dir)
    with pytest.raises(UsageError, match="1000 classes apart, and the images here have 10"):
        pretrained.weights("resnet18", 10, hub_dir)


def test_pretrained_weights_that_cannot_be_had_say_where_from(hub_dir, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        UsageError, match=r"no route.*put resnet18-f37072fd.pth from https"
    ) as e:
        pretrained.weights("resnet18", 1000, hub_dir)
    assert "\n" not in str(e.value)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "~nobody9/torch/hub")  # of TORCH_HOME
    with pytest.raises(UsageError, match="The home of ~nobody9/torch/hub is not known here"):
        pretrained.weights("resnet18", 1000, hub_dir)


def test_a_net_begins_with_the_weights_it_is_given(monkeypatch, tmp_path):
    from PIL import Image

    for index in range(8):
        folder = tmp_path / "imagenet" / "train" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (30 * index, 0, 0)).save(folder / f"{index}.png")
    given = {"image_size": 32, "epochs": 1, "followed_epochs": 1, "batch_size": 4}
    given |= {"measure_every": 0, "directions": 1, "direction_batches": 1, "noise_batches": 2}
    given |= {"direction_products": 2, "precision": "float32", "threads": 1}
    settings = get("continued", "paper", given)
    net = nets.build(settings, loop.load_data(settings, Place(tmp_path)))
    with torch.no_grad():
        net.fc.bias.fill_(0.25)

    def weights(model, classes, root):
        assert root == tmp_path.resolve()
        return net.state_dict(), "resnet18.pth"

    monkeypatch.setattr(pretrained, "weights", weights)
    monkeypatch.setenv("STATIONARITY_DATA", str(tmp_path))
    run = stationarity.run("continued", "paper", settings=given)
    origin = measure.parameter_vector(net)
    kept = Table(run.folder / "directions.bin", len(origin)).read(2)
    assert torch.equal(kept[1], origin)
    assert run.info["pretrained"] == "resnet18.pth"
    assert len(run.series("local_displacement_squared")) == 2
