"""Your own training: watch it, and have a page say what it shows.

Three lines do, in any loop::

    with stationarity.watch(model, objective, optimizer, batches) as watch:
        for batch in loader:
            ...  # a step of the training as it was, with its loss
            watch.step(batch, loss)
        watch.report()
"""


def __getattr__(name: str):
    if name != "watch":
        raise AttributeError(name)
    from .watcher import Watch  # which takes PyTorch with it

    return Watch
