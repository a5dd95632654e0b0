"""Anomalous diffusion (chapter 9): nets followed after their loss has settled."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ...errors import UsageError
from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register
from ...train.settings import AtLeastTwo, SmallNet, Training


class DiffusionStudy(SmallNet):
    """Settings of small nets that settle, and go on with settings varied one at a time."""

    study: ClassVar[str] = "chapters.ch09_anomalous_diffusion.study:diffusion"
    paper_run: ClassVar[str] = "continued"  # that these nets would be models of

    side: Whole = 0  # pixels a side that images are averaged down to; 0: as they are
    settle: Count  # steps at these settings before anything else
    longest: Annotated[Count, Field(ge=12)]  # the longest lag, in steps: enough for a slope
    members: AtLeastTwo  # independent initial weights and minibatches
    learning_rates: tuple[Positive, ...] = ()  # with which the nets go on, beside the above
    batch_sizes: tuple[Count, ...] = ()
    momenta: tuple[Share, ...] = ()
    weight_decays: tuple[NotNegative, ...] = ()
    crossed: bool = False  # go on with each pair of those learning rates and momenta, too
    reshuffled: bool = False  # go on with reshuffled epochs, too
    burn_in: Whole = 0  # steps of everything that goes on, before its first reference point
    references: Count = 2  # reference points of each trajectory
    spacing: Whole = 0  # steps between them; 0: the longest lag
    branches: Whole = 0  # replicas of each settled net, that differ in their minibatches

    @model_validator(mode="after")
    def _replicas_to_compare(self) -> Self:
        if self.branches == 1:
            raise UsageError("The setting branches must be 0 or at least 2.")
        return self

    spans = property(lambda self: [(self.learning_rate, self.followed)])

    @property
    def followed(self) -> int:
        """The steps of a trajectory after its burn-in."""
        return (self.references - 1) * (self.spacing or self.longest) + self.longest

    @property
    def total_steps(self) -> int:
        varied = (self.learning_rates, self.batch_sizes, self.momenta, self.weight_decays)
        pairs = self.crossed * len(self.learning_rates) * len(self.momenta)
        trajectories = 1 + sum(map(len, varied)) + pairs + self.reshuffled
        followed = trajectories * (self.burn_in + self.followed)
        return self.members * (self.settle + followed + self.branches * self.longest)


class WalkStudy(Settings):
    """Settings of processes whose displacement is known, and of the fits on them."""

    study: ClassVar[str] = "chapters.ch09_anomalous_diffusion.stochastic_processes:known_walks"

    members: Count  # trajectories of an ensemble
    dimensions: Count
    longest: Count  # the longest lag, in steps
    references: Count = 2  # reference points of each trajectory, a longest lag apart
    replicates: Count = 400  # ensembles of each process
    hurst: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.35, 0.7)  # of fractional motion
    drift: float = 0.08  # of each coordinate, in a step
    relaxation: Positive = 20.0  # steps, of the Ornstein-Uhlenbeck process

    @property
    def total_steps(self) -> int:
        return self.replicates * self.members * self.references * self.longest


register(
    "diffusion",
    DiffusionStudy(
        dataset="digits", hidden=(32,), batch_size=32, learning_rate=0.02, settle=30000,
        longest=4096, members=6, learning_rates=(0.002, 0.006, 0.06), batch_sizes=(8, 128),
        momenta=(0.0, 0.7, 0.97), weight_decays=(0.0, 0.0005, 0.008), reshuffled=True,
        burn_in=3000, spacing=2048, branches=8, label_noise=0.15, momentum=0.9,
        weight_decay=0.002, threads=1,
    ),
    # So many members that the ledger can judge them; fewer variations, for a small record.
    two_cores=dict(
        dataset="cifar10", side=4, examples=1408, settle=500000, longest=65536, members=56,
        learning_rates=(0.002, 0.006), batch_sizes=(128,), momenta=(0.0,),
        weight_decays=(0.0,), burn_in=65536, spacing=0,
    ),
    single_gpu=dict(
        dataset="cifar10", hidden=(64,), batch_size=64, learning_rate=0.01, settle=200000,
        longest=32768, members=8, learning_rates=(0.001, 0.003, 0.03), batch_sizes=(16, 256),
        burn_in=32768, spacing=0, examples=10000, threads=0,
    ),
    paper=dict(
        dataset="cifar10", hidden=(512, 512), batch_size=256, learning_rate=0.01,
        settle=500000, longest=131072, members=8, learning_rates=(0.001, 0.003, 0.03),
        batch_sizes=(32, 1024), momenta=(0.8, 0.99), weight_decays=(0.0, 5e-05, 0.005),
        burn_in=131072, spacing=0, label_noise=0.0, weight_decay=0.0005, threads=0,
    ),
)  # fmt: skip
# Nets that settled at a rate and go on at it, at a tenth and at a hundredth, as the authors'
# nets did after their training; each with three momenta, as in the authors' sweep.
_QUENCHED = DiffusionStudy(
    dataset="digits", hidden=(32,), batch_size=128, learning_rate=0.02, settle=30000,
    longest=1024, members=6, learning_rates=(0.002, 0.0002), momenta=(0.8, 0.99), crossed=True,
    references=1, label_noise=0.15, momentum=0.9, weight_decay=0.002, threads=1,
)  # fmt: skip
_LARGER = dict(dataset="cifar10", hidden=(64,), examples=10000, threads=0)
_quenched = {
    "two_cores": dict(settle=200000, members=12), "single_gpu": _LARGER | dict(settle=200000),
    "paper": _LARGER | dict(hidden=(512, 512), settle=500000, longest=50000),
}  # fmt: skip
register("quenched", _QUENCHED, **_quenched)
register("quenched_more_decay", _QUENCHED.but(weight_decay=0.008), **_quenched)
register(
    "diffusion_convex",
    DiffusionStudy(
        dataset="digits", hidden=(), batch_size=32, learning_rate=0.02, settle=8000,
        longest=4096, members=12, label_noise=0.15, momentum=0.9, weight_decay=0.02,
        threads=1,
    ),
    two_cores=dict(
        dataset="cifar10", side=4, examples=1408, settle=16000, longest=65536, members=12,
    ),
    single_gpu=dict(
        dataset="cifar10", batch_size=64, learning_rate=0.0005, settle=200000, longest=65536,
        members=8, examples=10000, threads=0,
    ),
    paper=dict(
        dataset="cifar10", batch_size=256, learning_rate=0.0005, settle=500000,
        longest=131072, members=8, label_noise=0.0, threads=0,
    ),
)  # fmt: skip
register(
    "walks",
    WalkStudy(members=6, dimensions=20, longest=192, replicates=300, threads=1),
    two_cores=dict(members=56, replicates=600),
    single_gpu=dict(replicates=1000, threads=0),
    paper=dict(replicates=2000, threads=0),
)  # fmt: skip
register(
    "continued",
    Training(
        dataset="digits", model="cifar_resnet", epochs=85, batch_size=32, learning_rate=0.1,
        width=2, blocks=(1, 1, 1), sampling="independent", momentum=0.9, weight_decay=0.002,
        schedule="cosine", precision="float32", threads=1, measure_every=15,
        measure_batches=50, sharpness_batches=1, sharpness_products=10, followed_epochs=45,
        followed_rate=0.01, frozen_norms=True, label_noise=0.15, direction_batches=5,
    ),
    two_cores=dict(
        dataset="cifar10", epochs=46, batch_size=64, examples=10000, width=16,
        blocks=(2, 2, 2, 2), crop_padding=4, flip=True, weight_decay=0.0005, precision="auto",
        threads=0, measure_every=20, measure_batches=20, followed_epochs=26,
        followed_rate=0.001, label_noise=0.0, plain_images=True, direction_batches=4,
        noise_batches=100,
    ),
    single_gpu=dict(
        dataset="cifar10", epochs=90, batch_size=256, examples=12800, width=64,
        blocks=(2, 2, 2, 2), crop_padding=4, flip=True, weight_decay=0.0005,
        precision="bfloat16", threads=0, measure_every=20, measure_batches=20,
        followed_epochs=45, followed_rate=0.0001, label_noise=0.0, plain_images=True,
        noise_batches=100,
    ),
    paper=dict(
        dataset="imagenet", model="resnet18", epochs=10, batch_size=256, learning_rate=0.0001,
        width=64, blocks=(2, 2, 2, 2), flip=True, sampling="reshuffled", weight_decay=0.0001,
        schedule="constant", precision="auto", threads=0, measure_every=5,
        measure_batches=200, sharpness_batches=3, pretrained=True, followed_epochs=10,
        followed_rate=0.0001, frozen_norms=False, label_noise=0.0, direction_batches=40,
    ),
)  # fmt: skip
