"""Steps of the GPU day: runs at single-gpu, on the part of the data that ``pack`` writes.

The way of a step is set: to try compiled ones would take a minute of each run.
"""

import json
import sys
from unittest import mock

from stationarity import __main__ as command_line
from stationarity import data, launch
from stationarity.book import results as book
from stationarity.runs import records
from stationarity.runs.settings import get

SCALE = "single-gpu"
NOTE = "pack.json"  # in a data root: what each dataset is a part of
TEXT = dict(
    tokens=2_000_000, batch_size=20, epochs=40, steps_per_epoch=200, drops=(16, 28),
    precision="bfloat16", measure_every=2,
)  # fmt: skip
TINY = dict(classes=25, examples=6250, weight_decay=0.0104)  # half as long
CONTROL = TINY | dict(weight_decay=TINY["weight_decay"] / 25)
CONTINUED = dict(
    examples=20_000, epochs=60, followed_epochs=30, precision="bfloat16", measure_batches=20,
    direction_batches=5, noise_batches=100,
)  # fmt: skip
DRY = {  # of the dry run, where the experiment has a setting other than 0
    "examples": 40, "classes": 4, "tokens": 2000, "epochs": 3, "drops": (1, 2), "width": 2,
    "blocks": (1, 1), "batch_size": 8, "measure_every": 3, "measure_batches": 2,
    "sharpness_batches": 1, "sharpness_products": 2, "followed_epochs": 1, "directions": 2,
    "direction_batches": 2, "direction_products": 4, "noise_batches": 2, "cutoffs": (),
    "segment": 8, "memory": 8, "steps_per_epoch": 2, "hidden": (4,), "members": 2,
    "stages": (24, 24, 24), "full_steps": 24,
}  # fmt: skip


RECORDS = {  # a step's experiment, and what differs from its settings at single-gpu
    "cifar10_resnet": ("cifar10_resnet", {}),
    "imagenet_resnet": ("imagenet_resnet", TINY),
    "wikitext": ("wikitext_transformer_xl", TEXT),
    "continued": ("continued", CONTINUED),
    "two_clocks": ("two_clocks", {}),
    "little_decay": ("little_decay", CONTROL),
}


def changes_of(step: str, dry: bool = False) -> dict:
    """Return what differs from the experiment's settings at single-gpu."""
    name, changes = RECORDS[step]
    usual = get(name, SCALE, changes)
    small = {key: value for key, value in DRY.items() if getattr(usual, key, None)}
    if getattr(usual, "model", "") == "resnet101":
        small["model"] = "resnet18"
    return changes | small if dry else changes


def settings_of(step: str, dry: bool = False):
    """Return the settings of a step's run."""
    return get(RECORDS[step][0], SCALE, changes_of(step, dry))


def make(options, results) -> None:
    """Make a run, or go on with it, and record it in the folder to bring home."""
    name, chosen = RECORDS[options.step][0], settings_of(options.step, options.dry)
    line = ["run", name, "--scale", SCALE, "--device", "cpu" if options.dry else "cuda"]
    line += ["--data-root", str(options.data_root)] if options.data_root else []
    for key, value in changes_of(options.step, options.dry).items():
        line += ["--set", f"{key}={value}"]
    if status := command_line.main(line):
        sys.exit(status)
    run = records.read(launch.folder_of(name, SCALE, chosen))
    with mock.patch.object(book, "root", lambda: options.out / "home" / "records"):
        book.record(run, note(options, chosen.dataset))
    results.part("run seconds", lambda: run.info["wall_seconds"])
    results.part("differs", lambda: book.stale(run))


def note(options, dataset: str) -> str | None:
    """Return what the record says of its data: what ``pack`` noted, and the user's words."""
    root, packed = data.root_of(options.data_root), {}
    if root and (root / NOTE).exists():
        packed = json.loads((root / NOTE).read_text("utf-8"))
    return "; ".join(filter(None, [packed.get(dataset), options.note])) or None
