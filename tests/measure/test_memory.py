"""What is freed while measuring or training is kept, and afterwards given back."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stationarity.measure import memory
from stationarity.measure.memory import kept_memory, spare_memory

TOLD = """
import resource
import torch
PAGES = 2**27 // resource.getpagesize()
from stationarity import measure
from stationarity.measure.memory import kept_memory

def given_anew(blocks=16):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(2**25 // blocks).fill_(1) for _ in range(blocks)]  # 128 MB
    del blocks
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / PAGES

def objective(model, batch):
    seen.append(given_anew())
    return model.weight.square().sum()

print((given_anew(), given_anew())[1])
with kept_memory():
    with kept_memory():
        given_anew()
    print(given_anew())
    print(min(given_anew(2) for _ in range(5)))  # the heap may have to grow first
print(given_anew())
seen = []
measure.sharpness(torch.nn.Linear(2, 1), objective, [0] * 3)
print(seen[-1])
print(given_anew())
"""


def huge_pages() -> bool:
    """Say whether the system gives large pages to all: then few are given anew."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.exists() and "[always]" in path.read_text()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.skipif(huge_pages(), reason="pages are large")
def test_pages_are_given_once_while_memory_is_kept_and_anew_afterwards():
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    anew, kept, large, after, measured, then = map(float, done.stdout.split())
    assert anew > 0.9
    assert min(after, then) > 0.5
    assert max(kept, measured) < 0.2
    assert large < 0.2 or tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 36)


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
