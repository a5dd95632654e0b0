"""What each experiment computes before it is started: steps, operations, images.

Source: our section "Running at full size".
"""
from dataclasses import dataclass

from .. import experiments
from ..chapters.ch05_how_far_does_it_reach.study import recorded_steps, steps_of
from ..chapters.ch09_anomalous_diffusion.study import LOOKS, all_steps, followed, variations
from ..train.settings import LanguageTraining, Training
from .costs import DATA, Counts, counted, image_counts, net

EACH = 4  # Hessian products that one of many directions takes, about


@dataclass(frozen=True)
class Work:
    """What an experiment computes.

    ``training`` and ``measuring`` are operations, ``steps`` are taken one after another,
    ``images`` are read from files.
    """

    steps: int
    training: float
    measuring: float = 0.0
    images: float = 0.0


def measurements(settings, steps: int) -> int:
    """Return how often a run of so many steps is measured, its end included."""
    every = settings.measure_every * per_epoch(settings)
    return len(range(0, steps, every)) + 1 if every else 0


def per_epoch(settings) -> int:
    """Return the number of steps of an epoch; a language model's must be set."""
    if isinstance(settings, LanguageTraining):
        tokens = settings.tokens or DATA[settings.dataset].examples
        whole = (tokens - 1) // (settings.batch_size * settings.segment)
        return settings.steps_per_epoch or whole
    return (settings.examples or DATA[settings.dataset].examples) // settings.batch_size


def of_training(
    settings, products: float | None = None, costs: tuple = (), found: float | None = None
) -> Work:
    """Return the work of a training run and of its measurements.

    ``products``: Hessian products of one sharpness, at most those of the settings;
    ``costs``: of an example, as from :func:`counted` or, in seconds, :func:`timed`;
    ``found``: products with which the directions are found, in which a run is followed.
    To follow takes less than a hundredth of a step's operations, which is left out.
    """
    data, steps = DATA[settings.dataset], settings.epochs * per_epoch(settings)
    batch, few = settings.batch_size, settings.sharpness_batches * settings.batch_size
    products = settings.sharpness_products if products is None else products
    counts, measured = costs or counted(settings)
    if isinstance(settings, LanguageTraining):
        tests = data.tests / settings.segment
        # A step's batch once more with the memory that training kept, and with one made anew.
        further = tests * counts.forward + batch * 2 * measured.gradient
    else:
        further = data.tests * counts.forward
    examples = settings.measure_batches * batch
    if settings.measure_on == "partition":
        examples = _examples(settings)
        few = min(few, examples)
    # Each ends with the losses before a step and after it, but for the last.
    once = (
        examples * measured.gradient + few * (products + 1) * measured.product
        + 2 * few * measured.forward + further
    )  # fmt: skip
    often = measurements(settings, steps)
    measuring = often * once - min(often, 1) * few * measured.forward
    images = steps * batch + often * (examples + few + data.tests)
    if settings.followed_epochs:
        few = settings.direction_batches * batch
        noise = settings.noise_batches * batch
        if found is None:
            found = min(EACH * settings.directions, settings.direction_products)
        measuring += few * found * measured.product + noise * measured.gradient
        images += few + noise
    return Work(
        steps, steps * batch * counts.gradient, measuring,
        images if settings.dataset == "imagenet" else 0.0,
    )  # fmt: skip


def _mlp(settings, hidden: tuple) -> Training:
    return Training(
        dataset=settings.dataset, model="mlp", hidden=hidden, epochs=1, batch_size=1,
        learning_rate=1.0,
    )  # fmt: skip


def _small(settings, hidden: tuple = ()) -> Counts:
    """Count what one example costs a study's mlp."""
    return image_counts(_mlp(settings, hidden))


def _examples(settings) -> int:
    return settings.examples or DATA[settings.dataset].examples


def _regimes(settings) -> Work:
    steps, training, measuring = 0, 0.0, 0.0
    for regime in settings.regimes:
        one, length = _small(settings, regime.hidden), steps_of(regime, settings)
        every = regime.examples or _examples(settings)
        training += length * settings.members * (regime.batch_size or every) * one.gradient
        measuring += len(recorded_steps(length)) * settings.members * every * one.gradient
        steps += length
    return Work(steps, training, measuring)


def _settling(settings) -> Work:
    one, size = _small(settings, settings.hidden), settings.batch_size
    nets, steps = settings.members, settings.steps
    exact = 2 * _examples(settings) * one.gradient * nets * (steps // settings.measure_every)
    return Work(steps, nets * steps * size * one.gradient, exact)


def _replicas(settings) -> Work:
    one, alone = _small(settings, settings.hidden), settings.burn_in + settings.trajectory
    training = settings.replicas * settings.steps + alone
    looks = settings.replicas * (settings.steps // settings.measure_every)
    looks += settings.trajectory // settings.record_every
    return Work(
        alone + settings.steps, training * settings.batch_size * one.gradient,
        looks * _examples(settings) * one.gradient,
    )  # fmt: skip


def _averaging(settings) -> Work:
    one, steps = _small(settings, settings.hidden), settings.steps + settings.annealed
    nets = settings.members * len(settings.learning_rates)
    moments = (settings.windows[-1] + settings.annealed) // settings.record_every
    looked = (moments + len(settings.windows)) * _examples(settings)
    return Work(
        steps, nets * steps * settings.batch_size * one.gradient, nets * looked * one.gradient
    )


def _diffusion(settings) -> Work:
    one, members = _small(settings, settings.hidden), settings.members
    each, found = settings.burn_in + followed(settings), variations(settings).values()
    sizes = [change.get("batch_size", settings.batch_size) for change in found]
    examples = members * (
        settings.settle * settings.batch_size + each * sum(sizes)
        + settings.branches * settings.longest * settings.batch_size
    )  # fmt: skip
    looks = members * LOOKS * (len(sizes) + 1)
    return Work(
        all_steps(settings), examples * one.gradient, looks * _examples(settings) * one.gradient,
    )  # fmt: skip


def _modes(settings) -> Work:
    one, steps = _small(settings, settings.hidden), settings.burn_in + settings.steps
    nets = settings.burn_in + settings.replicas * settings.steps
    # About seven products of the Hessian for a mode.
    products = 7 * settings.modes + settings.draws * settings.nodes
    looks = 2 * settings.burn_in // settings.measure_every * one.gradient
    return Work(
        steps, nets * settings.batch_size * one.gradient,
        _examples(settings) * (products * one.product + looks),
    )  # fmt: skip


def _estimators(settings) -> Work:
    one, size = _small(settings, settings.hidden), settings.batch_size
    batches = settings.replicates * (sum(settings.sizes) + sum(settings.drawn))
    return Work(
        settings.training_steps + batches, settings.training_steps * size * one.gradient,
        batches * size * one.gradient,
    )  # fmt: skip


def _normalisation(settings) -> Work:
    size = settings.batch_size
    training = Training(
        dataset=settings.dataset, model="cifar_resnet", width=settings.width,
        blocks=settings.blocks, epochs=1, batch_size=1, learning_rate=1.0,
    )  # fmt: skip
    one = image_counts(training)
    measured = settings.measured_examples * len(settings.batch_sizes)
    measured += size * len(settings.scales)
    return Work(
        settings.training_steps, settings.training_steps * size * one.gradient,
        measured * one.gradient,
    )  # fmt: skip


def _curvature(settings) -> Work:
    one, size = _small(settings, settings.hidden), settings.batch_size
    columns = sum(p.numel() for p in net(_mlp(settings, settings.hidden)).parameters())
    products = 2 * (columns + 2 * settings.max_products) * settings.batches
    return Work(
        settings.training_steps + products, settings.training_steps * size * one.gradient,
        products * size * one.product,
    )  # fmt: skip


def _identities(settings) -> Work:
    one, steps = _small(settings), settings.edges[-1]
    looks = steps // settings.stride * settings.examples
    return Work(
        2 * steps, 2 * settings.replicates * steps * settings.batch_size * one.gradient,
        2 * settings.replicates * looks * one.gradient,
    )  # fmt: skip


def _regression(settings) -> Work:
    image = DATA.get(settings.images)
    width = image.channels * image.size**2 if image else settings.dimensions
    steps = (settings.steps + settings.lags) * len(settings.learning_rates)
    gaussian = 10.0 * settings.trajectories * width
    examples = sum(settings.batch_sizes) / len(settings.batch_sizes)
    batches = 2 * 4.0 * settings.minibatch_trajectories * examples * width
    exact = 6.0 * settings.examples * width**2 if settings.state_dependent else 0.0
    return Work(3 * steps, steps * (gaussian + batches + exact))


def _minibatch_currents(settings) -> Work:
    # Two products of the minibatch with the weights of ten outputs; its mean is measured.
    data, count = DATA[settings.dataset], len(settings.momenta)
    steps = (settings.burn_in + settings.steps) * count
    inputs = data.channels * data.size**2
    one = 4 * inputs * data.classes * settings.batch_size
    series = settings.trajectories * data.classes * len(settings.modes)
    looks = settings.steps * count * series * 4 * (settings.lags + 50)
    return Work(steps, float(steps * settings.trajectories * one), float(looks))


def of(settings) -> Work:
    """Return the work of an experiment.

    >>> of(experiments.get("imagenet_resnet")).steps
    1980
    """
    return KINDS[type(settings)](settings)


def _updates(steps: int, many: int, each: int = 10) -> Work:
    return Work(steps, float(steps * many * each))


KINDS = {
    experiments.Training: of_training,
    experiments.LanguageTraining: of_training,
    experiments.RegimeStudy: _regimes,
    experiments.SettlingStudy: _settling,
    experiments.ReplicaStudy: _replicas,
    experiments.AveragingStudy: _averaging,
    experiments.DiffusionStudy: _diffusion,
    experiments.ModeStudy: _modes,
    experiments.EstimatorStudy: _estimators,
    experiments.NormalisationStudy: _normalisation,
    experiments.CurvatureStudy: _curvature,
    experiments.Identities: _identities,
    experiments.NoisyQuadratic: lambda s: _updates(
        s.steps * len(s.learning_rates), s.trajectories * len(s.curvatures)
    ),
    experiments.Regression: _regression,
    experiments.DescentMap: lambda s: _updates(max(s.times), s.trajectories),
    experiments.FiniteChains: lambda s: _updates(2 * max(s.times), 3 * s.states**2, 2),
    experiments.Plane: lambda s: _updates(s.steps, s.trajectories),
    experiments.PhaseSpace: lambda s: _updates(
        2 * (s.burn_in + s.steps), s.trajectories * len(s.curvatures), 20 + 4 * s.lags
    ),
    experiments.MinibatchCurrents: _minibatch_currents,
    experiments.WalkStudy: lambda s: _updates(
        s.references * s.longest * s.replicates, s.members * s.dimensions * (3 + len(s.hurst))
    ),
    experiments.DoubleWell: lambda s: _updates(s.steps, 2 * s.trajectories * len(s.widths)),
}
