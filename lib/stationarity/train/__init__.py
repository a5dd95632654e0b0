"""Training: the loop, how it computes and measures, and loops of small nets."""


def load_model(run, data_root=None, device="cpu") -> tuple:
    """Return the trained model of a training run and its dataset.

    Raises :class:`UsageError` where the run left no checkpoint, as records do not.
    """
    from ..errors import UsageError
    from ..runs.checkpoints import Keeper, Place
    from .loop import State, load_data

    keeper = Keeper(run.folder, run.info, device=device)
    if keeper.state is None:
        raise UsageError(f"{run.folder.name} holds no weights: repeat the run first.")
    state = State(run.settings, load_data(run.settings, Place(data_root, device)))
    keeper.restore(state)
    return state.model, state.dataset
