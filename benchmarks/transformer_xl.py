"""Speed of training the Transformer-XL beside an encoder without relative positions.

    python benchmarks/transformer_xl.py [--rounds 9] [--only SIZE ...]

The reference is PyTorch's ``nn.TransformerEncoder`` of the same width, heads,
inner width and number of layers, on segments as long as our memory and segment
together, with a causal mask: each of its tokens is scored against as many keys as
each of ours. It has half as many segments, so both learn from the same number of
tokens a step. Embedding and softmax are ours in both.
Steps (forward, backward, Adam) are interleaved and their medians divided, so the
ratio survives a busy machine. Also: the same attention by PyTorch's fused kernel.
"""

import argparse
import math
import time
from statistics import median

import torch
from stationarity.nets import transformer_xl
from stationarity.nets.transformer_xl import AdaptiveVocabulary, TransformerXL
from torch import nn
from torch.nn import functional

FLOOR = 0.7  # of the encoder's tokens a second
# The width of a head is width / heads: the encoder knows no other.
SIZES = {
    "classroom": {
        "vocabulary": 104, "layers": 2, "width": 32, "heads": 2, "inner_width": 64,
        "length": 32, "batch_size": 16,
    },
    "two-cores": {
        "vocabulary": 20000, "layers": 2, "width": 64, "heads": 4, "inner_width": 256,
        "length": 32, "batch_size": 16, "cutoffs": (2000, 8000),
    },
    "paper, 2 of 12 layers": {
        "vocabulary": 20000, "layers": 2, "width": 410, "heads": 10, "inner_width": 2100,
        "length": 150, "batch_size": 4, "cutoffs": (2000, 8000),
    },
}  # fmt: skip


class Encoder(nn.Module):
    """Our vocabulary around PyTorch's encoder; positions are added to the tokens."""

    def __init__(self, vocabulary, layers, width, heads, inner_width, cutoffs=()):
        super().__init__()
        self.vocabulary, self.width = AdaptiveVocabulary(vocabulary, width, cutoffs), width
        layer = nn.TransformerEncoderLayer(
            width, heads, inner_width, dropout=0.0, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=transformer_xl.INITIAL_DEVIATION)

    def forward(self, tokens, targets):
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        positions = transformer_xl.sinusoids(length, self.width).float()
        states = self.vocabulary.embed(tokens) * math.sqrt(self.width) + positions
        states = self.encoder(states, mask=mask, is_causal=True)
        return self.vocabulary.losses(states.flatten(0, 1), targets.flatten())


def fused_attention(query, key, value, position, content_bias, position_bias):
    """:func:`relative_attention` by scaled_dot_product_attention and a float mask."""
    scale = 1 / math.sqrt(query.shape[-1])
    scores = (query + position_bias) @ position.transpose(2, 3)
    mask = transformer_xl.shifted(scores) * scale
    return functional.scaled_dot_product_attention(query + content_bias, key, value, mask)


def step_of(model: nn.Module, losses):
    """Return a function that takes one training step."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        losses().mean().backward()
        optimizer.step()

    return step


def interleaved(steps: dict, rounds: int) -> dict:
    """Median seconds of each function, run in turns after a warm-up."""
    times = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - begin)
    return {name: median(found) for name, found in times.items()}


def compare(name: str, rounds: int, length: int, batch_size: int, **sizes) -> None:
    width, heads = sizes["width"], sizes["heads"]
    ours = TransformerXL(memory=length, head_width=width // heads, **sizes)
    reference = Encoder(**sizes)
    text = torch.randint(0, sizes["vocabulary"], (batch_size, 2 * length + 1))
    _, memory = ours(text[:, :length], text[:, :length])
    segment = text[:, length:-1], text[:, length + 1 :]
    whole = text[: batch_size // 2, :-1], text[: batch_size // 2, 1:]
    written_out = transformer_xl.relative_attention

    def with_attention(attention):
        def losses():
            transformer_xl.relative_attention = attention
            return ours(*segment, memory)[0]

        return losses

    times = interleaved(
        {
            "encoder": step_of(reference, lambda: reference(*whole)),
            "ours": step_of(ours, with_attention(written_out)),
            "fused": step_of(ours, with_attention(fused_attention)),
        },
        rounds,
    )
    transformer_xl.relative_attention = written_out
    tokens = batch_size * length
    rates = {name: tokens / seconds for name, seconds in times.items()}
    print(
        f"   {name}: {rates['ours'] / rates['encoder']:.2f} of the encoder's tokens a second "
        f"({rates['ours']:.0f} of {rates['encoder']:.0f}); by the fused kernel "
        f"{rates['fused'] / rates['encoder']:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=SIZES, default=SIZES)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"Training speed beside nn.TransformerEncoder (at least {FLOOR})")
    for name in options.only:
        compare(name, options.rounds, **SIZES[name])


if __name__ == "__main__":
    main()
