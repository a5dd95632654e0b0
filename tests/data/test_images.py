"""Small images to batches: keyed draws, augmentation, files of the user."""

import dataclasses
import hashlib
import io

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch
from PIL import Image
from stationarity import UsageError, data
from stationarity.data import embedded, images, parquet


def digits(**how):
    return data.load("digits", **({"batch_size": 64} | how))


def same(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_digits_are_embedded():
    images = digits()
    assert (images.count, images.classes, images.channels, images.size) == (1437, 10, 1, 8)
    everything = torch.cat([part for part, _ in images.partition()])
    assert everything.shape == (1437, 1, 8, 8)
    assert abs(everything.mean()) < 1e-5 and abs(everything.std() - 1) < 1e-3
    assert sum(len(labels) for _, labels in images.test_batches()) == 360


def test_digits_are_those_of_scikit_learn():
    known = sklearn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(known.target))
    pictures, labels = map(np.concatenate, zip(*embedded.digits().values(), strict=True))
    assert np.array_equal(labels, known.target[order])
    assert np.array_equal(pictures[..., 0], known.images[order] * 255 // 16)


def test_a_text_is_embedded():
    text = embedded.python_reference()
    assert len(text) > 400_000 and "lambda" in text
    hashes = {name: data.embedded_hash(name) for name in ("digits", "python-reference")}
    assert len(set(hashes.values())) == 2 and all(len(h) == 64 for h in hashes.values())
    assert data.embedded_hash("cifar10") is None


def test_an_epoch_holds_every_example_once():
    images = digits(batch_size=479)
    epoch, whole = (data.whole(b) for b in (images.training_batches(0, 3), images.partition()))
    assert len(torch.unique(epoch[0], dim=0)) == len(torch.unique(whole[0], dim=0))


def test_images_are_averaged_down_to_fewer_pixels():
    images = digits().partition()
    pixels, few = data.whole(images)[0].view(-1, 2, 4, 2, 4), data.whole(images, 2)[0]
    torch.testing.assert_close(few, pixels.mean((2, 4)).flatten(1))
    with pytest.raises(UsageError, match="8 pixels a side cannot be averaged down to 3"):
        data.whole(images, 3)


def test_any_batch_can_be_drawn_without_those_before_it():
    images = digits(crop_padding=4)
    assert same(list(images.training_batches(0, 50))[30:], images.training_batches(30, 50))
    draws = images.draws(4, "measure", 7)
    first = list(draws)
    list(images.draws(9, "other")), list(images.training_batches(3, 5))
    assert len(draws) == 4 and same(first, draws)
    assert not torch.equal(first[0][0], next(iter(images.draws(4, "measure", 8)))[0])


def test_independent_sampling_draws_without_replacement_within_a_batch():
    independent = digits(sampling="independent", batch_size=1437)
    (images, _), (again, _) = independent.training_batches(0, 2)
    assert not torch.equal(images, again)
    assert torch.allclose(images.sum(0), again.sum(0), atol=1e-2)


def test_crops_and_flips_are_slices_of_the_padded_image():
    """Each augmented image is one of the (2p+1)^2 crops, or one of their mirrors."""
    augmented, plain = digits(crop_padding=2, flip=True, batch_size=16), digits(batch_size=16)
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
        rows = [
            {"img": {"bytes": encoded(rng), "path": None}, "label": i % 10} for i in range(20)
        ]
        (tmp_path / "cifar10").mkdir(exist_ok=True)
        file = tmp_path / "cifar10" / f"{split}-00000-of-00001.parquet"
        pd.DataFrame(rows).to_parquet(file)
    return tmp_path


def cifar(root=None):
    return data.load("cifar10", batch_size=5, crop_padding=4, flip=True, data_root=root)


def test_cifar10_from_a_data_root(cifar_root, monkeypatch):
    local = cifar(cifar_root)
    assert (local.count, local.size, local.channels, local.classes) == (20, 32, 3, 10)
    file = cifar_root / "cifar10" / "train-00000-of-00001.parquet"
    hashes = local.provenance["sha256"]
    assert hashes.keys() == {file.name, "test-00000-of-00001.parquet"}
    assert hashes[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setenv("STATIONARITY_DATA", str(cifar_root))
    assert cifar().provenance == local.provenance
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"?" + content[-8:])
    assert parquet.sha256([file])[file] != hashes[file.name]  # remembered, until it changes


@pytest.fixture
def hub(cifar_root, serve, monkeypatch):
    """CIFAR-10 of twenty images a part, on a hub of this machine."""
    small = dataclasses.replace(parquet.CIFAR, rows={"train": 20, "test": 20})
    monkeypatch.setattr(parquet, "CIFAR", small)
    files = {f"plain_text/{f.name}": f.read_bytes() for f in cifar_root.glob("cifar10/*")}
    return serve("uoft-cs/cifar10", files | {"README.md": b"", "plain_text/more.bin": b"x"})


def test_cifar10_from_the_hub_equals_the_same_files(hub, cifar_root):
    local, loaded = cifar(cifar_root), cifar()
    assert same(local.training_batches(0, 4), loaded.training_batches(0, 4))
    assert loaded.provenance["sha256"] == local.provenance["sha256"]
    assert loaded.provenance["source"] == "Hugging Face hub, uoft-cs/cifar10"
    assert "SHA-256 against the hub's" in loaded.provenance["checked"]
    assert len(hub.sent) == 2  # and nothing that is not used
    cifar()
    assert len(hub.sent) == 2


def test_an_interrupted_download_goes_on(hub):
    hub.cut = 1
    with pytest.raises(UsageError, match="CIFAR-10 could not be downloaded .* call again") as e:
        cifar()
    assert "\n" not in str(e.value) and len(hub.sent) == 1
    hub.cut = None
    assert cifar().count == 20
    assert sorted(hub.sent) == sorted(set(hub.sent)) and len(hub.sent) == 2


def test_a_damaged_download_is_noticed_and_fetched_again(hub):
    """The same size, another byte: the hub's client does not look."""
    hub.harm = True
    with pytest.raises(UsageError, match="parquet of CIFAR-10 was damaged in the download"):
        cifar()
    hub.harm = False
    assert cifar().count == 20


def test_a_hub_with_other_rows_than_expected_is_refused(hub, monkeypatch):
    more = dataclasses.replace(parquet.CIFAR, rows={"train": 21, "test": 20})
    monkeypatch.setattr(parquet, "CIFAR", more)
    with pytest.raises(UsageError, match="has 20 rows in its train part, not 21"):
        cifar()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_dataset_says_what_to_do(serve, monkeypatch, status):
    hub = serve("ILSVRC/imagenet-1k", {"data/train-00000-of-00001.parquet": b"secret"})
    hub.refuse = status
    with pytest.raises(
        UsageError, match="ImageNet is a gated .* no token .* `hf auth login`"
    ) as e:
        data.load("imagenet", batch_size=4)
    assert "https://huggingface.co/datasets/ILSVRC/imagenet-1k" in str(e.value)
    monkeypatch.setenv("HF_TOKEN", "hf_never_to_be_seen")
    with pytest.raises(
        UsageError, match="refuses ImageNet to this token: accept the terms"
    ) as e:
        data.load("imagenet", batch_size=4)
    assert "never_to_be_seen" not in str(e.value) and "\n" not in str(e.value)


def test_a_damaged_image_or_file_is_named(cifar_root):
    file = cifar_root / "cifar10" / "train-00000-of-00001.parquet"
    table = pd.read_parquet(file)
    table.at[3, "img"] = {"bytes": b"not an image", "path": None}
    table.to_parquet(file)
    with pytest.raises(UsageError, match="Image 3 of CIFAR-10's train part cannot be read"):
        cifar(cifar_root)
    file.write_bytes(b"PAR1 truncated")
    with pytest.raises(UsageError, match="train-00000-of-00001.parquet is not a parquet file"):
        cifar(cifar_root)


def test_a_data_root_without_the_files_says_which_and_where_from(tmp_path):
    with pytest.raises(UsageError, match=r"train-\*.parquet .* https://huggingface.co"):
        cifar(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        cifar(tmp_path / "nowhere")
    with pytest.raises(
        UsageError, match="tree imagenet/train/<class>.* or train-.* its folder imagenet,"
    ):
        data.load("imagenet", batch_size=4, data_root=tmp_path)


@pytest.fixture
def tiny_root(tmp_path, monkeypatch):
    """Tiny ImageNet of four classes."""
    monkeypatch.setattr(parquet, "TINY", dataclasses.replace(parquet.TINY, classes=4))
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        rows = [
            {"image": {"bytes": encoded(rng, 64), "path": None}, "label": i % 4}
            for i in range(20)
        ]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    return tmp_path


def test_tiny_imagenet_and_its_first_classes(tiny_root):
    images = data.load("tiny-imagenet", batch_size=5, data_root=tiny_root)
    assert (images.count, images.size, images.classes, len(images.test)) == (20, 64, 4, 20)
    few = data.load("tiny-imagenet", batch_size=5, data_root=tiny_root, classes=2)
    assert (few.count, few.classes, len(few.test)) == (10, 2, 10)
    assert torch.equal(few.train, images.train[images.labels < 2])
    with pytest.raises(
        UsageError, match="classes is 9, and must be at most 4 for tiny-imagenet"
    ):
        data.load("tiny-imagenet", batch_size=5, data_root=tiny_root, classes=9)


def test_other_classes_or_sizes_than_the_data_set_s_are_named(tiny_root, monkeypatch):
    monkeypatch.setattr(parquet, "TINY", dataclasses.replace(parquet.TINY, size=32))
    with pytest.raises(
        UsageError, match=r"Image 0 of .* has \(64, 64\) pixels, and not \(32, 32\)"
    ):
        data.load("tiny-imagenet", batch_size=5, data_root=tiny_root)
    monkeypatch.setattr(parquet, "TINY", dataclasses.replace(parquet.TINY, classes=200))
    with pytest.raises(
        UsageError, match="train part has 4 classes, 0 to 3, in .*, and not 0 to 199: get all"
    ):
        data.load("tiny-imagenet", batch_size=5, data_root=tiny_root)


def test_digits_have_fewer_classes_where_told():
    images = digits(classes=3)
    assert images.classes == 3 and int(images.test_labels.max()) == 2
    mean = images.train.double().mean()
    assert np.isclose(float(images.mean), mean)
    assert np.isclose(float(images.std), images.train.double().std(correction=0))


def test_unknown_names_have_a_hint():
    with pytest.raises(UsageError, match="Did you mean 'cifar10'"):
        data.load("cifar", batch_size=4)
    with pytest.raises(UsageError, match="Unknown text 'digits'"):
        data.load_text("digits", batch_size=4, segment=8)


def test_more_than_the_data_hold_is_refused():
    with pytest.raises(UsageError, match="2000 is larger than the data: digits has 1437"):
        digits(batch_size=2000)
    with pytest.raises(UsageError, match="1437 training examples here, and not 1438: lower"):
        data.load("digits", batch_size=32, examples=1438)
    assert data.load("digits", batch_size=32, examples=1437).count == 1437


# --- cells that are no images or labels -------------------------------------------------


def reject(message, root):
    with pytest.raises(UsageError, match=message) as error:
        cifar(root)
    assert "\n" not in str(error.value)


CELLS = {
    "a null image": ("img", lambda x, _: x.mask(x.index == 3), r"19 of its 20 rows hold img\)"),
    "an image without bytes": (
        "img", lambda img, _: [{"path": f"{i}.png", "bytes": None} for i in img.index],
        r"0 of its 20 rows hold img\)",
    ),
    "images that are paths": ("img", lambda img, _: "a.png", "img and label .*struct_field"),
    "a null label": ("label", lambda _, y: y.mask(y.index == 3), r"19 .* 20 rows hold label\)"),
    "words": ("label", lambda _, y: [f"cat{i}" for i in y], "labels are no numbers, .*string"),
    "digits": ("label", lambda _, y: [str(i) for i in y], "labels are no numbers, .*string"),
    "bytes": ("label", lambda _, y: [b"%d" % i for i in y], "labels are no numbers, .*binary"),
    "names": ("label", lambda _, y: y.astype(str).astype("category"), "but dictionary<values="),
    "broken numbers": ("label", lambda _, y: y + 0.5, "Float value 0.50* was truncated"),
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_cells_that_are_no_images_or_labels_are_named(cifar_root, case, split):
    column, change, message = CELLS[case]
    file = cifar_root / "cifar10" / f"{split}-00000-of-00001.parquet"
    table = pd.read_parquet(file)
    table[column] = change(table["img"], table["label"])
    table.to_parquet(file)
    reject(f"{file.name} is not a parquet file of whole columns .*{message}", cifar_root)


def test_a_part_without_rows_or_with_labels_of_no_class_is_named(cifar_root):
    for split in ("train", "test"):
        file = cifar_root / "cifar10" / f"{split}-00000-of-00001.parquet"
        content, table = file.read_bytes(), pd.read_parquet(file)
        table[:0].to_parquet(file)
        reject(
            rf"{file.name} is not .* \(0 of its 0 rows hold img\): fetch it again", cifar_root
        )
        for label in (-1, 77):
            table.at[3, "label"] = label
            table.to_parquet(file)
            reject(
                rf"CIFAR-10's {split} part has 11 classes, .*{label}.*, and not 0 to 9: get",
                cifar_root,
            )
        file.write_bytes(content)
    assert cifar(cifar_root).count == 20


def test_shards_whose_types_differ_are_one_set(cifar_root):
    before = cifar(cifar_root)
    shards(cifar_root, "train-1of2.parquet", "train-2of2.parquet")
    file = cifar_root / "cifar10" / "train-2of2.parquet"
    table = pd.read_parquet(file)
    table["label"] = table["label"].astype(np.int8)
    table["img"] = [cell | {"path": "a.png"} for cell in table["img"]]
    table.to_parquet(file)
    assert same(cifar(cifar_root).training_batches(0, 4), before.training_batches(0, 4))


# --- files that are not one whole set -----------------------------------------------


def shards(root, *names):
    """Lay the twenty training images of CIFAR-10 into files of these names, ten in each."""
    whole = root / "cifar10" / "train-00000-of-00001.parquet"
    table = pd.read_parquet(whole)
    whole.unlink()
    for k, name in enumerate(names):
        table[10 * (k % 2) : 10 * (k % 2) + 10].to_parquet(root / "cifar10" / name)


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
        (
            "train-00000-of-00002-0123456789abcdef.parquet",
            "train-00001-of-00002-fedcba9876543210.parquet",
        ),
        ("train-00000-of-00002.v1.parquet", "train-00001-of-00002.v1.parquet"),
        ("train-00000-Of-00002-2024-01-07.parquet", "train-00001-Of-00002-2024-01-07.parquet"),
        ("train-1of2.parquet", "train-2of2.parquet"),
        ("train-0_of_2.parquet", "train-1_of_2.parquet"),
        ("train-a.parquet", "train-b.parquet"),  # one's own
        ("train-part-9.parquet", "train-part-10.parquet"),
        ("train-of all images (1).parquet",),
    ],
)
def test_files_of_one_set_are_taken_together(cifar_root, names):
    shards(cifar_root, *names)
    assert cifar(cifar_root).count == 10 * len(names)


NOT_WHOLE = {
    "a shard is missing": (
        ("train-00001-of-00002.parquet",),
        r"lacks train-00000-of-00002\*.parquet in .*cifar10: get all its files from https",
    ),
    "a shard of one's own is missing": (("train-1of2.parquet",), r"lacks train-2of2\*.parquet"),
    "a shard is missing, with other signs": (
        ("train-00000_of_00002.parquet",), r"lacks train-00001_of_00002\*.parquet"
    ),
    "most shards are missing": (("train-0-OF-99999999999.parquet",), "lacks train-1-OF-9"),
    "a copy of a shard, alone": (
        ("train-00000-of-00002 (1).parquet",), r"train-00000-of-00002 \(1\).parquet is by its"
    ),
    "no such count": (("train-00000-of-00000.parquet",), "train-00000-of-00000.parquet is by"),
    "a number beyond the count": (
        ("train-0-of-2.parquet", "train-1-of-2.parquet", "train-2-of-2.parquet"),
        "train-2-of-2.parquet is by its name no part of one set with train-1-of-2.parquet",
    ),
    "two revisions": (
        ("train-00000-of-00001.parquet", "train-00001-of-00002.parquet",
         "train-00000-of-00002.parquet"),
        "train-00000-of-00002.parquet is by its name no part of .*1.parquet beside it: keep",
    ),
    "two revisions of one name": (
        ("train-00000-of-00001-aaaaaaaaaaaaaaaa.parquet", "train-00000-of-00001.parquet"),
        "train-00000-of-00001.parquet is by its name no part of one set with .*a.parquet",
    ),
    "two revisions of a shard": (
        ("train-00000-of-00002.v1.parquet", "train-00000-of-00002.v2.parquet"),
        "00002.v2.parquet is by its name no part of one set with .*00002.v1.parquet",
    ),
    "a shard each of two revisions": (
        ("train-00000-of-00002-v1.parquet", "train-00001-of-00002-v2.parquet"),
        "00002-v2.parquet is by its name no part of one set with .*00002-v1.parquet",
    ),
    "a shard with the hub's hash and one without": (
        ("train-00000-of-00002.parquet", "train-00001-of-00002-0123456789abcdef.parquet"),
        "cdef.parquet is by its name no part of one set with .*of-00002.parquet",
    ),
    "a count without a number": (("train-half-of-2.parquet",), "train-half-of-2.parquet is by"),
    "two counts": (
        ("train-1-of-1-00000-of-00002.parquet",), "1-00000-of-00002.parquet is by its name"
    ),
    "two ways of naming": (
        ("train-00000-of-00001.parquet", "train-all.parquet"),
        "train-all.parquet is by its name no part of one set",
    ),
    "two ways of counting": (("train-1.parquet", "train-01.parquet"), "train-1.parquet is by"),
    "two versions": (
        ("train-v1-0.parquet", "train-v2-0.parquet"), "train-v2-0.parquet .* train-v1-0.parquet"
    ),
    "a number is missing": (
        ("train-part-08.parquet", "train-part-10.parquet"), r"lacks train-part-09\*.parquet"
    ),
    "a letter is missing": (
        ("train-a.parquet", "train-c.parquet"),
        r"lacks train-b\*.parquet .*where it is whole, number them as in -00000-of-00002\.$",
    ),
    "two unlike names": (("train-full.parquet", "train-old.parquet"), "train-full.* train-old"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_WHOLE)
def test_files_that_are_not_one_whole_set_are_refused(cifar_root, case):
    names, message = NOT_WHOLE[case]
    shards(cifar_root, *names)
    with pytest.raises(UsageError, match=message) as error:
        cifar(cifar_root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("between", ["-of-", "-Of-", "of", "_OF_", "-out-of-"])
@pytest.mark.parametrize(
    "end",
    ["", ".1", "_1", ".v2", "_v2", "-a1b2-c3d4", "-2024-01-07", "-rev-a1", "-x-a", "v1", "-a",
     "-0123456789abcdef", "-6c84fb90-12c4-11e1-840d-7b25c5ee7751", ".snappy"],
)  # fmt: skip
def test_a_shard_alone_is_no_whole_set_however_its_name_ends(cifar_root, between, end):
    shards(cifar_root, f"train-00000{between}00002{end}.parquet")
    with pytest.raises(UsageError, match=rf"lacks train-00001{between}00002\*\.parquet in"):
        cifar(cifar_root)


COPIES = [  # as file managers, browsers and people name them
    "{} (1)", "{}(1)", "{} copy", "{} copy 2", "{} 2", "{} - Copy", "{} - Copy (2)",
    "{} (copy)", "{} (another copy)", "{} - Kopie", "{} - Copie", "{} - copia", "{} - コピー",
    "{} - 副本", "{}.1", "{}-1", "{}_1", "{}_copy", "{}-copy", "{}~", "{}.orig", "{} [1]",
]  # fmt: skip


@pytest.mark.parametrize("name", ["train-a", "train-full", "train-1", "train-00000-of-00001"])
def test_a_copy_of_other_bytes_is_refused_whatever_its_name(cifar_root, name):
    shards(cifar_root, f"{name}.parquet")
    for copy in COPIES:
        file = cifar_root / "cifar10" / f"{copy.format(name)}.parquet"
        file.write_bytes(b"other bytes")
        with pytest.raises(UsageError, match="no part of one set.* beside it: keep") as error:
            cifar(cifar_root)
        assert file.name in str(error.value) and f"{name}.parquet" in str(error.value)
        file.unlink()


@pytest.mark.parametrize("copy", ["train-c.parquet", "test-00000-of-00001.parquet"])
def test_a_copy_under_another_name_is_told(cifar_root, copy):
    """Of equal size and content; files of other content may be as large."""
    shards(cifar_root, "train-a.parquet", "train-b.parquet")
    (cifar_root / "cifar10" / copy).write_bytes(
        (cifar_root / "cifar10" / "train-a.parquet").read_bytes()
    )
    with pytest.raises(
        UsageError, match=r"is a copy of .*\.parquet beside it.*keep one"
    ) as told:
        cifar(cifar_root)
    assert "train-a.parquet" in str(told.value) and copy in str(told.value)


@pytest.mark.parametrize("knows", [True, False])
def test_a_partial_snapshot_says_go_online(hub, monkeypatch, cifar_root, knows):
    """Offline, a client that does not know what there should be returns what there is."""
    shards(cifar_root, "train-00000-of-00002.parquet", "train-00001-of-00002.parquet")
    hub.files = {f"plain_text/{f.name}": f.read_bytes() for f in cifar_root.glob("cifar10/*")}
    assert cifar().count == 20
    (snapshot,) = cifar_root.glob("hub/*/snapshots/*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    if not knows:
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: snapshot)
    assert cifar().count == 20
    for part in ("train-00001", "test"):
        next(snapshot.glob(f"*/{part}*")).unlink()
        with pytest.raises(
            UsageError, match=f"{part[-5:]}.* go online and call again"
        ) as error:
            cifar()
        assert "revision of" not in str(error.value)


def test_a_parquet_file_that_cannot_be_read_is_named(cifar_root):
    file = cifar_root / "cifar10" / "train-00000-of-00001.parquet"
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match="of-00001.parquet cannot be read .Is a directory"):
        cifar(cifar_root)
    file.rmdir()
    file.symlink_to("gone")
    with pytest.raises(UsageError, match="of-00001.parquet cannot be read .No such file"):
        cifar(cifar_root)


# --- images that are not of eight bits ------------------------------------------------


def of_kind(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind, type_", [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_sixteen_bits_become_eight(kind, type_):
    grey = np.linspace(0, 65535, 64 * 64).round().astype(type_).reshape(64, 64)
    image = np.asarray(images.decode(of_kind(grey, kind), "x", 64))
    assert image.shape == (64, 64, 3) and np.array_equal(image[..., 0], grey >> 8)


@pytest.mark.parametrize("scale", [65535, 1023])
def test_a_grey_map_of_sixteen_bits_becomes_eight(scale):
    grey = np.linspace(0, scale, 64 * 64).round().astype(">u2").reshape(64, 64)
    data = b"P5 64 64 %d\n" % scale + grey.tobytes()
    image = np.asarray(images.decode(data, "a/b.pgm", 64))[..., 0]
    assert np.array_equal(image, (grey * (65535 / scale)).round().astype(int) >> 8)


@pytest.mark.parametrize("type_", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(type_):
    data = of_kind(np.ones((4, 4), type_), "TIFF")
    with pytest.raises(UsageError, match=r"^a/b.tif cannot be read .* not of 8 or 16 bits"):
        images.decode(data, "a/b.tif")


def test_an_image_too_large_or_damaged_in_any_way_is_named(monkeypatch):
    data = of_kind(np.zeros((64, 64, 3), np.uint8), "PNG")
    for error in (IndexError("?"), EOFError("?"), OverflowError("?")):

        def fail(*_):
            raise error

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(UsageError, match=r"^a/b.png cannot be read as an image"):
            images.decode(data, "a/b.png")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UsageError, match=r"^a/b.png cannot be read as an image .*4096 pixels"):
        images.decode(data, "a/b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # twice as many it would but warn of
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(
            UsageError, match=r"^a/b.png cannot .*64, 64. pixels, above Pillow's MAX"
        ),
    ):
        images.decode(data, "a/b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert images.decode(data, "a/b.png").size == (64, 64)
