"""Steps of the GPU day: runs at single-gpu, on the part of the data that ``pack`` writes.

They have the settings of the book, so that their records can be committed as they come.
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
DRY = {  # of the dry run, where the experiment has a setting other than 0
    "examples": 40, "classes": 4, "tokens": 2000, "epochs": 3, "drops": (1, 2), "width": 2,
    "blocks": (1, 1), "batch_size": 8, "measure_every": 3, "measure_batches": 2,
    "sharpness_batches": 1, "sharpness_products": 2, "followed_epochs": 1, "directions": 2,
    "direction_batches": 2, "direction_products": 4, "noise_batches": 2, "cutoffs": (),
    "segment": 8, "memory": 8, "steps_per_epoch": 2, "hidden": (4,), "members": 2,
    "stages": (24, 24, 24), "full_steps": 24, "learning_rates": (0.001,) * 4,
}  # fmt: skip
RECORDS = (  # experiments; of two with the same data the first needs the most of it
    "cifar10_resnet", "wikitext_transformer_xl", "imagenet_resnet", "two_clocks", "continued",
    "little_decay",
)  # fmt: skip


def shortened(step: str) -> dict:
    """Return what differs in a dry run from the experiment's settings at single-gpu."""
    usual = get(step, SCALE)
    small = {key: value for key, value in DRY.items() if getattr(usual, key, None)}
    if getattr(usual, "model", "") == "resnet101":
        small["model"] = "cifar_resnet"
    return small


def settings_of(step: str, dry: bool = False):
    """Return the settings of a step's run."""
    return get(step, SCALE, shortened(step) if dry else {})


def make(options, results) -> None:
    """Make a run, or go on with it, and record it in the folder to bring home."""
    name, chosen = options.step, settings_of(options.step, options.dry)
    line = ["run", name, "--scale", SCALE, "--device", "cpu" if options.dry else "cuda"]
    line += ["--data-root", str(options.data_root)] if options.data_root else []
    for key, value in shortened(name).items() if options.dry else ():
        line += ["--set", f"{key}={value}"]
    if status := command_line.main(line):
        sys.exit(status)
    run = records.read(launch.folder_of(name, SCALE, chosen))
    with mock.patch.object(book, "root", lambda: options.out / "home" / "records"):
        book.record(run, note(options, chosen.dataset))
    results.part("run seconds", lambda: run.info["wall_seconds"])


def note(options, dataset: str) -> str | None:
    """Return what the record says of its data: what ``pack`` noted, and the user's words."""
    root, packed = data.root_of(options.data_root), {}
    if root and (root / NOTE).exists():
        packed = json.loads((root / NOTE).read_text("utf-8"))
    return "; ".join(filter(None, [packed.get(dataset), options.note])) or None
