"""Datasets to batches: keyed draws, augmentation, files of the user."""
import io

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stationarity import UsageError, data, experiments, folders


def settings(**overrides):
    return experiments.get("imagenet_resnet", overrides=overrides)


def same(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_digits_are_embedded():
    digits = data.load(settings(crop_padding=0))
    assert (digits.count, digits.classes, digits.channels, digits.size) == (1437, 10, 1, 8)
    everything = torch.cat([images for images, _ in digits.partition()])
    assert everything.shape == (1437, 1, 8, 8)
    assert abs(everything.mean()) < 1e-5 and abs(everything.std() - 1) < 1e-3
    assert sum(len(labels) for _, labels in digits.test_batches()) == 360


def test_a_text_is_embedded():
    text = data.python_reference()
    assert len(text) > 400_000 and "lambda" in text
    hashes = {name: data.embedded_hash(name) for name in ("digits", "python-reference")}
    assert len(set(hashes.values())) == 2 and all(len(h) == 64 for h in hashes.values())
    assert data.embedded_hash("cifar10") is None


def test_an_epoch_holds_every_example_once():
    digits = data.load(settings(crop_padding=0, batch_size=479))
    epoch = torch.cat([images for images, _ in digits.training_batches(0, 3)])
    assert len(torch.unique(epoch.flatten(1), dim=0)) == len(
        torch.unique(torch.cat([x for x, _ in digits.partition()]).flatten(1), dim=0)
    )


def test_any_batch_can_be_drawn_without_those_before_it():
    digits = data.load(settings())
    assert same(list(digits.training_batches(0, 50))[30:], digits.training_batches(30, 50))
    draws = digits.draws(4, "measure", 7)
    first = list(draws)
    list(digits.draws(9, "other")), list(digits.training_batches(3, 5))
    assert len(draws) == 4 and same(first, draws)
    assert not torch.equal(first[0][0], next(iter(digits.draws(4, "measure", 8)))[0])


def test_independent_sampling_draws_without_replacement_within_a_batch():
    digits = data.load(settings(sampling="independent", crop_padding=0, batch_size=1437))
    (images, _), (again, _) = digits.training_batches(0, 2)
    assert not torch.equal(images, again)
    assert torch.allclose(images.sum(0), again.sum(0), atol=1e-2)


def test_crops_and_flips_are_slices_of_the_padded_image():
    """Each augmented image is one of the (2p+1)^2 crops, or one of their mirrors."""
    chosen = settings(crop_padding=2, flip=True, batch_size=16)
    augmented, plain = data.load(chosen), data.load(settings(crop_padding=0, batch_size=16))
    (images, labels), (originals, again) = (
        next(d.training_batches(0, 1)) for d in (augmented, plain)
    )
    assert torch.equal(labels, again)
    border = float(-plain.mean / plain.std)
    padded = torch.nn.functional.pad(originals, (2, 2, 2, 2), value=border)
    crops = [padded[..., i : i + 8, j : j + 8] for i in range(5) for j in range(5)]
    crops = torch.stack(crops + [crop.flip(-1) for crop in crops])
    distances = (crops - images).abs().amax(dim=(2, 3, 4))
    assert distances.min(dim=0).values.max() < 1e-5
    mirrored = distances.argmin(dim=0) >= 25
    assert 0 < mirrored.sum() < 16


def encoded(rng, size=32):
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size, size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def cifar_root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        rows = [{"img": {"bytes": encoded(rng), "path": None}, "label": i % 10} for i in range(20)]
        (tmp_path / "cifar10").mkdir(exist_ok=True)
        file = tmp_path / "cifar10" / f"{split}-00000-of-00001.parquet"
        pd.DataFrame(rows).to_parquet(file)
    return tmp_path


def cifar(**overrides):
    return experiments.get("imagenet_resnet", "single-gpu", {"batch_size": 5} | overrides)


def test_cifar10_from_parquet_equals_cifar10_from_the_hub(cifar_root, monkeypatch):
    local = data.load(cifar(), cifar_root)
    assert (local.count, local.size, local.channels, local.classes) == (20, 32, 3, 10)
    assert local.provenance["sha256"].keys() == {
        "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
    }  # fmt: skip
    files = {s: str(next(cifar_root.glob(f"cifar10/{s}-*"))) for s in ("train", "test")}
    cache = str(cifar_root / "cache")
    tables = datasets.load_dataset("parquet", data_files=files, cache_dir=cache)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name: asked.append(name) or tables)
    monkeypatch.delenv("STATIONARITY_DATA", raising=False)
    hub = data.load(cifar())
    assert asked == ["uoft-cs/cifar10"]
    assert same(local.training_batches(0, 4), hub.training_batches(0, 4))
    monkeypatch.setenv("STATIONARITY_DATA", str(cifar_root))
    assert data.load(cifar()).provenance == local.provenance


def test_a_damaged_image_or_file_is_named(cifar_root):
    file = cifar_root / "cifar10" / "train-00000-of-00001.parquet"
    table = pd.read_parquet(file)
    table.at[3, "img"] = {"bytes": b"not an image", "path": None}
    table.to_parquet(file)
    with pytest.raises(UsageError, match="Image 3 of CIFAR-10's train part cannot be read"):
        data.load(cifar(), cifar_root)
    file.write_bytes(b"PAR1 truncated")
    with pytest.raises(UsageError, match="train-00000-of-00001.parquet is not a parquet file"):
        data.load(cifar(), cifar_root)


def test_a_data_root_without_the_files_says_which_and_where_from(tmp_path):
    with pytest.raises(UsageError, match=r"train-\*.parquet .* https://huggingface.co"):
        data.load(cifar(), tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        data.load(cifar(), tmp_path / "nowhere")
    paper = experiments.get("imagenet_resnet", "paper")
    with pytest.raises(UsageError, match="imagenet/train/<class>"):
        data.load(paper, tmp_path)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match="2000 is larger than the data: digits has 1437"):
        data.load(settings(batch_size=2000))


@pytest.fixture
def folder_root(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in ("n01", "n02"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(6):
                (tmp_path / part / label / f"{i}.JPEG").write_bytes(encoded(rng, 40))
    return tmp_path


def imagenet(**overrides):
    small = {"batch_size": 4, "image_size": 32}
    return experiments.get("imagenet_resnet", "paper", small | overrides)


def test_an_image_folder_streams_the_same_batches_whatever_the_workers(folder_root, monkeypatch):
    folder = data.load(imagenet(), folder_root)
    assert (folder.count, folder.classes, folder.steps_per_epoch) == (12, 2, 3)
    streamed = list(folder.training_batches(0, 7))
    assert streamed[0][0].shape == (4, 3, 32, 32)
    assert sorted(torch.cat([labels for _, labels in streamed[:3]]).tolist()) == [0] * 6 + [1] * 6
    state = torch.get_rng_state()
    monkeypatch.setattr(folders, "_workers", lambda: 0)
    assert same(streamed[4:], folder.training_batches(4, 7))
    assert torch.equal(state, torch.get_rng_state())
    assert sum(len(labels) for _, labels in folder.test_batches()) == 12
    assert len(list(folder.draws(2, "measure", 0))) == 2


def test_a_damaged_jpeg_of_an_image_folder_is_named(folder_root):
    (folder_root / "train" / "n02" / "3.JPEG").write_bytes(b"\xff\xd8 truncated")
    folder = data.load(imagenet(), folder_root)
    with pytest.raises(UsageError, match=r"n02/3.JPEG cannot be read as an image") as error:
        list(folder.training_batches(0, 3))
    assert "Traceback" not in str(error.value)
