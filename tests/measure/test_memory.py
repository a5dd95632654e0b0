"""What is freed while measuring or training is kept, and afterwards given back."""

import platform
import subprocess
import sys

import pytest
import torch
from stationarity.measure import memory
from stationarity.measure.memory import kept_memory, spare_memory

TOLD = """
import resource
import torch
from stationarity import measure
from stationarity.measure import memory
from stationarity.measure.memory import kept_memory

def given_anew():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(2**21).fill_(1) for _ in range(16)]  # 128 MB
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def objective(model, batch):
    seen.append(given_anew())
    return model.weight.square().sum()

print((given_anew(), given_anew())[1])
with kept_memory():
    with kept_memory():
        given_anew()
    print(given_anew())
print((given_anew(), given_anew())[1])
seen = []
measure.sharpness(torch.nn.Linear(2, 1), objective, [0] * 3)
print(seen[-1])
print((given_anew(), given_anew())[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_given_once_while_memory_is_kept_and_anew_afterwards():
    """Afterwards 64 MB stay, as always."""
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True)
    anew, kept, after, measured, then = map(int, done.stdout.split())
    assert min(anew, after, then) > 2**13 > 2**8 > max(kept, measured)


def test_an_error_inside_ends_the_keeping():
    with pytest.raises(KeyError), kept_memory():
        assert memory.KEEPING
        raise KeyError
    assert not memory.KEEPING


def test_another_c_library_keeps_nothing(monkeypatch):
    monkeypatch.setattr(memory, "GLIBC", None)
    with kept_memory():
        assert not memory.KEEPING


def test_some_memory_is_free():
    assert spare_memory(torch.device("cpu")) > 0
