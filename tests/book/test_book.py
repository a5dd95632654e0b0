"""Every chapter is well formed, and runs with small parameters."""

import ast
import inspect
import re
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from self_checks import audit
from stationarity.book import classroom

ROOT = Path(__file__).parents[2]

# What the tests inject, for a chapter to take seconds. A chapter that is not
# named here runs with its own parameters.
SHORT_RUN = {
    "epochs": 15, "batch_size": 64, "drops": [5, 10], "examples": 192, "width": 4,
    "blocks": [1], "measure_every": 1, "measure_batches": 4, "sharpness_batches": 1,
    "sharpness_products": 3, "sharpness_every": 1,
}  # fmt: skip
SHORT_LANGUAGE = {
    "tokens": 9000, "layers": 1, "width": 8, "heads": 2, "head_width": 4, "inner_width": 8,
    "segment": 8, "memory": 8, "batch_size": 4, "epochs": 15, "steps_per_epoch": 4,
    "drops": [5, 10], "measure_batches": 4, "sharpness_batches": 1, "sharpness_products": 2,
}  # fmt: skip
SHORT_REGIMES = {"steps": 60, "examples": 128, "members": 2}
SHORT_CONTROL = {"epochs": 30, "measure_every": 2}
SHORT_SETTLING = {
    "steps": 1500, "drops": [600, 1100], "members": 2, "examples": 200,
    "measure_every": 10, "record_every": 5,
}  # fmt: skip
SHORT_REPLICAS = {
    "burn_in": 100, "steps": 60, "trajectory": 900, "replicas": 6, "examples": 200,
    "measure_every": 20, "record_every": 5,
}  # fmt: skip
SHORT_MODES = {
    "examples": 200, "batch_size": 32, "burn_in": 200, "averaged": 100, "steps": 500,
    "discarded": 100, "replicas": 8, "modes": 5, "random_directions": 4, "points": 2,
    "draws": 4, "nodes": 5,
}  # fmt: skip
SHORT_RUNS = {
    "imagenet_resnet": SHORT_RUN, "wikitext_transformer_xl": SHORT_LANGUAGE,
    "settling": SHORT_SETTLING, "replicas": SHORT_REPLICAS,
}  # fmt: skip
SHORT_CLOCKS = {
    "examples": 96, "hidden": [5], "batch_size": 16, "stages": [40, 80, 40], "full_steps": 40,
    "members": 2, "measure_every": 5,
}  # fmt: skip
SHORT_WATCHED = {
    "layers": 1, "width": 8, "heads": 2, "context": 8, "batch_size": 4, "warmup": 10,
    "stages": [60, 60], "measure_every": 5, "measure_batches": 3, "sharpness_batches": 1,
}  # fmt: skip
SHORT_REGRESSION = {
    "examples": 256, "dimensions": 4, "directions": 4, "steps": 200, "lags": 100,
    "trajectories": 300, "minibatch_trajectories": 100,
}  # fmt: skip
SHORT_ENSEMBLES = {"trajectories": 8, "steps": 300, "burn_in": 100, "lags": 20, "segment": 128}
SHORT_CURRENTS = {"minibatch_currents": SHORT_ENSEMBLES, "phase_space": SHORT_ENSEMBLES}
SHORT_DIFFUSION = {
    "diffusion": {
        "settle": 300, "longest": 64, "members": 2, "spacing": 32, "burn_in": 20,
        "examples": 200, "learning_rates": [0.01], "batch_sizes": [16], "momenta": [0.5],
        "weight_decays": [0.0], "branches": 3,
    },
    "diffusion_convex": {"settle": 300, "longest": 64, "members": 2, "examples": 200},
    "walks": {"replicates": 8},
}  # fmt: skip
SHORT_QUENCH = {"settle": 300, "longest": 64, "members": 2, "examples": 200}
BOTH_QUENCHES = {"quenched": SHORT_QUENCH, "quenched_more_decay": SHORT_QUENCH}
SHORT_CONTINUED = {
    "model": "mlp", "hidden": [8], "examples": 96, "batch_size": 8, "crop_padding": 0,
    "epochs": 140, "followed_epochs": 130, "directions": 3, "direction_batches": 2,
    "noise_batches": 8,
}  # fmt: skip
SHORT_PART_ONE = SHORT_RUNS | {
    "full_batch": SHORT_CONTROL, "little_decay": SHORT_RUN, "two_clocks": SHORT_CLOCKS,
}  # fmt: skip
SHORT_LEDGER = SHORT_PART_ONE | SHORT_DIFFUSION | SHORT_CURRENTS | {
    "linear_regression": SHORT_REGRESSION, "*_modes": SHORT_MODES, "continued": SHORT_CONTINUED,
    "quenched": SHORT_QUENCH,
}  # fmt: skip
SHORT_AXIS = {
    "epochs": 6, "examples": 192, "width": 4, "blocks": [1], "measure_every": 1,
    "measure_batches": 4, "sharpness_products": 3,
}  # fmt: skip
SMALL = {
    "index": {
        "settings": {
            "imagenet_resnet": SHORT_RUN, "full_batch": SHORT_CONTROL,
            "wikitext_transformer_xl": SHORT_LANGUAGE, "regimes": SHORT_REGIMES,
            "diffusion": SHORT_DIFFUSION["diffusion"], "*_modes": SHORT_MODES,
        }
    },
    "01-two-stories": {"settings": "epochs=20 noisy*.trajectories=200"},
    "02-what-to-measure": {
        "settings": {
            "examples": 96, "batch_size": 16, "training_steps": 5, "sizes": [3, 4],
            "drawn": [2, 6], "replicates": 3,
            "update_size": {"epochs": 4, "measure_batches": 10, "sharpness_products": 3},
            "normalised_loss": {"training_steps": 20, "measured_examples": 256},
            "sharpness_estimators": {"training_steps": 20, "hidden": [4], "max_products": 6},
        }
    },
    "03-imagenet-resnet101": {
        "settings": SHORT_RUN | {"little_decay": SHORT_RUN, "full_batch": SHORT_CONTROL},
        "seeds": 2,
    },
    "04-wikitext-transformer-xl": {"settings": SHORT_LANGUAGE, "comparison_batches": 3},
    "05-how-far-does-it-reach": {"settings": SHORT_REGIMES | {"resnet_*": SHORT_AXIS}},
    "06-invariant-measure": {
        "settings": {
            "two_identities": {
                "examples": 160, "edges": [140, 420], "replicates": 3, "stride": 7,
            },
            "descent_map": {"times": [10, 100], "trajectories": 5},
        }
    },
    "07-watching-a-distribution-settle": {
        "settings": SHORT_RUNS | {
            "settling_resnet": {
                "epochs": 30, "examples": 192, "width": 4, "blocks": [1], "observe_every": 1,
            }
        },
        "controls": 2,
    },
    "08-back-to-practice": {
        "settings": SHORT_PART_ONE | {
            "averaging": {
                "examples": 200, "steps": 60, "annealed": 20, "windows": [1, 10, 40],
                "members": 2, "record_every": 5,
            }
        },
    },
    "09-anomalous-diffusion": {
        "settings": SHORT_DIFFUSION | BOTH_QUENCHES | {"continued": SHORT_CONTINUED}
    },
    "10-langevin": {"settings": SHORT_REGRESSION},
    "11-modified-loss": {"settings": SHORT_CURRENTS},
    "12-deep-network": {
        "settings": {"*_modes": SHORT_MODES, "continued": SHORT_CONTINUED}
        | {"quenched": SHORT_QUENCH}
    },
    "13-two-clocks": {"settings": SHORT_CLOCKS | {"two_clocks_by_heart": SHORT_CLOCKS}},
    "14-your-own-training": {"settings": SHORT_WATCHED, "tried": 40},
    "claims": {"settings": SHORT_LEDGER},
    "full-size": {"timed": []},
    "own-model": {"epochs": 9},
}  # fmt: skip

LONGEST_CELL = 20  # lines


def pages() -> list[Path]:
    """The files of the book in the order of _toc.yml: a notebook or Markdown."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [toc["root"]]
    for part in toc["parts"]:
        names += [chapter["file"] for chapter in part["chapters"]]
    markdown = [ROOT / f"{name}.md" for name in names]
    return [page if page.exists() else page.with_suffix(".ipynb") for page in markdown]


NOTEBOOKS = [page for page in pages() if page.suffix == ".ipynb"]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# --- what is wrong with a notebook: each function answers with complaints ------


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def faults_of_form(notebook) -> list[str]:
    """Stored outputs, missing ids, no title, not one parameters cell, long cells."""
    faults = []
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        return ["the notebook's format is older than 4.5, which has cell ids"]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        faults.append("the kernel is not called python3")
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not re.search(r"^# \S", first.source, re.MULTILINE):
        faults.append("the first cell holds no title")
    if len(tagged(notebook, "parameters")) != 1:
        faults.append("not exactly one cell is tagged `parameters`")
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        faults.append("a cell has no id of its own")
    for cell in code_cells(notebook):
        if cell.outputs or cell.execution_count is not None:
            faults.append(f"cell {cell.id} has stored outputs or an execution count")
        if len(cell.source.splitlines()) > LONGEST_CELL:
            faults.append(f"cell {cell.id} is longer than {LONGEST_CELL} lines")
    return faults


def statements(cell) -> list[ast.stmt]:
    return ast.parse(TransformerManager().transform_cell(cell.source)).body


def names(tree, context) -> set[str]:
    """The names in a syntax tree that are read (ast.Load) or assigned (ast.Store)."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    found = {node.id for node in nodes if isinstance(node.ctx, context)}
    if context is ast.Load:  # `x += 1` reads x, though Python calls it assigned
        steps = [node.target for node in ast.walk(tree) if isinstance(node, ast.AugAssign)]
        found |= {target.id for target in steps if isinstance(target, ast.Name)}
    return found


def parameters(notebook) -> set[str]:
    """The names that the parameters cell assigns."""
    return {
        name
        for cell in tagged(notebook, "parameters")
        for statement in statements(cell)
        for name in names(statement, ast.Store)
    }


def idle_parameters(notebook) -> list[str]:
    """Parameters that no later cell reads before it assigns them anew."""
    start = 1 + notebook.cells.index(tagged(notebook, "parameters")[0])
    waiting = parameters(notebook)
    for cell in notebook.cells[start:]:
        if cell.cell_type == "code":
            for statement in statements(cell):
                waiting -= names(statement, ast.Load)
                lost = waiting & names(statement, ast.Store)
                if lost:
                    return sorted(lost)
    return sorted(waiting)


def runs_apart(notebook) -> list[str]:
    """The runs that a notebook makes without the arguments that its parameters give."""
    calls = [
        node
        for cell in code_cells(notebook)
        for statement in statements(cell)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "stationarity.run"
    ]
    return [ast.unparse(c) for c in calls if all(keyword.arg for keyword in c.keywords)]


def images(cell) -> list:
    """The outputs of an executed cell that show an image, or one for each of some runs."""
    return [
        output
        for output in cell.get("outputs", [])
        if any(kind.startswith("image/") for kind in output.get("data", {}))
        or "<img " in output.get("data", {}).get("text/html", "")
    ]


def faults_of_outputs(notebook) -> list[str]:
    """Errors, warnings on stderr, and images that lack text or a name."""
    faults = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"cell {cell.id} ends in {output.ename}: {output.evalue}")
            if output.get("name") == "stderr" and "Warning" in output.text:
                faults.append(f"cell {cell.id} warns: {output.text.strip()}")
        if images(cell):
            image = cell.metadata.get("mystnb", {}).get("image", {})
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            lacks = [
                what
                for what, text in [
                    ("alt text", image.get("alt")),
                    ("caption", figure.get("caption")),
                    ("name", figure.get("name")),
                ]
                if not str(text or "").strip()
            ]
            if lacks:
                faults.append(f"the image of cell {cell.id} lacks: {', '.join(lacks)}")
            if len(images(cell)) > 1:
                faults.append(f"cell {cell.id} shows several images under one name")
    return faults


def findings(notebook) -> list[str]:
    """What an executed notebook found, and whether its condition was true."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    found = [one.metadata["finding"] for one in outputs if "finding" in one.get("metadata", {})]
    return [("holds: " if one["holds"] else "not so: ") + one["text"] for one in found]


def figure_names(notebook) -> list[str]:
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in notebook.cells]
    return [figure["name"] for figure in figures if "name" in figure]


def glued(notebook) -> set[str]:
    """The keys that an executed notebook glues."""
    return {
        output.metadata["scrapbook"]["name"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "scrapbook" in output.get("metadata", {})
    }


def pasted(notebook) -> set[str]:
    """The keys that the Markdown of a notebook and its captions paste."""
    captions = [
        cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        for cell in code_cells(notebook)
    ]
    text = "\n".join([cell.source for cell in markdown_cells(notebook)] + captions)
    roles = re.findall(r"\{glue(?::\w+)?\}`([^`:]+)", text)
    directives = re.findall(r"^[`:]{3,}\{glue(?::\w+)?\}[ ]*(\S+)", text, re.MULTILINE)
    return set(roles) | set(directives)


# --- the chapters --------------------------------------------------------------


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_a_page_of_the_table_of_contents_exists(path):
    assert path.exists(), f"_toc.yml lists {path.stem}, which is not in book/"


@each_notebook
def test_form(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert not faults_of_form(notebook)


@each_notebook
def test_every_parameter_reaches_something(path):
    assert not idle_parameters(nbformat.read(path, as_version=4))


@each_notebook
def test_parameters_reach_every_run(path):
    assert not runs_apart(nbformat.read(path, as_version=4))


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem[0].isdigit()], ids=lambda path: path.stem
)
def test_a_chapter_in_one_minute_shows_a_figure_and_two_or_three_findings(path):
    notebook = nbformat.read(path, as_version=4)
    opening = notebook.cells[0].source
    box = re.search(r"^:::\{admonition\} In one minute$(.*?)^:::$", opening, re.M | re.S)[1]
    calls = [
        node
        for cell in code_cells(notebook)
        for node in ast.walk(ast.Module(statements(cell), []))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert box.count("{glue:} minute_figure") == 1
    assert [call.func.attr for call in calls].count("glimpse") == 1
    found = {
        node.value
        for call in calls
        for part in call.keywords
        for node in ast.walk(part.value)
        if call.func.attr == "finding" and part.arg == "name" and isinstance(node, ast.Constant)
    }
    shown = re.findall(r"\{glue:md\} (minute_\d)$", box, re.MULTILINE)
    assert shown == [f"minute_{k}" for k in range(1, len(shown) + 1)] and len(shown) in (2, 3)
    assert set(shown) <= found


def test_no_two_figures_of_the_book_share_a_name():
    books = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    found = [name for notebook in books for name in figure_names(notebook)]
    assert len(found) == len(set(found)), sorted(found)


def test_small_parameters_are_for_chapters_that_exist():
    assert set(SMALL) <= {path.stem for path in NOTEBOOKS}


def with_audit(notebook):
    """Return a page that ends by trying its self-checks, right answers and wrong ones."""
    if not classroom.checks(notebook):
        return notebook
    begin = next(n for n, cell in enumerate(notebook.cells) if "{exercise}" in cell.source)
    notebook.cells.insert(begin, classroom.preparation(classroom.checks(notebook)))
    trial = f"{inspect.getsource(audit)}\n\naudit(check)"  # a kernel knows no tests
    notebook.cells.append(new_code_cell(trial))
    return notebook


@each_notebook
def test_execution(path, tmp_path, record_property, runs_of_pages):
    injected = SMALL.get(path.stem, {})
    assert set(injected) <= parameters(nbformat.read(path, as_version=4))
    notebook = papermill.execute_notebook(
        with_audit(nbformat.read(path, as_version=4)),
        None,  # a file would be written anew at every cell
        parameters=injected,
        kernel_name="python3",
        cwd=tmp_path,
        progress_bar=False,
    )
    assert not faults_of_outputs(notebook)
    for one in findings(notebook):
        record_property("finding", f"{path.stem} {one}")
    missing = pasted(notebook) - glued(notebook)
    assert not missing, f"pasted, but glued nowhere: {sorted(missing)}"


# --- the checks themselves, on tiny notebooks ----------------------------------

FIGURE = {
    "mystnb": {
        "image": {"alt": "A line that falls."},
        "figure": {"caption": "The loss.", "name": "fig-loss"},
    }
}


def parameter_cell(source="epochs = 3"):
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def chapter(*cells):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return new_notebook(
        cells=[new_markdown_cell("# Title"), parameter_cell(), *cells], metadata=kernel
    )


def picture():
    return new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"})


def test_a_chapter_of_good_form_passes():
    assert not faults_of_form(chapter(new_code_cell("train(epochs)")))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda n: n.cells[1].update(execution_count=1), "execution count"),
        (lambda n: n.cells[1].update(outputs=[picture()]), "stored outputs"),
        (lambda n: n.cells[1].update(source="\n".join("x" * 21)), "longer than"),
        (lambda n: n.cells[1].update(metadata={}), "tagged `parameters`"),
        (lambda n: n.cells[0].update(source="No title"), "no title"),
        (lambda n: n.cells[0].update(id=n.cells[1].id), "no id of its own"),
        (lambda n: n.metadata.kernelspec.update(name="mine"), "kernel"),
        (lambda n: n.update(nbformat_minor=4), "older than 4.5"),
    ],
)
def test_a_fault_of_form_is_caught(spoil, complaint):
    notebook = chapter()
    spoil(notebook)
    assert any(complaint in fault for fault in faults_of_form(notebook))


@pytest.mark.parametrize(
    "source",
    [
        "train()",
        "epochs = 5\ntrain(epochs)",
        "for epochs in range(5):\n    pass",
        "train(epoch=5)  # epochs",
    ],
)
def test_a_parameter_that_reaches_nothing_is_caught(source):
    assert idle_parameters(chapter(new_code_cell(source))) == ["epochs"]


@pytest.mark.parametrize(
    "source",
    [
        "train(epochs)",
        "epochs += 1",
        "def f():\n    return epochs",
        "progress = f'of {epochs}'",
        "%matplotlib inline\ntrain(epochs)",
    ],
)
def test_a_parameter_that_is_read_passes(source):
    assert not idle_parameters(chapter(new_code_cell(source)))


def test_a_run_that_no_parameter_reaches_is_caught():
    free = new_code_cell('stationarity.run("regimes", seed=3)')
    bound = new_code_cell('stationarity.run("regimes", **arguments["regimes"])')
    assert runs_apart(chapter(free, bound)) == ["stationarity.run('regimes', seed=3)"]


def test_an_error_output_is_caught():
    error = new_output("error", ename="ValueError", evalue="no batch", traceback=[])
    faults = faults_of_outputs(chapter(new_code_cell("f()", outputs=[error])))
    assert len(faults) == 1 and "ValueError: no batch" in faults[0]


def test_a_warning_is_caught_and_a_progress_bar_is_not():
    warning = new_output("stream", name="stderr", text="a.py:1: UserWarning: slow\n")
    bar = new_output("stream", name="stderr", text=" 50%|#####     | 5/10\n")
    assert faults_of_outputs(chapter(new_code_cell("f()", outputs=[warning])))
    assert not faults_of_outputs(chapter(new_code_cell("f()", outputs=[bar])))


def test_a_figure_with_alt_caption_and_name_passes():
    cell = new_code_cell("plot()", metadata=FIGURE, outputs=[picture()])
    assert not faults_of_outputs(chapter(cell))


@pytest.mark.parametrize(
    ("kind", "key", "complaint"),
    [
        ("image", "alt", "alt text"),
        ("figure", "caption", "caption"),
        ("figure", "name", "name"),
    ],
)
@pytest.mark.parametrize("value", ["", " ", None])
def test_a_figure_without_text_is_caught(kind, key, complaint, value):
    metadata = {"mystnb": FIGURE["mystnb"] | {kind: FIGURE["mystnb"][kind] | {key: value}}}
    cell = new_code_cell("plot()", metadata=metadata, outputs=[picture()])
    faults = faults_of_outputs(chapter(cell))
    assert len(faults) == 1 and faults[0].endswith(f"lacks: {complaint}")


def test_an_image_without_metadata_and_a_second_image_are_caught():
    assert faults_of_outputs(chapter(new_code_cell("plot()", outputs=[picture()])))
    two = new_code_cell("plot()", metadata=FIGURE, outputs=[picture(), picture()])
    assert any("several" in fault for fault in faults_of_outputs(chapter(two)))


def test_images_in_tabs_are_images():
    tabs = new_output("display_data", data={"text/html": '<h4>paper</h4><img src="data:">'})
    faults = faults_of_outputs(chapter(new_code_cell("page.tabs()", outputs=[tabs])))
    assert len(faults) == 1 and faults[0].endswith("lacks: alt text, caption, name")


def test_pasted_keys_are_found_in_every_form():
    notebook = chapter(
        new_markdown_cell("Norm {glue:text}`norm:.2f`, {glue}`loss` and {glue:text}`rate`."),
        new_markdown_cell("```{glue:md} table\n:format: myst\n```"),
        new_markdown_cell(":::{glue} curve\n:::"),
    )
    assert pasted(notebook) == {"norm", "loss", "rate", "table", "curve"}


def test_glued_keys_are_found():
    output = new_output("display_data", data={}, metadata={"scrapbook": {"name": "norm"}})
    assert glued(chapter(new_code_cell("glue('norm', 1)", outputs=[output]))) == {"norm"}
