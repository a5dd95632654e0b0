"""Start a run, go on with it, or load it: one verb for all experiments."""
import contextlib
import shutil
import sys
import time
import warnings
from pathlib import Path

import torch

from . import (
    averaging,
    chains,
    checkpoints,
    experiments,
    identities,
    langevin,
    normalisation,
    plane,
    reach,
    records,
    settling,
    studies,
    train,
)
from .errors import UsageError

# Experiments that are no training run: (settings, data_root, device, keeper) -> metrics.
# Those that take no keeper are done in seconds at every scale.
STUDIES = {
    experiments.CurvatureStudy: studies.sharpness_estimators,
    experiments.EstimatorStudy: studies.gradient_estimators,
    experiments.NormalisationStudy: normalisation.normalised_loss,
    experiments.RegimeStudy: reach.regimes,
    experiments.SettlingStudy: settling.settling,
    experiments.ReplicaStudy: settling.replicas,
    experiments.AveragingStudy: averaging.averaging,
    experiments.NoisyQuadratic: lambda settings, *rest: langevin.ensemble(settings, *rest[2:]),
    experiments.DescentMap: lambda settings, *_: chains.descent_map(settings),
    experiments.FiniteChains: lambda settings, *_: chains.finite_chains(settings),
    experiments.Plane: lambda settings, *_: plane.noisy_plane(settings),
    experiments.DoubleWell: lambda settings, *_: chains.double_well(settings),
    experiments.Identities: identities.two_identities,
}


def run(
    name: str,
    scale: str = "classroom",
    *,
    settings: dict | None = None,
    seed: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    other_code: bool = False,
    checkpoint_seconds: float = 30.0,
) -> records.Run:
    """Return the run of an experiment, made now, continued or loaded.

    A complete run is loaded; an interrupted one goes on from its checkpoint
    and ends with the metrics it would have had. A ``classroom`` run that other
    library code made is repeated. A longer one is kept and flagged, and goes
    on only with ``other_code=True``.

    Parameters
    ----------
    name, scale : the experiment and its scale, see :mod:`stationarity.experiments`.
    settings : overrides of single settings; strings are cast.
    seed : override of the setting ``seed``.
    data_root : folder of the data; else ``STATIONARITY_DATA``, else a download.
    device : ``cpu``, ``cuda``, ...; by default a GPU where there is one.
    checkpoint_seconds : seconds between checkpoints, or more where writing one takes
        more than a hundredth of them; 0: one after every step. So much is repeated of
        a run that was killed or interrupted.

    Raises :class:`UsageError` for bad input, before any long work.

    For example, a shortened run of one experiment::

        run("full_batch", settings={"epochs": 200}).series("loss")
    """
    overrides = dict(settings or {}) | ({} if seed is None else {"seed": seed})
    chosen = experiments.get(name, scale, overrides)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"There is no device {device!r} here: cpu always is.") from None
    folder = records.folder_of(name, scale, chosen)
    earlier = records.read(folder)
    if earlier and not earlier.made_by_this_code:
        if scale == "classroom":
            discarded = folder.with_name(folder.name + ".discarded")
            shutil.rmtree(discarded, ignore_errors=True)
            folder.rename(discarded)  # at once: an interrupted removal leaves no half run
            shutil.rmtree(discarded)
            earlier = None
        elif earlier.complete:
            warnings.warn(f"{folder.name} was made by other library code.", stacklevel=2)
        elif not other_code:
            raise UsageError(
                f"{folder.name} was begun by other library code: go on with it by "
                "other_code=True (--other-code), or delete its folder and start anew."
            )
    if earlier and earlier.complete:
        return earlier
    if earlier and earlier.info["status"] == "diverged":
        raise UsageError(earlier.info["failure"])
    with _told(folder, device), _threads(getattr(chosen, "threads", 0)):
        info = records.new_info(name, scale, chosen, device)
        if earlier:
            kept = ("start", "wall_seconds", "commit", "code", "data")
            info |= {key: earlier.info[key] for key in kept if key in earlier.info}
        if isinstance(chosen, experiments.Training | experiments.LanguageTraining):
            return train.train(
                chosen, folder, info, data_root=data_root, device=device,
                checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip
        records.prepare(folder)
        keeper = checkpoints.Keeper(folder, info, checkpoint_seconds, device)
        return keeper.finish(STUDIES[type(chosen)](chosen, data_root, device, keeper))


@contextlib.contextmanager
def _threads(count: int):
    """Compute with so many CPU threads; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _told(folder: Path, device: str):
    """Say after an interruption how the run goes on, and without memory what to do."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nInterrupted. {_way_on(folder)}\n")
        raise
    except (RuntimeError, MemoryError) as error:
        if not _lacks_memory(error):
            raise
        raise UsageError(
            f"The memory of {device} does not suffice: lower batch_size, which makes "
            f"another run, or give this one more memory or devices. {_way_on(folder)}"
        ) from None


def _way_on(folder: Path) -> str:
    try:
        age = time.time() - (folder / records.CHECKPOINTS[0]).stat().st_mtime
    except OSError:
        return f"No checkpoint of {folder.name} was due yet: the same call starts anew."
    return (
        f"The same call goes on with {folder.name} from its last checkpoint, of "
        f"{age:.0f} seconds ago."
    )


def _lacks_memory(error: Exception) -> bool:
    """Return whether memory ran out: PyTorch has no one error for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    return any(part in str(error) for part in words)
