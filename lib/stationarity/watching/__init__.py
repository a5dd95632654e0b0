"""Your own training: watch it, and have a page say what it shows.

Three lines do, in any loop::

    with stationarity.watch(model, objective, optimizer, batches) as watch:
        for batch in loader:
            ...  # a step of the training as it was, with its loss
            watch.step(batch, loss)
        watch.report()
"""

from .watcher import Watch

watch = Watch
