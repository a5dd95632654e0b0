"""Every experiment of the book at every scale: one place to read all settings.

A scale is data, sizes and lengths, never another code path. Every experiment
has ``classroom``, ``single-gpu`` and ``paper``, which holds the settings of the
authors' code where an experiment is theirs. A few have ``two-cores`` too: real
data, a smaller net, half an hour of two CPU cores. A module holds the
experiments of a chapter.
"""

import dataclasses
import types
import typing

from ..errors import UsageError, known_name
from .chains import (
    CHAINS,
    DescentMap,
    DoubleWell,
    FiniteChains,
    Identities,
    Plane,
)
from .continued import CONTINUED
from .currents import CURRENTS, MinibatchCurrents, PhaseSpace
from .deep import DEEP, ModeStudy
from .diffusion import DIFFUSION, DiffusionStudy, WalkStudy
from .images import IMAGES
from .language import LANGUAGE
from .measuring import MEASURING
from .practice import PRACTICE, AveragingStudy
from .reach import REACH
from .regression import REGRESSION, Regression
from .settings import (
    CurvatureStudy,
    EstimatorStudy,
    LanguageTraining,
    NoisyQuadratic,
    NormalisationStudy,
    RegimeStudy,
    Training,
    check,
)
from .settling import SETTLING, ReplicaStudy, SettlingStudy
from .stories import STORIES

SCALES = ("classroom", "two-cores", "single-gpu", "paper")
EXPERIMENTS = (
    STORIES | MEASURING | IMAGES | LANGUAGE | REACH | CHAINS | SETTLING | PRACTICE
    | DIFFUSION | REGRESSION | CURRENTS | DEEP | CONTINUED
)  # fmt: skip
Settings = (
    Training | LanguageTraining | NoisyQuadratic | EstimatorStudy | NormalisationStudy
    | CurvatureStudy | RegimeStudy | DescentMap | FiniteChains | Plane | DoubleWell
    | Identities | SettlingStudy | ReplicaStudy | AveragingStudy
    | DiffusionStudy | WalkStudy | Regression | PhaseSpace | MinibatchCurrents | ModeStudy
)  # fmt: skip
_KINDS = {kind.__name__: kind for kind in typing.get_args(Settings)}


def get(name: str, scale: str = "classroom", overrides: dict | None = None) -> Settings:
    """Return the settings of an experiment at a scale, with some overridden.

    Values of ``overrides`` may be strings, as typed on the command line.
    Raises :class:`UsageError` for an unknown experiment, scale or setting and
    for a value of the wrong type.

    >>> get("imagenet_resnet", overrides={"epochs": "3"}).epochs
    3
    """
    scales = EXPERIMENTS[known_name(name, EXPERIMENTS, "experiment")]
    settings = scales[known_name(scale, scales, "scale")]
    hints = typing.get_type_hints(type(settings))
    values = {
        known_name(key, hints, f"setting of {name}"): _cast(key, value, hints[key])
        for key, value in (overrides or {}).items()
    }
    settings = dataclasses.replace(settings, **values)
    check(settings)
    return settings


def of_run(values: dict) -> Settings:
    """Return the settings that :func:`to_dict` made plain.

    Raises :class:`UsageError` for settings of another version: of an unknown
    kind, with unknown fields, or without those that have no default.

    >>> of_run(to_dict(get("imagenet_resnet"))) == get("imagenet_resnet")
    True
    """
    values = dict(values)
    name = values.pop("kind", None)
    kind = _KINDS.get(name)
    fields = dataclasses.fields(kind) if kind else ()
    needed = {f.name for f in fields if f.default is dataclasses.MISSING}
    strange = sorted((values.keys() - {f.name for f in fields}) | (needed - values.keys()))
    if kind is None or strange:
        what = f"the fields {', '.join(strange)}" if kind else f"the kind {name!r}"
        raise UsageError(
            f"These settings are of another version of the library, which differs in {what}: "
            "make the run again, or read it with that version."
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def defaults(kind: str) -> dict:
    """Return the settings of a kind that have a default, as plain JSON values.

    >>> defaults("RegimeStudy")
    {'precision': 'float32', 'threads': 0, 'seed': 0}
    """
    fields = dataclasses.fields(_KINDS[kind])
    values = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def to_dict(settings: Settings) -> dict:
    """Return the settings as plain JSON values, with their kind."""
    values = dataclasses.asdict(settings)
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {"kind": type(settings).__name__} | plain


def distinctive(settings: Settings) -> dict:
    """Return the settings that are not the defaults of their kind.

    They name a run: a setting that comes later, with a default that changes
    nothing, leaves the names of earlier runs as they are.
    """
    plain = to_dict(settings)
    defaults = {f.name: f.default for f in dataclasses.fields(settings)}
    return {
        key: value
        for key, value in plain.items()
        if key == "kind" or getattr(settings, key) != defaults[key]
    }


def _cast(key: str, value, hint):
    """Cast a value, or the string of one, to the type of its field."""
    try:
        if isinstance(hint, types.GenericAlias):  # tuple[int, ...]
            item = typing.get_args(hint)[0]
            if isinstance(value, str):
                value = [
                    part for part in value.strip("()[] ").split(",") if part.strip()
                ]
            return tuple(_cast(key, part, item) for part in value)
        if dataclasses.is_dataclass(hint) and isinstance(value, dict | hint):
            values = value if isinstance(value, dict) else vars(value)
            hints = typing.get_type_hints(hint)
            return hint(
                **{
                    known_name(name, hints, f"entry of {key}"): _cast(name, item, hints[name])
                    for name, item in values.items()
                }
            )
        if hint is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if (
            hint is int
            and not isinstance(value, bool)
            and int(float(value)) == float(value)
        ):
            return int(float(value))
        if hint is float and not isinstance(value, bool):
            return float(value)
        if hint is str and isinstance(value, str):
            return value
    except UsageError:  # of a part of the value
        raise
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = hint.__name__ if isinstance(hint, type) else str(hint)
    raise UsageError(f"The setting {key} takes {wanted}, and {value!r} is not that.")
