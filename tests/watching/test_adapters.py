"""The adapters against the real libraries; skipped where these are not installed."""

import warnings

import numpy as np
import pytest
import torch
from stationarity.errors import UsageError
from stationarity.watching import adapters, exports
from torch import nn
from torch.nn import functional

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]
INPUTS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS.sum(1) > 0).long()
HOW = {"every": 4, "measure_batches": 4, "sharpness_batches": 2}


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning.pytorch", reason="lightning is not installed")


def lightning_parts(lightning):
    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2)
            )
            self.seen = []

        def training_step(self, batch, index):
            loss = functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train", loss)
            return {"loss": loss}

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    def train(folder, callbacks=(), epochs=2, path=None, **how):
        torch.manual_seed(1)
        whole = torch.utils.data.TensorDataset(INPUTS, LABELS)
        loader = torch.utils.data.DataLoader(whole, batch_size=8, shuffle=True)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        how |= {"max_epochs": epochs, "accelerator": "cpu", "default_root_dir": folder}
        trainer = lightning.Trainer(callbacks=[*callbacks], **quiet, **how)
        net = Net()
        trainer.fit(net, loader, ckpt_path=path)
        return torch.cat([p.detach().flatten() for p in net.parameters()]), trainer

    return train


def test_lightning_trains_as_it_did_and_is_watched(lightning, tmp_path):
    train = lightning_parts(lightning)
    alone, _ = train(tmp_path)
    callback = adapters.lightning_callback(root=tmp_path, **HOW)
    weights, _ = train(tmp_path, [callback])
    assert torch.equal(weights, alone)
    run = callback.watch.run
    assert run.complete and len(run.series("loss")) == 16 and run.has("sharpness")
    assert run.series("learning_rate").value.iloc[[0, -1]].tolist() == [0.1, 0.05]
    assert run.info["watch"]["batch_size"] == 8


def test_lightning_accumulates_gradients(lightning, tmp_path):
    callback = adapters.lightning_callback(root=tmp_path, **HOW)
    lightning_parts(lightning)(tmp_path, [callback], accumulate_grad_batches=2)
    losses = callback.watch.run.series("loss").value
    assert len(losses) == 8 and losses.iloc[0] == pytest.approx(0.7, abs=0.2)
    assert callback.watch.run.info["watch"]["batch_size"] == 16


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
def test_lightning_is_watched_in_the_precision_of_its_parameters(
    lightning, tmp_path, precision
):
    train = lightning_parts(lightning)
    alone, _ = train(tmp_path, precision=precision)
    callback = adapters.lightning_callback(root=tmp_path, **HOW)
    weights, _ = train(tmp_path, [callback], precision=precision)
    assert torch.equal(weights, alone)
    run = callback.watch.run
    assert run.complete and len(run.series("loss")) == 16 and len(run.series("noise_norm")) == 5
    if precision == "bf16-mixed":  # the first net is the same
        other = adapters.lightning_callback(root=tmp_path, **HOW)
        train(tmp_path, [other])
        found = (one.watch.run.series("mean_loss").value[0] for one in (callback, other))
        assert next(found) == pytest.approx(next(found), rel=2e-3)


def test_lightning_goes_on_from_its_checkpoint(lightning, tmp_path):
    train = lightning_parts(lightning)
    first = adapters.lightning_callback(root=tmp_path, **HOW)
    _, trainer = train(tmp_path, [first], epochs=1, enable_checkpointing=True)
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    assert first.watch.run.complete
    second = adapters.lightning_callback(root=tmp_path, **HOW)
    train(tmp_path, [second], epochs=2, path=tmp_path / "kept.ckpt")
    run = second.watch.run
    assert run.folder == first.watch.run.folder
    assert run.series("loss").step.tolist() == [*range(1, 17)]
    assert len(run.series("update_square")) == 15


def by_hand(lightning, callbacks, watched=None):
    """A training of two parts with an optimizer each, as a GAN's."""

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(4, 2), nn.Linear(4, 2)
            self.automatic_optimization, self.watch = False, None

        def on_train_start(self):
            if watched:
                fit = lambda part, batch: functional.cross_entropy(part(batch[0]), batch[1])
                optimizer, loader = self.optimizers()[1], self.trainer.train_dataloader
                self.watch = watched(self.two, fit, optimizer, loader)

        def training_step(self, batch, index):
            for part, optimizer in zip((self.one, self.two), self.optimizers()):
                optimizer.zero_grad()
                loss = functional.cross_entropy(part(batch[0]), batch[1])
                self.manual_backward(loss)
                optimizer.step()
            if self.watch:
                self.watch.step(batch, loss)

        def configure_optimizers(self):
            return [torch.optim.SGD(p.parameters(), 0.1) for p in (self.one, self.two)]

    torch.manual_seed(1)
    whole = torch.utils.data.TensorDataset(INPUTS, LABELS)
    loader = torch.utils.data.DataLoader(whole, batch_size=8, shuffle=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    how = {"max_epochs": 2, "accelerator": "cpu", "enable_checkpointing": False}
    net = Net()
    lightning.Trainer(callbacks=callbacks, **quiet, **how).fit(net, loader)
    return net


def test_lightning_with_several_optimizers_is_refused_and_the_remedy_works(lightning, tmp_path):
    callback = adapters.lightning_callback(root=tmp_path, **HOW)
    with pytest.raises(UsageError, match=r"by hand.*\(2 optimizers\).*make stationarity.watch"):
        by_hand(lightning, [callback])
    from stationarity import watch

    net = by_hand(lightning, [], lambda *given: watch(*given, root=tmp_path, **HOW))
    run = net.watch.close()
    assert len(run.series("loss")) == 16 and len(run.series("update_square")) == 15
    assert run.has("sharpness") and run.info["watch"]["parameters"] == 10
    alone = by_hand(lightning, []).state_dict()
    assert all(torch.equal(one, net.state_dict()[name]) for name, one in alone.items())


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed")


def transformers_parts(transformers):
    def train(folder, callbacks=(), resume=None, **how):
        torch.manual_seed(1)
        sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 32}
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
        )
        tokens = torch.randint(32, (32, 12), generator=torch.Generator().manual_seed(0))
        whole = [{"input_ids": row, "labels": row} for row in tokens]
        usual = {
            "output_dir": str(folder), "per_device_train_batch_size": 4, "max_steps": 12,
            "report_to": [], "disable_tqdm": True, "use_cpu": True, "logging_steps": 4,
            "save_steps": 6, "learning_rate": 1e-3, "weight_decay": 0.1, "seed": 3,
        }  # fmt: skip
        args = transformers.TrainingArguments(**usual | how)
        trainer = transformers.Trainer(model, args, train_dataset=whole, callbacks=[*callbacks])
        trainer.train(resume_from_checkpoint=resume)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), trainer

    return train


def test_the_trainer_trains_as_it_did_and_is_watched(transformers, tmp_path):
    train = transformers_parts(transformers)
    alone, _ = train(tmp_path / "alone")
    callback = adapters.transformers_callback(root=tmp_path, **HOW)
    weights, trainer = train(tmp_path / "watched", [callback])
    assert torch.equal(weights, alone)
    run = callback.watch.run
    assert run.complete and len(run.series("loss")) == 12 and run.has("sharpness")
    assert run.info["watch"]["optimizer"] == "AdamW" and run.info["watch"]["batch_size"] == 4
    assert len(run.info["watch"]["groups"]) == 2
    told = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    noted = run.series("loss").value.to_numpy().reshape(3, 4).mean(1)
    assert np.allclose(noted, told, atol=2e-3)


def test_the_trainer_is_watched_outside_of_its_mixed_precision(transformers, tmp_path):
    train, found = transformers_parts(transformers), []
    for how in ({"bf16": True}, {}):
        alone, _ = train(tmp_path / "alone", **how)
        callback = adapters.transformers_callback(root=tmp_path, sharpness=True, **HOW)
        weights, _ = train(tmp_path / "watched", [callback], **how)
        assert torch.equal(weights, alone)
        run = callback.watch.run
        assert run.complete and len(run.series("loss")) == 12
        assert len(run.series("sharpness")) == 4
        found.append(run.series("mean_loss").value[0])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_trainer_that_smooths_labels_is_watched_with_an_objective_that_does(
    transformers, tmp_path
):
    train, how = transformers_parts(transformers), {"label_smoothing_factor": 0.3}
    with pytest.raises(UsageError, match=r"smooths labels by 0.3.*give the callback an obj"):
        train(tmp_path, [adapters.transformers_callback(root=tmp_path, **HOW)], **how)

    def smoothed(model, batch):
        scores, labels = model(batch["input_ids"]).logits[:, :-1], batch["labels"][:, 1:]
        return functional.cross_entropy(scores.mT, labels, label_smoothing=0.3)

    callback = adapters.transformers_callback(root=tmp_path, objective=smoothed, **HOW)
    _, trainer = train(tmp_path, [callback], **how)
    run = callback.watch.run
    told = next(one["loss"] for one in trainer.state.log_history if "loss" in one)
    told *= 12 / 11  # the Trainer divides by all tokens, the first of which is not predicted
    assert run.complete and run.series("mean_loss").value[0] == pytest.approx(told, abs=0.05)


def test_the_trainer_accumulates_gradients(transformers, tmp_path):
    callback = adapters.transformers_callback(root=tmp_path, **HOW)
    how = {"gradient_accumulation_steps": 2, "max_steps": 4}
    _, trainer = transformers_parts(transformers)(tmp_path, [callback], **how)
    losses = callback.watch.run.series("loss").value
    told = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    assert len(losses) == 4 and losses.mean() == pytest.approx(told[0], abs=2e-3)
    assert callback.watch.run.info["watch"]["batch_size"] == 8


def test_the_trainer_goes_on_from_its_checkpoint(transformers, tmp_path):
    train = transformers_parts(transformers)
    first = adapters.transformers_callback(root=tmp_path, **HOW)
    train(tmp_path, [first], max_steps=6)
    second = adapters.transformers_callback(root=tmp_path, **HOW)
    train(tmp_path, [second], resume=str(tmp_path / "checkpoint-6"))
    run = second.watch.run
    assert run.folder == first.watch.run.folder
    assert run.series("loss").step.tolist() == [*range(1, 13)]


def test_the_trainer_goes_on_from_a_checkpoint_that_lies_elsewhere(transformers, tmp_path):
    train, kept = transformers_parts(transformers), tmp_path / "moved"
    first = adapters.transformers_callback(root=tmp_path, **HOW)
    train(tmp_path / "one", [first], max_steps=6)
    (tmp_path / "one" / "checkpoint-6").rename(kept)
    second = adapters.transformers_callback(root=tmp_path, checkpoint=kept, **HOW)
    train(tmp_path / "two", [second], resume=str(kept))
    run = second.watch.run
    assert run.folder == first.watch.run.folder
    assert run.series("loss").step.tolist() == [*range(1, 13)]
    third = adapters.transformers_callback(root=tmp_path, **HOW)
    with pytest.warns(UserWarning, match="no state of a watch is .*give the callback"):
        train(tmp_path / "three", [third], resume=str(kept))
    assert len(third.watch.run.series("loss")) == 6


def test_tensorboard_shows_what_is_watched(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    writer = exports.TensorBoard(tmp_path)
    writer.write("loss", [1, 2], [0.5, 0.25])
    exports.TensorBoard(writer=writer.writer).close()
    assert writer.writer.all_writers  # which is another's, and open
    writer.close()
    assert not writer.writer.all_writers
    events = reading.EventAccumulator(str(tmp_path))
    events.Reload()
    shown = events.Scalars("stationarity/loss")
    assert [(one.step, one.value) for one in shown] == [(1, 0.5), (2, 0.25)]


@pytest.fixture
def wandb(monkeypatch):
    found = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    return found


def test_weights_and_biases_logs_what_is_watched(wandb, tmp_path):
    writer = exports.WeightsAndBiases(dir=str(tmp_path), project="watched")
    writer.write("loss", [1, 2], [0.5, np.inf])
    assert writer.run.summary["stationarity/loss"] == 0.5
    writer.close()
    assert wandb.run is None


def test_steps_of_another_run_of_weights_and_biases_stay_its_own(wandb, tmp_path):
    run = wandb.init(dir=str(tmp_path), project="mine")
    writer = exports.WeightsAndBiases(run)
    for step in (1, 2, 3):
        writer.write("loss", range(8 * step, 8 * step + 8), np.full(8, 0.5 / step))
        assert run.step == step - 1 or step == 1
        run.log({"mine": step / 4}, step=step)
    writer.write("noise", [30], [2.0])
    writer.close()
    run.log({"mine": 1.0}, step=4, commit=True)
    assert run.summary["mine"] == 1.0 and run.summary["stationarity/noise"] == 2.0
    assert run.summary["stationarity/loss"] == pytest.approx(0.5 / 3)
    run.finish()


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("tensorboard", lambda: exports.TensorBoard("x")),
        ("wandb", exports.WeightsAndBiases),
        ("lightning.pytorch.callbacks", adapters.lightning_callback),
        ("transformers", adapters.transformers_callback),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch, module, make):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with warnings.catch_warnings(), pytest.raises(UsageError, match="pip install"):
        make()


def test_writers_get_the_numbers_of_a_watch(tmp_path):
    class Kept:
        def __init__(self):
            self.rows, self.closed = {}, False

        def write(self, quantity, steps, values):
            self.rows.setdefault(quantity, []).extend(zip(steps, values))

        def close(self):
            self.closed = True

    from stationarity import watch

    model, kept = nn.Linear(2, 1), Kept()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = lambda step, count: [torch.randn(4, 2) for _ in range(count)]
    how = {"root": tmp_path, "every": 8, "also": [kept]}
    objective = lambda model, x: model(x).square().mean()
    with watch(model, objective, optimizer, batches, **how) as watched:
        for _ in range(17):
            optimizer.step()
            watched.step(loss=0.5)
    assert kept.closed and kept.rows["loss"] == [(8, 0.5), (16, 0.5)]
    assert [step for step, _ in kept.rows["noise_scale/low"]] == [1, 8, 16]
