"""What a trained model does on data that it was not trained on, and its memory's age."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..measure.derivatives import flat, gradients, norms, trainable
from ..measure.state import setting, without_trace
from ..nets.transformer_xl import NextTokenLoss, remember
from ..runs import distributed


def measured(state) -> dict[str, tuple[float, float]]:
    """Return what a model's data allow: quantity -> (value, error)."""
    if state.settings.model != "transformer_xl":
        return on_test_images(state.model, state.dataset)
    gaps = memory_gaps(state.model, state.dataset, state.step, state.loss.memory)
    return on_validation_text(state.model, state.dataset) | gaps


@torch.no_grad()
def on_test_images(model: nn.Module, dataset) -> dict[str, tuple[float, float]]:
    """Return loss and accuracy on the test set, in evaluation mode; nothing without one."""
    columns = []
    with setting(*((module, "training", False) for module in model.modules())):
        for images, labels in dataset.test_batches():
            logits = model(images)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            columns.append(torch.stack([losses, (logits.argmax(1) == labels).to(losses)]))
    return _means_and_errors(columns, ("test_loss", "accuracy"), dataset.device)


@torch.no_grad()
def on_validation_text(model: nn.Module, dataset) -> dict[str, tuple[float, float]]:
    """Return loss and perplexity, their errors of mean losses of independent segments."""
    model.eval()
    loss, batches = NextTokenLoss(), dataset.validation_batches()
    losses = [loss.of_tokens(model, b).double().mean(dim=1)[None] for b in batches]
    model.train()
    quantities = _means_and_errors(losses, ("validation_loss",), dataset.device)
    for mean, error in list(quantities.values()):
        perplexity = math.exp(min(mean, 700.0))
        quantities["perplexity"] = perplexity, perplexity * error
    return quantities


def memory_gaps(model: nn.Module, dataset, step: int, memory) -> dict[str, tuple]:
    """Compare the memory that training kept with one that the weights make now.

    On the training batch of the step: the difference of the loss (kept less made), and
    the distance of the gradients over the norm of the latter. Random layers draw the same
    numbers for both.
    """
    if memory is None or step % dataset.steps_per_pass == 0:
        return {}
    tokens, targets, context = dataset.training_batch_with_context(step)
    losses, slopes = [], []
    with without_trace(model) as before:
        with torch.no_grad():
            made = remember(model, context, tokens.shape[1])
        for one in (memory, made):
            before.restore_random_state()
            loss = model(tokens, targets, one)[0].mean()
            losses.append(distributed.mean(loss.detach().clone()))
            slopes.append(distributed.mean(flat(gradients(loss, trainable(model)))))
    relative = norms(slopes[0] - slopes[1]) / norms(slopes[1])
    return {
        "memory_loss_gap": ((losses[0] - losses[1]).item(), math.nan),
        "memory_gradient_gap": (relative.item(), math.nan),
    }


def _means_and_errors(columns: list[Tensor], names: tuple, device) -> dict[str, tuple]:
    """Average columns (names, n), side by side, over all processes; nothing without any."""
    values = torch.zeros(len(names), 0, dtype=torch.float64, device=device)
    values = torch.cat([values, *columns], 1)
    number = distributed.total(values.new_tensor(values.shape[1]))
    if not number:
        return {}
    means = distributed.total(values.sum(1)) / number
    squares = distributed.total((values - means[:, None]).square().sum(1))
    errors = (squares / (number - 1) / number).sqrt()
    return dict(zip(names, zip(means.tolist(), errors.tolist()), strict=True))
