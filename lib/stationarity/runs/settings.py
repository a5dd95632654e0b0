"""The settings of experiments, which check themselves, and the register of experiments.

A class says at each field what it may be, and in validators what several may be together.
A scale is data, sizes and lengths, never another code path.
"""

import hashlib
import importlib
import itertools
import json
import typing
from typing import Annotated, ClassVar, Self

import pydantic
from pydantic import AfterValidator, BaseModel, Field, field_validator

from ..errors import UsageError, known_name

SCALES = ("classroom", "two-cores", "single-gpu", "paper")
_REGISTER: dict[str, dict[str, "Settings"]] = {}

Count = Annotated[int, Field(gt=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=0, lt=2**63)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]  # of a whole, or a momentum
Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]


def _rising(drops: tuple) -> tuple:
    if any(later <= earlier for earlier, later in itertools.pairwise((0, *drops))):
        raise UsageError(f"The setting drops must be positive and rising, not {drops}.")
    return drops


Drops = Annotated[tuple[Count, ...], AfterValidator(_rising)]  # of a rate, by a factor of 10


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What all settings have.

    Those of a study have ``total_steps`` of all nets or trajectories, too: its time follows it.
    """

    study: ClassVar[str]  # what computes the metrics: module:function below the package
    shares_its_work: ClassVar[bool] = False  # among the processes of torchrun

    threads: Annotated[Whole, Field(le=1024)] = 0  # 0: all. Small nets are faster with 1
    seed: Whole = 0

    @field_validator("*", mode="before")
    @classmethod
    def _typed(cls, value, info: pydantic.ValidationInfo):
        """Take a tuple as it is typed, and no truth value for a number."""
        kind = cls.model_fields[info.field_name].annotation
        if typing.get_origin(kind) is tuple and isinstance(value, str):
            return [part for part in value.strip("()[] ").split(",") if part.strip()]
        return repr(value) if isinstance(value, bool) and kind is not bool else value

    def but(self, **changes) -> Self:
        """Return these settings with some changed, as by :func:`checked`."""
        return checked(type(self), dict(self) | changes)

    def plain(self) -> dict:
        """Return the settings as JSON has them."""
        return self.model_dump(mode="json")

    def fingerprint(self, embedded: str | None = None) -> str:
        """Return 12 hex digits, which name a run, of its settings and embedded data.

        Defaults do not count: a later setting with one leaves the names of earlier runs.
        """
        content = [self.model_dump(mode="json", exclude_defaults=True), embedded]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def register(name: str, classroom: Settings, **scales: dict) -> None:
    """Add an experiment: its settings in a classroom, and what differs at other scales.

    The names of scales have underscores here: ``single_gpu={"dataset": "cifar10"}``.
    """
    others = {scale.replace("_", "-"): classroom.but(**new) for scale, new in scales.items()}
    _REGISTER[name] = {"classroom": classroom} | others


def _filled() -> dict[str, dict[str, Settings]]:
    """Return the register, which the chapters' settings fill when they are imported."""
    importlib.import_module("stationarity.chapters")
    return _REGISTER


def __getattr__(name: str):
    """Return ``EXPERIMENTS``, the register, when it is first asked for."""
    if name != "EXPERIMENTS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _filled()


def get(name: str, scale: str = "classroom", overrides: dict | None = None) -> Settings:
    """Return the settings of an experiment at a scale, some changed as by :func:`checked`."""
    scales = _filled()[known_name(name, _filled(), "experiment")]
    settings = scales[known_name(scale, scales, "scale")]
    for key in overrides or {}:
        known_name(key, type(settings).model_fields, f"setting of {name}")
    return settings.but(**overrides) if overrides else settings


def checked(kind: type[Settings], values: dict) -> Settings:
    """Return settings of a kind, from values or from strings as the command line has them.

    Raises :class:`UsageError` for an unknown name and for a value that cannot be.
    """
    for key in values:
        known_name(key, kind.model_fields, "setting")
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
    if fault["type"] == "literal_error" and len(fault["loc"]) == 1:
        key = fault["loc"][0]
        known_name(fault["input"], typing.get_args(kind.model_fields[key].annotation), key)
    raise UsageError(_sentence(fault))


SENTENCES = {  # by pydantic's types of faults
    "value_error": "{error}",  # of a validator of ours
    "missing": "The setting {key} is missing: give it.",
    "extra_forbidden": "There is no setting {key}: leave it out.",
    "literal_error": "The setting {key} cannot be {value!r}: it is one of {expected}.",
    "int_parsing_size": "The setting {key} is too large: it is {value!r}.",
    "too_short": "The setting {key} is empty: give at least one.",
}


def _sentence(fault: dict) -> str:
    key, value, kind = ".".join(map(str, fault["loc"])), fault["input"], fault["type"]
    if kind in SENTENCES:
        return SENTENCES[kind].format(key=key, value=value, **fault.get("ctx", {}))
    bound = fault["msg"].removeprefix("Input should be ")
    if "greater" in kind or "less" in kind:
        return f"The setting {key} must be {bound}: it is {value!r}."
    return f"The setting {key} takes {bound.partition(',')[0]}, and {value!r} is not that."
