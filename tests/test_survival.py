"""Runs that survive: killed or interrupted at any moment, they end as if they were not."""

import os
import random
import signal

import pandas as pd
import pytest
import stationarity
import torch
from sittings import calls, command, printed, run, sitting, steps_taken
from stationarity import UsageError, checkpoints, experiments, launch, records

IMAGES = {
    "examples": 96, "width": 4, "blocks": (1,), "epochs": 4, "batch_size": 32,
    "drops": (2, 3), "measure_every": 2, "measure_batches": 3, "sharpness_batches": 1,
    "sharpness_products": 4, "observe_every": 2,
}  # fmt: skip
TEXT = {
    "tokens": 2000, "layers": 1, "width": 8, "heads": 2, "head_width": 4,
    "inner_width": 8, "segment": 8, "memory": 8, "batch_size": 4, "steps_per_epoch": 4,
    "epochs": 3, "drops": (1, 2), "measure_batches": 3, "measure_context": 2,
    "sharpness_batches": 1, "sharpness_products": 4,
}  # fmt: skip
SETTLING = {
    "examples": 64, "hidden": (5,), "steps": 30, "drops": (12, 20), "members": 2,
    "batch_size": 16, "record_every": 4, "measure_every": 3,
}  # fmt: skip
KILLED = {  # experiment, settings, steps
    "images": ("imagenet_resnet", IMAGES, 12),
    "images, Adam": ("imagenet_resnet", IMAGES | {"optimizer": "adam"}, 12),
    "images, bfloat16": ("imagenet_resnet", IMAGES | {"precision": "bfloat16"}, 12),
    "images, independent": ("imagenet_resnet", IMAGES | {"sampling": "independent"}, 12),
    "text": ("wikitext_transformer_xl", TEXT, 12),
    "text, dropout": ("wikitext_transformer_xl", TEXT | {"dropout": 0.2}, 12),
    "study": ("settling", SETTLING, 30),
}
KILLS = 3  # of each


def the_run(folder):
    (found,) = folder.glob("*/*/run.json")
    return records.read(found.parent)


def assert_equal(one, other):
    """Two complete runs have equal metrics and, where they left any, equal weights."""
    assert one.complete and other.complete
    pd.testing.assert_frame_equal(one.metrics, other.metrics, check_exact=True)
    weights = [records.read_checkpoint(run.folder) for run in (one, other)]
    if weights[0]:
        (these, those) = (checkpoint["model"] for checkpoint in weights)
        assert all(torch.equal(these[name], those[name]) for name in these)


@pytest.mark.parametrize("case", KILLED)
def test_a_run_killed_at_random_moments_ends_as_if_it_was_not(case, tmp_path):
    name, settings, steps = KILLED[case]
    whole = tmp_path / "whole"
    assert sitting(run, whole, name=name, settings=settings) == 0, printed(whole)
    assert steps_taken(whole) == steps
    chance, killed = random.Random(case), 0
    while killed < KILLS:
        folder, before = tmp_path / str(killed), killed
        moment = (None, chance.randrange(calls(whole)))
        while (status := sitting(run, folder, moment, name=name, settings=settings)) != 0:
            assert status == -signal.SIGKILL, printed(folder)
            killed += 1
            moment = (None, chance.randrange(calls(whole)))
        assert_equal(the_run(folder), the_run(whole))
        assert steps_taken(folder) <= steps + killed - before  # one a kill is repeated
