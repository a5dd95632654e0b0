"""Memory of watching, above what the training takes itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import stationarity
import torch
from torch import nn

RESET = Path("/proc/self/clear_refs")
WIDTH, LAYERS = 2900, 2  # tensors beyond 32 MiB, which malloc gives back when they are freed

GRADIENT = 4 * LAYERS * WIDTH**2  # bytes


def objective(model, batch):
    return model(batch).square().mean()


class Wide:
    """A training of a wide net, whose peak of memory is told."""

    def __init__(self, width=WIDTH):
        self.draw = lambda step, count: [torch.randn(8, width) for _ in range(count)]
        self.model = nn.Sequential(
            *(nn.Linear(width, width, bias=False) for _ in range(LAYERS))
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, momentum=0.9)

    def alone(self, note=lambda batch, loss: None):
        for batch in self.draw(0, 9):  # a sketch comes with the eighth
            self.optimizer.zero_grad()
            loss = objective(self.model, batch)
            loss.backward()
            self.optimizer.step()
            note(batch, loss)

    def watched(self, root, every):
        how = {"root": root, "every": every, "measure_batches": 4, "sharpness": False}
        watch = stationarity.watch(self.model, objective, self.optimizer, self.draw, **how)
        with watch:
            watch.taken = 1  # no first measurement
            self.alone(watch.step)


def peak(run, *given) -> float:
    """Return the highest memory of the process while a function runs, in gradients.

    Of two times the highest: a system may take unused memory away meanwhile.
    """
    seen = []
    for _ in range(2):
        RESET.write_text("5", encoding="utf-8")
        run(*given)
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        (line,) = [line for line in status if line.startswith("VmHWM")]
        seen.append(1024 * int(line.split()[1]) / GRADIENT)
    return max(seen)


@pytest.mark.skipif(not RESET.exists(), reason="Linux alone tells a peak from here on")
def test_notes_and_measurements_take_a_gradients_memory_without_curvature(tmp_path):
    # In a process of its own: memory that other tests have freed would hide a peak.
    said = subprocess.check_output([sys.executable, __file__, tmp_path], text=True)
    alone, noting, measuring = map(float, said.split())
    noting, measuring = noting - alone, measuring - alone
    fixed = 30e6 / GRADIENT  # what does not grow with the net
    tensor = 1 / LAYERS  # the gradient of a tensor, which a measurement has in hand
    assert 0.9 < noting < 1 + fixed and noting < measuring < 1 + tensor + fixed


if __name__ == "__main__":
    torch.set_num_threads(1)
    (folder,) = sys.argv[1:]
    Wide(8).watched(folder, 5)  # so that all is imported
    wide = Wide()
    wide.alone()
    print(peak(wide.alone), *(peak(wide.watched, folder, every) for every in (100, 5)))
