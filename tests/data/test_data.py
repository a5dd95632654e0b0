"""Datasets to batches: keyed draws, augmentation, files of the user."""
import dataclasses
import hashlib
import io
import pickle
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stationarity import UsageError, data, experiments
from stationarity.data import folders, sources
from torchvision.transforms import v2


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


def test_cifar10_from_a_data_root(cifar_root, monkeypatch):
    local = data.load(cifar(), cifar_root)
    assert (local.count, local.size, local.channels, local.classes) == (20, 32, 3, 10)
    file = cifar_root / "cifar10" / "train-00000-of-00001.parquet"
    hashes = local.provenance["sha256"]
    assert hashes.keys() == {file.name, "test-00000-of-00001.parquet"}
    assert hashes[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setenv("STATIONARITY_DATA", str(cifar_root))
    assert data.load(cifar()).provenance == local.provenance
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"?" + content[-8:])
    assert sources.sha256([file])[file] != hashes[file.name]  # remembered, until it changes


@pytest.fixture
def hub(cifar_root, serve, monkeypatch):
    """CIFAR-10 of twenty images a part, on a hub of this machine."""
    small = dataclasses.replace(sources.CIFAR, rows={"train": 20, "test": 20})
    monkeypatch.setattr(sources, "CIFAR", small)
    files = {f"plain_text/{f.name}": f.read_bytes() for f in cifar_root.glob("cifar10/*")}
    return serve("uoft-cs/cifar10", files | {"README.md": b"", "plain_text/more.bin": b"x"})


def test_cifar10_from_the_hub_equals_the_same_files(hub, cifar_root):
    local, loaded = data.load(cifar(), cifar_root), data.load(cifar())
    assert same(local.training_batches(0, 4), loaded.training_batches(0, 4))
    assert loaded.provenance["sha256"] == local.provenance["sha256"]
    assert loaded.provenance["source"] == "Hugging Face hub, uoft-cs/cifar10"
    assert "SHA-256 against the hub's" in loaded.provenance["checked"]
    assert len(hub.sent) == 2  # and nothing that is not used
    data.load(cifar())
    assert len(hub.sent) == 2


def test_an_interrupted_download_goes_on(hub):
    hub.cut = 1
    with pytest.raises(UsageError, match="CIFAR-10 could not be downloaded .* call again") as e:
        data.load(cifar())
    assert "\n" not in str(e.value) and len(hub.sent) == 1
    hub.cut = None
    assert data.load(cifar()).count == 20
    assert sorted(hub.sent) == sorted(set(hub.sent)) and len(hub.sent) == 2


def test_a_damaged_download_is_noticed_and_fetched_again(hub):
    """The same size, another byte: the hub's client does not look."""
    hub.harm = True
    with pytest.raises(UsageError, match="parquet of CIFAR-10 was damaged in the download"):
        data.load(cifar())
    hub.harm = False
    assert data.load(cifar()).count == 20


def test_a_hub_with_other_rows_than_expected_is_refused(hub, monkeypatch):
    more = dataclasses.replace(sources.CIFAR, rows={"train": 21, "test": 20})
    monkeypatch.setattr(sources, "CIFAR", more)
    with pytest.raises(UsageError, match="has 20 rows in its train part, and 21 are expected"):
        data.load(cifar())


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_dataset_says_what_to_do(serve, monkeypatch, status):
    hub = serve("ILSVRC/imagenet-1k", {"data/train-00000-of-00001.parquet": b"secret"})
    hub.refuse = status
    with pytest.raises(UsageError, match="ImageNet is a gated .* no token .* `hf auth login`") as e:
        data.load(imagenet())
    assert "https://huggingface.co/datasets/ILSVRC/imagenet-1k" in str(e.value)
    monkeypatch.setenv("HF_TOKEN", "hf_never_to_be_seen")
    with pytest.raises(UsageError, match="refuses ImageNet to this token: accept the terms") as e:
        data.load(imagenet())
    assert "never_to_be_seen" not in str(e.value) and "\n" not in str(e.value)


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
    with pytest.raises(UsageError, match="imagenet/train/<class>.* or imagenet/train-"):
        data.load(paper, tmp_path)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match="2000 is larger than the data: digits has 1437"):
        data.load(settings(batch_size=2000))


def jpeg(rng, width=40, height=30):
    file = io.BytesIO()
    pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder_root(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in ("n01", "n02"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(6):
                (tmp_path / part / label / f"{i}.JPEG").write_bytes(jpeg(rng))
    return tmp_path


@pytest.fixture
def table_root(folder_root, tmp_path, monkeypatch):
    """The images of the folder tree, in the same order, as the hub's parquet files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    datasets.disable_progress_bars()
    label = datasets.ClassLabel(names=["n01", "n02"])
    features = datasets.Features({"image": datasets.Image(), "label": label})
    for part, split in (("train", "train"), ("val", "validation")):
        files = sorted((folder_root / part).glob("*/*.JPEG"))
        rows = [
            {
                "image": {"bytes": file.read_bytes(), "path": file.name},
                "label": int(file.parent.name == "n02"),
            }
            for file in files
        ]
        (tmp_path / "tables" / "imagenet").mkdir(parents=True, exist_ok=True)
        for k in range(2):
            name = f"{split}-{k:05}-of-00002.parquet"
            file = tmp_path / "tables" / "imagenet" / name
            part = datasets.Dataset.from_list(rows[6 * k : 6 * k + 6], features)
            part.to_parquet(file)
    yield tmp_path / "tables"
    datasets.enable_progress_bars()


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


def test_a_process_ends_though_something_keeps_its_workers(folder_root):
    """They do not hear the SIGTERM by which a process that ends would end them."""
    program = f"""
import pathlib
from stationarity import UsageError, data, experiments, folders
small = {{"batch_size": 4, "image_size": 32}}
folders._workers = lambda: 2
loaded = data.load(experiments.get("imagenet_resnet", "paper", small), {str(folder_root)!r})
batches = loaded.training_batches(0, 100)
next(batches)
for file in pathlib.Path({str(folder_root)!r}).glob("train/*/*"):
    file.write_bytes(b"no image")
try:
    list(loaded.training_batches(0, 100))
except UsageError as error:
    kept = error
assert kept
"""
    subprocess.run([sys.executable, "-c", program], timeout=90, check=True)


def test_parquet_files_give_the_batches_of_the_folder_tree(folder_root, table_root):
    tree, table = (data.load(imagenet(), root) for root in (folder_root, table_root))
    assert (table.count, table.classes, table.steps_per_epoch) == (12, 2, 3)
    assert same(tree.training_batches(0, 5), table.training_batches(0, 5))
    assert same(tree.draws(3, "measure", 7), table.draws(3, "measure", 7))
    assert same(tree.test_batches(5), table.test_batches(5))
    assert len(table.provenance["sha256"]) == 4
    assert data.load(imagenet(), table_root).provenance == table.provenance
    for file in table_root.glob("imagenet/validation-*"):
        file.unlink()
    assert list(data.load(imagenet(), table_root).test_batches()) == []


def test_imagenet_from_the_hub_equals_the_same_files(table_root, serve, monkeypatch):
    small = dataclasses.replace(sources.IMAGENET, rows={"train": 12, "validation": 12})
    monkeypatch.setattr(sources, "IMAGENET", small)
    files = {f"data/{f.name}": f.read_bytes() for f in table_root.glob("imagenet/*")}
    hub = serve("ILSVRC/imagenet-1k", files | {"data/test-00000-of-00001.parquet": b"none"})
    table, loaded = data.load(imagenet(), table_root), data.load(imagenet())
    assert same(table.training_batches(0, 3), loaded.training_batches(0, 3))
    assert sorted(hub.sent) == sorted(files)
    assert loaded.provenance["sha256"] == table.provenance["sha256"]


def test_a_table_is_read_from_disk_in_other_processes_too(table_root):
    """Where workers are spawned, they are sent the table's place, not its rows."""
    rows = data.load(imagenet(), table_root).train
    there = pickle.loads(pickle.dumps(rows))
    assert there.encoded(3) == rows.encoded(3)
    assert not any(file.read_bytes()[100:200] in pickle.dumps(rows) for file in table_root.glob(
        "../train/*/*.JPEG"))  # fmt: skip


def test_crops_are_those_of_torchvision_and_pillow_up_to_rounding(folder_root):
    images = data.load(imagenet(), folder_root).train
    usual = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    decoded, worst, mean = folders._Decoded(images, 32, augment=True), 0, 0.0
    for i in range(12):
        torch.manual_seed(100 + i)
        expected = usual(Image.open(images.encoded(i)[1]))
        distance = (decoded[i, 100 + i][0].int() - expected.int()).abs()
        worst, mean = max(worst, distance.max().item()), mean + distance.float().mean().item() / 12
    assert worst <= 2 and mean < 0.1  # of 255


def test_images_that_are_not_rgb_are_read(folder_root):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8))
    for i, (name, mode) in enumerate((("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK"))):
        image.convert(mode).save(folder_root / "train" / "n01" / f"{i}.JPEG", name)
    assert len(list(data.load(imagenet(), folder_root).training_batches(0, 3))) == 3


def test_a_tree_of_smaller_copies_is_other_data(folder_root):
    before = data.load(imagenet(), folder_root).provenance
    assert data.load(imagenet(), folder_root).provenance == before
    for file in folder_root.glob("train/*/*.JPEG"):
        file.write_bytes(jpeg(np.random.default_rng(0), 20, 20))
    assert data.load(imagenet(), folder_root).provenance != before


def test_the_workers_of_a_machine_share_its_cpus(monkeypatch):
    monkeypatch.setattr(folders.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    found = {}
    for processes in (1, 8, 100):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        found[processes] = folders._workers()
    assert found == {1: 16, 8: 8, 100: 1}


def test_a_damaged_jpeg_of_an_image_folder_is_named(folder_root):
    (folder_root / "train" / "n02" / "3.JPEG").write_bytes(b"\xff\xd8 truncated")
    folder = data.load(imagenet(), folder_root)
    with pytest.raises(UsageError, match=r"n02/3.JPEG cannot be read as an image") as error:
        list(folder.training_batches(0, 3))
    assert "Traceback" not in str(error.value)


def test_damage_of_imagenet_s_parquet_files_is_named(table_root, monkeypatch):
    monkeypatch.setattr(folders, "_workers", lambda: 0)
    for column, value, message in (
        ("image", {"bytes": b"\xff\xd8 truncated", "path": None}, "Image 8 of ImageNet's train"),
        ("label", -1, "images without a label"),
    ):
        file = table_root / "imagenet" / "train-00001-of-00002.parquet"
        content = file.read_bytes()
        frame = pd.read_parquet(file)
        frame.at[2, column] = value
        frame.to_parquet(file)
        with pytest.raises(UsageError, match=message):
            list(data.load(imagenet(), table_root).training_batches(0, 3))
        file.write_bytes(content)
    file.write_bytes(b"PAR1 truncated")
    with pytest.raises(UsageError, match="ImageNet's parquet files cannot be laid out .* fetch"):
        data.load(imagenet(), table_root)
