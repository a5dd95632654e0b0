"""ImageNet as folders of images and as a table: the same batches, streamed."""

import dataclasses
import io
import multiprocessing
import os
import pickle
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stationarity import UsageError, data
from stationarity.data import folders, parquet
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2


def same(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


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


def imagenet(root=None):
    return data.load("imagenet", batch_size=4, image_size=32, flip=True, data_root=root)


def test_an_image_folder_streams_the_same_batches_whatever_the_workers(
    folder_root, monkeypatch
):
    folder = imagenet(folder_root)
    assert (folder.count, folder.classes, folder.steps_per_epoch) == (12, 2, 3)
    streamed = list(folder.training_batches(0, 7))
    assert streamed[0][0].shape == (4, 3, 32, 32)
    assert (
        sorted(torch.cat([labels for _, labels in streamed[:3]]).tolist()) == [0] * 6 + [1] * 6
    )
    state = torch.get_rng_state()
    monkeypatch.setattr(folders, "_workers", lambda: 0)
    assert same(streamed[4:], folder.training_batches(4, 7))
    assert torch.equal(state, torch.get_rng_state())
    assert sum(len(labels) for _, labels in folder.test_batches()) == 12
    assert len(list(folder.draws(2, "measure", 0))) == 2


def test_processes_share_the_test_images(folder_root, monkeypatch):
    folder = imagenet(folder_root)
    whole, parts = data.whole(folder.test_batches()), []
    monkeypatch.setattr(folders, "TEST_BATCH", 4)
    for share in (slice(0, 5), slice(5, 12)):
        monkeypatch.setattr(folders.distributed, "share", lambda _: share)
        parts += folder.test_batches()
    assert same([whole], [data.whole(parts)])


def test_a_process_ends_though_something_keeps_its_workers(folder_root):
    """They do not hear the SIGTERM by which a process that ends would end them."""
    program = f"""
import pathlib
from stationarity import UsageError, data
from stationarity.data import folders
folders._workers = lambda: 2
loaded = data.load("imagenet", batch_size=4, image_size=32, data_root={str(folder_root)!r})
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


def test_an_error_that_is_kept_keeps_no_workers(folder_root, monkeypatch):
    monkeypatch.setattr(folders, "_workers", lambda: 2)
    batches = imagenet(folder_root).training_batches(0, 100)
    next(batches)
    assert len(folders._WORKERS & set(multiprocessing.active_children())) == 2
    for file in folder_root.glob("train/*/*"):
        file.write_bytes(b"no image")
    with pytest.raises(UsageError) as kept:
        list(batches)
    assert kept and not folders._WORKERS & set(multiprocessing.active_children())


def test_parquet_files_give_the_batches_of_the_folder_tree(folder_root, table_root):
    tree, table = (imagenet(root) for root in (folder_root, table_root))
    assert (table.count, table.classes, table.steps_per_epoch) == (12, 2, 3)
    assert same(tree.training_batches(0, 5), table.training_batches(0, 5))
    assert same(tree.draws(3, "measure", 7), table.draws(3, "measure", 7))
    assert same(tree.test_batches(), table.test_batches())
    assert len(table.provenance["sha256"]) == 4
    assert imagenet(table_root).provenance == table.provenance
    for file in table_root.glob("imagenet/validation-*"):
        file.unlink()
    assert list(imagenet(table_root).test_batches()) == []


def test_imagenet_from_the_hub_equals_the_same_files(table_root, serve, monkeypatch):
    small = dataclasses.replace(parquet.IMAGENET, rows={"train": 12, "validation": 12})
    monkeypatch.setattr(parquet, "IMAGENET", small)
    files = {f"data/{f.name}": f.read_bytes() for f in table_root.glob("imagenet/*")}
    hub = serve("ILSVRC/imagenet-1k", files | {"data/test-00000-of-00001.parquet": b"none"})
    table, loaded = imagenet(table_root), imagenet()
    assert same(table.training_batches(0, 3), loaded.training_batches(0, 3))
    assert sorted(hub.sent) == sorted(files)
    assert loaded.provenance["sha256"] == table.provenance["sha256"]


def test_a_table_is_read_from_disk_in_other_processes_too(table_root):
    """Where workers are spawned, they are sent the table's place, not its rows."""
    rows = imagenet(table_root).train
    there = pickle.loads(pickle.dumps(rows))
    assert there.encoded(3) == rows.encoded(3)
    assert not any(
        file.read_bytes()[100:200] in pickle.dumps(rows)
        for file in table_root.glob("../train/*/*.JPEG")
    )


def test_crops_are_those_of_torchvision_and_pillow_up_to_rounding(folder_root):
    images = imagenet(folder_root).train
    usual = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    decoded, worst, mean = folders._Decoded(images, 32, augment=True), 0, 0.0
    for i in range(12):
        torch.manual_seed(100 + i)
        expected = usual(Image.open(images.encoded(i)[1]))
        distance = (decoded[i, 100 + i][0].int() - expected.int()).abs()
        worst, mean = (
            max(worst, distance.max().item()),
            mean + distance.float().mean().item() / 12,
        )
    assert worst <= 2 and mean < 0.1  # of 255


def test_images_that_are_not_rgb_are_read(folder_root):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8))
    for i, (name, mode) in enumerate((("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK"))):
        image.convert(mode).save(folder_root / "train" / "n01" / f"{i}.JPEG", name)
    assert len(list(imagenet(folder_root).training_batches(0, 3))) == 3


def test_a_tree_of_smaller_copies_is_other_data(folder_root):
    before = imagenet(folder_root).provenance
    assert imagenet(folder_root).provenance == before
    for file in folder_root.glob("train/*/*.JPEG"):
        file.write_bytes(jpeg(np.random.default_rng(0), 20, 20))
    assert imagenet(folder_root).provenance != before


def test_the_workers_of_a_machine_share_its_cpus(monkeypatch):
    monkeypatch.setattr(
        folders.os, "sched_getaffinity", lambda _: set(range(64)), raising=False
    )
    found = {}
    for processes in (1, 8, 100):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        found[processes] = folders._workers()
    assert found == {1: 16, 8: 8, 100: 1}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "²")
    with pytest.raises(UsageError, match="LOCAL_WORLD_SIZE=² is no number: start"):
        folders._workers()


def test_a_damaged_jpeg_of_an_image_folder_is_named(folder_root):
    (folder_root / "train" / "n02" / "3.JPEG").write_bytes(b"\xff\xd8 truncated")
    folder = imagenet(folder_root)
    with pytest.raises(UsageError, match=r"n02/3.JPEG cannot be read as an image") as error:
        list(folder.training_batches(0, 3))
    assert "Traceback" not in str(error.value)


def test_damage_of_imagenet_s_parquet_files_is_named(table_root, monkeypatch):
    monkeypatch.setattr(folders, "_workers", lambda: 0)
    for column, value, message in (
        (
            "image",
            {"bytes": b"\xff\xd8 truncated", "path": None},
            "Image 8 of ImageNet's train",
        ),
        ("label", -1, "images without a label"),
    ):
        file = table_root / "imagenet" / "train-00001-of-00002.parquet"
        content = file.read_bytes()
        frame = pd.read_parquet(file)
        frame.at[2, column] = value
        frame.to_parquet(file)
        with pytest.raises(UsageError, match=message):
            list(imagenet(table_root).training_batches(0, 3))
        file.write_bytes(content)
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", table_root / "imagenet" / file.name
    )
    with pytest.raises(
        UsageError, match="ImageNet's parquet files cannot be laid out .* more room"
    ):
        imagenet(table_root)


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("image", None, r"train part lacks .* \(11 of its 12 rows hold image\): fetch"),
        ("label", None, r"train-00001-of-.* is not .* \(5 of its 6 rows hold label\): fetch"),
        ("label", "cat", r"train-00000-of-.* is not .* \(its labels are no numbers, .*: fetch"),
        ("label", "1", r"train-00000-of-.* is not .* \(its labels are no numbers, .*: fetch"),
    ],
)
def test_what_is_empty_in_imagenet_s_parquet_files_is_named(table_root, column, value, message):
    for file in sorted((table_root / "imagenet").glob("train-*")):
        frame = pd.read_parquet(file)
        frame[column] = frame[column].astype(str if value else object)
        if "00001" in file.name:
            frame.at[2, column] = value
        frame.to_parquet(file)
    with pytest.raises(UsageError, match=message) as error:
        imagenet(table_root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_or_damaged_file_of_imagenet_s_is_named(table_root, split, empty):
    file = table_root / "imagenet" / f"{split}-00001-of-00002.parquet"
    rows = pd.read_parquet(file)
    file.write_bytes(b"PAR1 truncated")
    if empty:
        rows[:0].to_parquet(file)
    with pytest.raises(UsageError, match=rf"{file.name} is not a parquet file .*: fetch it"):
        imagenet(table_root)


# --- what lies in a folder tree, and is no image of its class -------------------------


def paths(root):
    return [os.fsdecode(path) for path in imagenet(root).train.paths.to_pylist()]


def test_a_tree_is_read_in_the_order_of_torchvision_without_what_is_hidden(folder_root):
    train = folder_root / "train"
    for inner in ("n01/b", "n01/b/x", "n01/b-c", "n02/a"):
        (train / inner).mkdir()
        (train / inner / "7.JPEG").write_bytes((train / "n01" / "0.JPEG").read_bytes())
    plain = ImageFolder(train)
    before = imagenet(folder_root)
    assert paths(folder_root) == [path for path, _ in plain.samples]
    assert before.train.labels.tolist() == plain.targets
    for hidden in (".ipynb_checkpoints", "n01/.ipynb_checkpoints", ".git"):
        (train / hidden).mkdir()
        (train / hidden / "0-checkpoint.JPEG").write_bytes(b"")
    (train / "n02" / "._3.JPEG").write_bytes(b"of macOS")
    (folder_root / "val" / ".ipynb_checkpoints").mkdir()
    after = imagenet(folder_root)
    assert after.classes == 2 and paths(folder_root) == [path for path, _ in plain.samples]
    assert after.provenance == before.provenance


def test_a_class_without_images_is_named(folder_root):
    (folder_root / "train" / "n00").mkdir()
    (folder_root / "val" / "n00").mkdir()
    (folder_root / "train" / "n00" / "0.gif").write_bytes(b"")
    with pytest.raises(UsageError, match=r"\(.jpg .*\) a class: there are none in n00\."):
        imagenet(folder_root)
    with pytest.raises(UsageError, match="there are none in it"):
        folders._Files(folder_root / "train" / "n00")


@pytest.mark.parametrize("sign", [" (1)", "(1)", " copy", " - Copy (2)", " 2", "_副本", "~"])
def test_a_copy_in_a_tree_is_refused_and_what_is_numbered_alike_is_not(folder_root, sign):
    image, copy = (folder_root / "train" / "n01" / f"0{end}.JPEG" for end in ("", sign))
    imagenet(folder_root)
    copy.with_stem("00").write_bytes(image.read_bytes())  # two images may be the same one
    copy.write_bytes(image.read_bytes()[::-1])  # as large, but another
    before = imagenet(folder_root)
    copy.write_bytes(image.read_bytes())
    with pytest.raises(UsageError, match="is a copy of 0.JPEG beside it.*: remove it") as error:
        imagenet(folder_root)
    assert copy.name in str(error.value) and "\n" not in str(error.value)
    copy.unlink()
    assert imagenet(folder_root).count == before.count - 1


@pytest.mark.parametrize("link, to", [("n01/up", ".."), ("n02/x", "../n01"), ("n03", "n01")])
def test_a_folder_that_a_link_reaches_twice_is_refused(folder_root, link, to):
    """Round a loop torchvision would take each image forty times."""
    (folder_root / "train" / link).symlink_to(to)
    with pytest.raises(UsageError, match="whose images would count twice: remove it") as error:
        imagenet(folder_root)
    assert "\n" not in str(error.value)


def test_links_that_lead_nowhere_are_named(folder_root, monkeypatch):
    monkeypatch.setattr(folders, "_workers", lambda: 0)
    train = folder_root / "train"
    links = (
        ("n01/7.JPEG", "gone"), ("n01/7.JPEG", "7.JPEG"), ("n03", "n03"),
        ("n01/more", "gone"), ("n01/loop", "loop"), ("n02/n", "/away/n02"),
    )  # fmt: skip
    for link, to in links:
        (train / link).symlink_to(to)
        with pytest.raises(UsageError, match=rf"{link} cannot be read \(\w.*fetch it again"):
            list(imagenet(folder_root).training_batches(0, 3))
        (train / link).unlink()

    (train / "n01" / ".more").symlink_to("gone")  # what is hidden is left out
    (train / "n01" / "notes.txt").symlink_to("../n02/0.JPEG")
    assert imagenet(folder_root).count == 12


@pytest.mark.parametrize("name", ["val", "train", "imagenet", "imagenet/train"])
@pytest.mark.parametrize("loop", [True, False])
def test_a_part_that_leads_nowhere_is_told(folder_root, name, loop):
    """A test set would be none, or another tree be taken."""
    part = folder_root / name
    if part.exists():
        part.rename(folder_root / "away")
    part.parent.mkdir(exist_ok=True)
    part.symlink_to(part.name if loop else "gone")
    told = rf"/{name} cannot be read \((Too many|No such)[\w ]*\): make it readable"
    with pytest.raises(UsageError, match=told) as error:
        imagenet(folder_root)
    assert "\n" not in str(error.value)


def test_a_file_for_the_test_images_is_told(folder_root):
    (folder_root / "val").rename(folder_root / "away")
    (folder_root / "val").write_text("of one's own")
    with pytest.raises(UsageError, match=r"/val cannot be read \(Not a directory\): make it"):
        imagenet(folder_root)


@pytest.mark.parametrize("name", ["train", "train/n02", "val/n01"])
def test_a_folder_that_cannot_be_read_is_named(folder_root, monkeypatch, name):
    scandir = os.scandir

    def closed(path):
        if path == str(folder_root / name):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match=rf"{name} cannot be read \(Permission denied\)"):
        imagenet(folder_root)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no such name")
def test_an_image_whose_name_is_not_utf8_is_read_and_named(folder_root):
    before, streamed = imagenet(folder_root), list(imagenet(folder_root).training_batches(0, 3))
    name = os.fsencode(folder_root / "train" / "n02") + b"/5\xe9.JPEG"
    os.rename(folder_root / "train" / "n02" / "5.JPEG", name)
    again = imagenet(folder_root)
    assert same(streamed, again.training_batches(0, 3))
    assert before.provenance != again.provenance
    with open(name, "wb") as file:
        file.write(b"no image")
    with pytest.raises(UsageError, match=r"n02/5.{1,8}\.JPEG cannot be read as an image"):
        list(imagenet(folder_root).training_batches(0, 3))


def test_names_are_hashed_alike_in_every_locale(folder_root):
    os.rename(
        folder_root / "train" / "n02" / "5.JPEG", folder_root / "train" / "n02" / "\u00e9.JPEG"
    )
    program = f"""
from stationarity.data import folders
from pathlib import Path
print(folders.tree(Path({str(folder_root)!r}))[1])
"""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program]
    plain = subprocess.check_output(command, env=environment, text=True)
    assert plain.strip() == str(folders.tree(folder_root)[1])


def test_a_small_shared_memory_is_named(folder_root, monkeypatch):
    folder = imagenet(folder_root)
    killed = "DataLoader worker (pid 7) is killed by signal: "
    for reason, lack in (
        ("Bus error. It is possible that workers are out of shared memory.", "/dev/shm"),
        ("unable to write to file </torch_7_8_9>: No space left on device (28)", "/dev/shm"),
        ("Killed. ", "lack of memory"),
    ):

        def fail(*_, **__):
            raise RuntimeError(killed + reason)

        monkeypatch.setattr(folders, "DataLoader", fail)
        loader = type("Loader", (), {"__init__": lambda *_, **__: None, "__iter__": fail})
        monkeypatch.setattr(folders, "DataLoader", loader)
        with pytest.raises(UsageError, match=f"perhaps for .*{lack}.* goes on with it"):
            list(folder.training_batches(0, 3))
