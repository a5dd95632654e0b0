"""Your own training: watch it, and have a page say what it shows.

with stationarity.watch(model, objective, optimizer, batches) as watch:
    for batch in loader:
        ...  # a step of the training as it was
        watch.step(batch, loss)
    watch.report()
"""

from .watcher import Watch

watch = Watch
