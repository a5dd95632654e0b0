"""What the memory does to the loss of a trained language model and its gradient.

Source: our section "WikiText-103 + Transformer-XL".
"""

import math
from functools import partial

import pandas as pd
from torch import Tensor, nn

from ...errors import UsageError
from ...measure import gradient_statistics
from ...nets.transformer_xl import NextTokenLoss, remember
from ...runs.checkpoints import Keeper, Place
from ...runs.records import Run
from ...train.loop import State, load_data
from ..levels import squared_norm

LOSS = NextTokenLoss()


def load_model(run: Run, data_root=None, device="cpu") -> tuple:
    """Return the trained model of a training run and its dataset.

    Raises :class:`UsageError` where the run left no checkpoint, as records do not.
    """
    keeper = Keeper(run.folder, run.info, device=device)
    if keeper.state is None:
        raise UsageError(f"{run.folder.name} holds no weights: repeat the run first.")
    state = State(run.settings, load_data(run.settings, Place(data_root, device)))
    keeper.restore(state)
    return state.model, state.dataset


def memory_effects(
    run: Run, contexts, batches, data_root=None, device="cpu", *, flow: bool = True
) -> pd.DataFrame:
    """Compare objectives that differ in their memory with the one of longest context.

    At the run's last weights, in evaluation mode, on the same draws for every row. The
    reference is the loss with the last of ``contexts``, the number of segments read before
    the measured one. A row is another objective: a shorter context, or, with ``flow``, the
    same with a gradient ``through the memory``. Columns: ``loss_difference`` (nats) to the
    reference, with its standard error ``loss_error``; ``distance`` of the gradients over the
    norm at the start of the run, from unbiased squares, with the interval of
    :func:`squared_norm`. The last two rows of a ``flow`` are the norms of the two gradients.
    """
    model, _ = load_model(run, data_root, device)
    model.eval()
    longer = run.settings.but(measure_context=contexts[-1])
    drawn = load_data(longer, Place(data_root, device)).draws(batches, "memory effects")
    start = run.series("gradient_norm_squared").value[0]
    names = {n: f"{n} segment{'' if n == 1 else 's'}" for n in contexts[:-1]}
    objectives = {name: partial(_shortening, segments=n) for n, name in names.items()}
    objectives |= FLOWS if flow else {}
    rows = []
    for name, objective in objectives.items():
        s = gradient_statistics(model, objective, drawn)
        noise = s.gradient_norm_naive**2 - s.gradient_norm_squared
        square = squared_norm(s.gradient_norm_squared, s.standard_error, noise)
        rows.append((name, s.loss, s.loss_standard_error, *(square / start).root()))
    columns = ("objective", "loss_difference", "loss_error", "distance", "low", "high")
    table = pd.DataFrame(rows, columns=columns)
    table.loc[table.objective.isin([*FLOWS][1:]), ["loss_difference", "loss_error"]] = math.nan
    return table


def through_the_memory(model: nn.Module, batch: tuple) -> Tensor:
    """Return :class:`NextTokenLoss` as a function of all that the weights decide."""
    tokens, targets, context = batch
    memory = remember(model, context, tokens.shape[1])
    return model(tokens, targets, memory)[0].mean()


def _shortening(model: nn.Module, batch: tuple, segments: int) -> Tensor:
    """Return what the loss changes by with so many segments of context, out of more."""
    tokens, targets, context = batch
    kept = context[:, context.shape[1] - segments * tokens.shape[1] :]
    return LOSS(model, (tokens, targets, kept)) - LOSS(model, batch)


FLOWS = {  # with a gradient through the memory: a difference, and two that are none
    "through the memory": lambda *of: through_the_memory(*of) - LOSS(*of),
    "the gradient itself": LOSS,
    "itself, through the memory": through_the_memory,
}
