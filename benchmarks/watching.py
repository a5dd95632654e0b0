"""Cost of watching a training: of each step, of a measurement, and its memory.

    python benchmarks/watching.py [--only PART ...] [--turns 7]

memory: the peak above a training's own, in gradients, of a net of 100 million parameters
whose curvature is left out (at most 2).
steps: what ``watch.step`` adds to a step of a ResNet-18 on images of CIFAR-10's size (batch
128, SGD) and of a GPT of 10 million parameters (16 texts of 256 tokens, AdamW), on the CPU
(at most 1 % each). Turns of a step and of its noting; medians of turns; CPU time of one
thread, so that a ratio survives a busy machine.
measuring: the time of a measurement, and so the interval at which all measurements take 4 %.
share: the share of the time that watching takes of a small net's training for five minutes, at
the interval that it chooses (of measuring at most 0.04; noting is more of so small a step).

About ten minutes on a free core.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

import stationarity
import torch
from stationarity.measure import cross_entropy
from stationarity.nets.resnets import CifarResNet
from torch import nn
from torch.nn import functional

LARGE = 100_000_000  # parameters of the part on memory


class GPT(nn.Module):
    """A small GPT: as many parameters as its widths say, the vocabulary's tied."""

    def __init__(self, width=384, layers=6, heads=6, vocabulary=256, context=256):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        how = {"dropout": 0.1, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, **how) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        found = self.tokens(tokens) + self.places.weight[:length]
        for layer in self.layers:
            found = layer(found, src_mask=mask, is_causal=True)
        return self.norm(found) @ self.tokens.weight.T


def next_token(model, tokens):
    logits = model(tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def images(step, count):
    return [(torch.randn(128, 3, 32, 32), torch.randint(10, (128,))) for _ in range(count)]


def texts(step, count):
    return [torch.randint(256, (16, 257)) for _ in range(count)]


def cases():
    resnet, gpt = CifarResNet(), GPT()
    sgd = torch.optim.SGD(resnet.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    adamw = torch.optim.AdamW(gpt.parameters(), 1e-4)
    yield "ResNet-18, batch 128, SGD", resnet, cross_entropy, sgd, images
    yield "GPT, 16 texts of 256 tokens, AdamW", gpt, next_token, adamw, texts


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def seconds(function) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def one_step(model, objective, optimizer, batch):
    optimizer.zero_grad()
    loss = objective(model, batch)
    loss.backward()
    optimizer.step()
    return loss


def costs(turns: int, measured: bool) -> None:
    print("2. what watching adds to a step, and what a measurement takes (16 batches)")
    for name, model, objective, optimizer, batches in cases():
        with tempfile.TemporaryDirectory() as folder:
            how = {"root": folder, "every": 10**9}
            watch = stationarity.watch(model, objective, optimizer, batches, **how)
            watch.taken = 1  # no first measurement
            (batch,) = batches(0, 1)
            steps, notes = [], []
            for turn in range(8 * turns):  # a sketch comes with every eighth
                if turn % 8 < 2:
                    loss = one_step(model, objective, optimizer, batch)
                    steps.append(seconds(lambda: one_step(model, objective, optimizer, batch)))
                optimizer.step()
                notes.append(seconds(lambda: watch.step(batch, loss)))
            whole = sum(median(notes[turn::8]) for turn in range(8)) / 8
            plain = median(steps)
            print(f"   {name}, {count(model) / 1e6:.1f} M parameters: step {plain:.3f} s,")
            print(f"      noting {1e3 * whole:.2f} ms, {100 * whole / plain:.2f} %")
            if measured:
                spent = seconds(watch._measure)
                products = watch.close().series("sharpness_products").value.iloc[-1]
                ratio = spent / plain
                print(f"      a measurement {spent:.1f} s = {ratio:.0f} steps, with")
                print(f"      {products:.0f} products; 4 % of the time: every {25 * ratio:.0f}")


def share(length: float = 300.0) -> None:
    print(f"3. share of the time of {length:.0f} s of training, at the interval chosen")
    model = CifarResNet(8, (1, 1, 1, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    with tempfile.TemporaryDirectory() as folder:
        train_wide(8, watched=True)  # so that all is imported
        how = {"root": folder, "measure_batches": 4, "sharpness_batches": 1}

        def few(step, count):
            return [
                (torch.randn(32, 3, 32, 32), torch.randint(10, (32,))) for _ in range(count)
            ]

        (batch,), begin, own = few(0, 1), time.perf_counter(), 0.0
        watch = stationarity.watch(model, cross_entropy, optimizer, few, **how)
        while (whole := time.perf_counter() - begin) < length:
            loss = one_step(model, cross_entropy, optimizer, batch)
            noted = time.perf_counter()
            watch.step(batch, loss)
            own += time.perf_counter() - noted
        pace = watch.pace
        print(f"   {watch.taken} steps, {pace.measured} measurements of {pace.latest:.2f} s:")
        print(
            f"   {100 * own / whole:.1f} % in all, {100 * pace.spent / whole:.1f} % measuring"
        )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> None:
    print(f"1. memory of watching {LARGE / 1e6:.0f} M parameters, curvature left out")
    found = {}
    for kind in ("alone", "watched"):
        line = [sys.executable, __file__, "--peak", kind]
        found[kind] = int(subprocess.check_output(line, text=True))
    extra = (found["watched"] - found["alone"]) / (4 * LARGE)
    print(f"   alone {found['alone'] / 1e9:.2f} GB, watched {found['watched'] / 1e9:.2f} GB:")
    print(f"   {extra:.2f} gradients more")


def square(model, batch):
    return model(batch).square().mean()


def train_wide(width: int, watched: bool) -> None:
    """Train a few steps of a wide net, alone or watched."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(4)))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)

    def draw(step, count):
        return [torch.randn(8, width) for _ in range(count)]

    with tempfile.TemporaryDirectory() as folder:
        how = {"root": folder, "every": 2, "measure_batches": 4, "sharpness": False}
        watch = None
        if watched:
            watch = stationarity.watch(model, square, optimizer, draw, **how)
        for batch in draw(0, 3):
            loss = one_step(model, square, optimizer, batch)
            if watch:
                watch.step(batch, loss)


def print_peak(kind: str) -> None:
    train_wide(8, watched=True)  # so that all is imported
    train_wide(int((LARGE / 4) ** 0.5), kind == "watched")
    print(peak())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["memory", "steps", "measuring", "share"])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--peak", choices=("alone", "watched"))
    options = parser.parse_args()
    if options.peak:
        return print_peak(options.peak)
    torch.set_num_threads(1)
    if "memory" in options.only:  # first: a process inherits the peak of who starts it
        memory()
    if {"steps", "measuring"} & {*options.only}:
        costs(options.turns, "measuring" in options.only)
    return share() if "share" in options.only else None


if __name__ == "__main__":
    main()
