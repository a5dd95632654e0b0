"""The playable figures compute with the library's formulas, and every one has its place."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from scipy.stats import arcsine
from stationarity import theory
from stationarity.chapters import scales, sizes
from stationarity.chapters.ch02_what_to_measure import reading as norms
from stationarity.chapters.ch06_invariant_measure import reading as chains
from stationarity.chapters.ch11_modified_loss import currents
from stationarity.measure import gradient_statistics
from stationarity.runs.settings import get

BOOK = Path(__file__).parents[2] / "book"
SCRIPTS = BOOK / "_static" / "playable"
POINTS = 200
ANSWER = """
const Theory = require(process.argv[1]);
const told = ([name, given]) => typeof Theory[name] === "function"
  ? Theory[name](...given) : Theory[name];
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(asked.map(told)));
"""
needs_node = pytest.mark.skipif(
    not shutil.which("node"), reason="node, which runs the scripts of the book, is not found"
)


def by_script(name: str, points: list) -> list:
    """What theory.js says at each of the points, which are lists of arguments."""
    line = ["node", "-e", ANSWER, str(SCRIPTS / "theory.js")]
    asked = json.dumps([(name, point) for point in points])
    return json.loads(
        subprocess.run(line, input=asked, text=True, capture_output=True, check=True).stdout
    )


@pytest.fixture
def draws():
    """Stable (curvature, rate, variance, momentum), at random over orders of magnitude."""
    generator = np.random.default_rng(0)
    momentum = generator.uniform(0, 0.99, POINTS)
    curvature, noise = np.exp(generator.uniform(-5, 3, (2, POINTS)))
    rate = generator.uniform(0.001, 0.999, POINTS) ** 2 * 2 * (1 + momentum) / curvature
    return np.transpose([curvature, rate, noise, momentum]).tolist()


def positions(covariance) -> dict:
    (a, b), (_, c) = covariance
    return {"position": a, "velocity": c, "cross": b}


def damping(curvature, rate, momentum) -> dict:
    found = theory.damping(curvature, rate, momentum)
    return {"friction": found.rate, "natural": found.natural_frequency, "regime": found.regime}


def moments(h, rate, variance, momentum, start, steps) -> list:
    mean, covariance = theory.moments(
        h, [rate] * steps, variance, start=start, momentum=momentum
    )
    return [{"mean": one, "variance": of} for one, of in zip(mean[:, 0], covariance[:, 0, 0])]


def squares(gradients) -> dict:
    """By the estimator itself, on a model whose minibatch gradients are these."""
    model = torch.nn.Linear(len(gradients[0]), 1, bias=False).double()
    batches = torch.tensor(gradients, dtype=torch.float64)
    found = gradient_statistics(model, lambda model, batch: model(batch).sum(), batches)
    naive, unbiased = found.gradient_norm_naive**2, found.gradient_norm_squared
    return {"naive": naive, "unbiased": unbiased}


def agree(mine, theirs) -> None:
    """Hold nested numbers against each other, to a relative 1e-6."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        agree([*mine.values()], [*theirs.values()])
    elif np.ndim(theirs):
        for one, other in zip(mine, theirs, strict=True):
            agree(one, other)
    elif np.asarray(theirs).dtype.kind == "U":
        assert mine == theirs
    else:
        assert mine == pytest.approx(float(theirs), rel=1e-6, abs=1e-12)


@needs_node
@pytest.mark.parametrize(
    ("name", "chosen", "formula"),
    [
        ("stationary", [0, 1, 2, 3], lambda *at: positions(theory.stationary_covariance(*at))),
        ("limiting", [0, 1, 2, 3], lambda *at: positions(theory.limiting_covariance(*at))),
        ("damping", [0, 1, 3], damping),
        ("rotation", [0, 1, 3], lambda *at: currents.discrete_rotation([1], *at)[0]),
        ("turn", [0, 1, 3], lambda *at: at[1] * theory.damping(*at).natural_frequency),
    ],
)
def test_formulas_of_the_scripts_are_those_of_the_library(name, chosen, formula, draws):
    points = [[draw[i] for i in chosen] for draw in draws]
    agree(by_script(name, points), [formula(*point) for point in points])


@needs_node
def test_a_step_and_the_moments_from_a_start_are_those_of_the_library(draws):
    states = np.random.default_rng(1).normal(size=(POINTS, 2)).tolist()
    steps = [(x, h, rate, beta) for x, (h, rate, _, beta) in zip(states, draws)]
    agree(by_script("step", steps), [theory.transition(*at) @ x for x, *at in steps])
    points = [(*draw, x[0], 40) for draw, x in zip(draws, states)]
    agree(by_script("moments", points), [moments(*point) for point in points])


@needs_node
def test_the_stability_limit_of_the_scripts_is_where_the_library_stops(draws):
    points = [(h, beta) for h, _, _, beta in draws]
    for (h, beta), limit in zip(points, by_script("limit", points)):
        theory.check_stable(h, limit * (1 - 1e-6), beta)
        with pytest.raises(theory.discrete.UsageError, match="too large"):
            theory.check_stable(h, limit * (1 + 1e-6), beta)


@needs_node
def test_squared_norms_of_the_scripts_are_those_of_the_estimator():
    generator = np.random.default_rng(2)
    points = [
        (*generator.uniform(0.01, 3, 2).tolist(), int(generator.integers(2, 200)))
        for _ in range(POINTS)
    ]
    theirs = [norms.by_theory(*point) for point in points]
    agree(by_script("naive", points), [naive for naive, _ in theirs])
    agree(by_script("spread", [(*point, 20) for point in points]), [s for _, s in theirs])
    drawn = [[generator.normal(0.1, 1, (2 + k % 9, 5)).tolist()] for k in range(POINTS)]
    agree(by_script("squares", drawn), [squares(*one) for one in drawn])


@needs_node
def test_the_descent_map_of_the_scripts_and_its_law_are_those_of_the_library():
    points = np.random.default_rng(3).uniform(0.001, 0.999, (POINTS, 2)).tolist()
    agree(by_script("descent", points), [chains.descent(*at, 2)[1] for at in points])
    agree(by_script("arcsine", points), [arcsine.pdf(x) for x, _ in points])


@needs_node
def test_numbers_without_units_of_the_scripts_are_those_of_the_library():
    generator, points, theirs = np.random.default_rng(4), [], []
    for _ in range(POINTS):
        rate, decay = np.exp(generator.uniform(-8, 0, 2)).tolist()
        batch, epochs = (int(n) for n in generator.integers(1, 300, 2))
        point = dict(rate=rate, decay=decay, momentum=generator.uniform(0, 0.99))
        points.append([point | dict(batch=batch, examples=50_000, epochs=epochs)])
        settings = get("cifar10_resnet", "paper").but(
            learning_rate=rate,
            weight_decay=decay,
            momentum=point["momentum"],
            batch_size=batch,
            epochs=epochs,
            schedule="constant",
            drops=(),
        )
        theirs.append(numbers(scales.clocks(settings))[0])
    agree(by_script("numbers", points), theirs)


def numbers(clocks) -> list[dict]:
    names = {"memories": "memories", "angular_step": "angle", "order": "order"}
    return clocks[list(names)].rename(columns=names).to_dict("records")


@needs_node
def test_the_papers_runs_of_the_scripts_are_those_of_the_experiments():
    papers = by_script("papers", [[]])[0]
    runs = [get(name, "paper") for name in ("imagenet_resnet", "continued")]
    stages = [stage for run in runs for stage in numbers(scales.clocks(run))]
    agree(by_script("numbers", [[paper] for paper in papers]), stages)
    assert {paper["examples"] for paper in papers} == {sizes.DATA["imagenet"].examples}
    assert by_script("match", [[]]) == [scales.MATCH]


# --- where the figures stand ----------------------------------------------------------------


def tagged() -> dict[str, SimpleNamespace]:
    """The cells of the book with a playable figure, by the figure's name."""
    cells = [
        (tag.removeprefix("playable-"), cell)
        for page in BOOK.glob("*.ipynb")
        for cell in nbformat.read(page, as_version=4).cells
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("playable-")
    ]
    assert len(cells) == len(dict(cells)), "a playable figure has two places"
    return dict(cells)


def test_every_playable_figure_has_a_cell_and_every_such_cell_a_figure():
    script = (SCRIPTS / "figures.js").read_text(encoding="utf-8")
    assert set(tagged()) == set(re.findall(r"^  FIGURES\.(\w+) =", script, re.MULTILINE))


def test_a_playable_figure_has_a_caption_a_number_and_a_text_in_its_place():
    for cell in tagged().values():
        shown = cell.metadata["mystnb"]
        assert shown["figure"]["caption"] and shown["figure"]["name"] and shown["image"]["alt"]


def test_the_scripts_are_small_and_need_no_network():
    files = list(SCRIPTS.glob("*.js"))
    assert sum(path.stat().st_size for path in files) < 400e3
    own = "".join(
        (SCRIPTS / f"{name}.js").read_text("utf-8") for name in ("theory", "figures", "sliders")
    )
    assert not re.search(r"https?:|fetch|import\b|XMLHttp", own)
    assert (SCRIPTS / "LICENSE").exists()
