"""The GPU day: all that a GPU is needed for, in order of worth, each step bounded in time.

    python benchmarks/gpu.py --out DIR [--minutes 12] [--data-root ROOT] [--commit HASH]
    python benchmarks/gpu.py pack --data-root ROOT --out DIR [--note TEXT]

The first line tests, times and records, and goes on where an earlier call stopped. Each
step is a process of its own: one that fails says so, and the next one begins. Records have
all the time that is left; other steps have a limit, and wait, once stopped, until all were
begun. Where a command may take 600 s, say ``--minutes 9``, and call again. Needed packages
that are not here are listed first, and what can be done without them is done.
``DIR/home`` is all that is worth keeping, also as ``DIR/home.tar.gz``: unpacked into the
``DIR`` of a fresh machine, its steps count as done. Runs and their checkpoints lie in
``DIR/runs``. The second line writes the part of the data that the runs take, below 64 MB,
for a machine without a network. ``--dry`` takes the steps on the CPU, shortened.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GRACE, GATHERING = 12, 20  # seconds: of a step that is told to end, and kept for the end
LEAST = 5  # seconds under which no step begins
PACKAGES = {  # of a module
    "PIL": "pillow", "sklearn": "scikit-learn", "annotated_types": "annotated-types",
    "pydantic_core": "pydantic-core", "typing_extensions": "typing-extensions",
    "typing_inspection": "typing-inspection", "yaml": "pyyaml",
}  # fmt: skip
MEASURING = ("torch", "numpy", "psutil")
LIBRARY = (
    *MEASURING, "torchvision", "PIL", "filelock", "pandas", "pyarrow", "scipy", "sklearn",
    "tqdm", "pydantic", "pydantic_core", "annotated_types", "typing_extensions",
    "typing_inspection", "matplotlib", "seaborn", "yaml",
)  # fmt: skip


class Step(NamedTuple):
    """What computes a step, the seconds that it has at first, and the modules it needs."""

    compute: str  # module:function
    seconds: int  # 0: all that are left, as a record is worth nothing before it is complete
    needs: tuple[str, ...] = LIBRARY


STEPS = {
    "agreement": Step("gpu_agreement:agreement", 60, MEASURING),
    "tests": Step("gpu_agreement:tests", 100, (*LIBRARY, "pytest", "threadpoolctl")),
    "matrix": Step("gpu_clock:matrix", 40, MEASURING),
    "cifar10_resnet": Step("gpu_records:make", 0),
    "wikitext_transformer_xl": Step("gpu_records:make", 0),
    "imagenet_resnet": Step("gpu_records:make", 0),
    "two_clocks": Step("gpu_records:make", 0),
    "resnet18": Step("gpu_rates:resnet18", 40),
    "products": Step("gpu_rates:products", 50),
    "transformer_xl": Step("gpu_rates:transformer_xl", 40),
    "resnet101": Step("gpu_rates:resnet101", 120),
    "continued": Step("gpu_records:make", 0),
    "little_decay": Step("gpu_records:make", 0),
}


class Results(dict):
    """A step's results, in a file after each part; a part that is there is not repeated."""

    def __init__(self, path: Path):
        super().__init__(read(path))
        self.path, self.failed = path, []

    def part(self, name: str, compute) -> None:
        """Note ``compute()``; of one that fails print why."""
        if name in self:
            return
        try:
            self[name] = compute()
            write(self.path, self)
        except Exception:
            traceback.print_exc()
            self.failed.append(name)


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    partial.replace(path)


def lacking() -> dict[str, list[str]]:
    """Return what is not here, a module with the lines of requirements.txt for its package."""
    needed = dict.fromkeys(module for step in STEPS.values() for module in step.needs)
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    text = (ROOT / "requirements.txt").read_text("utf-8")
    lines = [line.rstrip(" \\") for line in text.splitlines()]  # without their hashes
    packages = {module: PACKAGES.get(module, module) for module in missing}
    return {m: [x for x in lines if x.startswith(f"{p}==")] for m, p in packages.items()}


def device_here(options) -> str:
    """Return the name of the GPU; end where there is none, or no PyTorch."""
    if options.dry:
        return "CPU, dry"
    program = "import torch; print(torch.cuda.get_device_name(), 'PyTorch', torch.__version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        sys.exit(f"No GPU is here ({' '.join(last)}): --dry takes the steps on the CPU.")
    return done.stdout.strip()


def commit_here() -> str | None:
    """Return what the library takes for the commit, without importing what it needs."""
    path = ROOT / "lib" / "stationarity" / "runs" / "provenance.py"
    return runpy.run_path(str(path))["commit"]()


def command(name: str, options) -> list[str]:
    """Return the command line of a step."""
    line = [sys.executable, os.path.abspath(__file__), "--step", name, "--out", options.out]
    for key in ("data_root", "note"):
        given = getattr(options, key)
        line += [f"--{key.replace('_', '-')}", given] if given else []
    return [*map(str, line), *(["--dry"] if options.dry else [])]


def environment(options) -> dict:
    paths = [str(ROOT / "lib"), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    own["STATIONARITY_RUNS"] = str(options.out / "runs")
    own |= {"STATIONARITY_COMMIT": options.commit} if options.commit else {}
    return os.environ | own


def take(name: str, options, limit: float, before: dict) -> dict:
    """Take a step for at most so many seconds; return its state, which holds its results."""
    log, start, status = options.out / "logs" / f"{name}.log", time.monotonic(), "stopped"
    log.parent.mkdir(parents=True, exist_ok=True)
    how = {"cwd": ROOT, "env": environment(options), "process_group": 0}
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command(name, options), stdout=file, stderr=subprocess.STDOUT, **how
        )
        try:
            status = "failed" if process.wait(limit) else "done"
        except subprocess.TimeoutExpired:
            pass
        finally:
            end(process)
    said = re.split(r"[\r\n]+", log.read_text("utf-8", "replace").strip())[-1]
    seconds = before.get("seconds", 0.0) + time.monotonic() - start
    state = {"status": status, "seconds": round(seconds, 1), "said": said[-300:]}
    return state | {"results": read(options.out / "home" / "parts" / f"{name}.json")}


def end(process: subprocess.Popen) -> None:
    """End a process, which may take its leave, and all that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def day(options) -> int:
    """Take the steps that are left, those that were stopped once more where time is left."""
    options.commit = options.commit or commit_here()
    if not options.commit:
        sys.exit("No git tells the commit here, which records name: name it by --commit HASH.")
    deadline = time.monotonic() + 60 * options.minutes - GATHERING
    home, missing = options.out / "home", lacking()
    about = {"device": device_here(options), "commit": options.commit, "lacking": missing}
    tell_lacking(missing)
    for again in (False, True):
        for name in options.only:
            path = home / "steps" / f"{name}.json"
            before, left = read(path), deadline - time.monotonic()
            own, stopped = STEPS[name].seconds, before.get("status") == "stopped"
            later = not stopped if again else stopped and own  # a record goes on at once
            if before.get("status") == "done" or left < LEAST or later:
                continue
            if without := [module for module in STEPS[name].needs if module in missing]:
                state = {"status": "lacking", "seconds": 0.0, "said": f"needs {without}"}
            else:
                whole = again or options.dry or not own
                state = take(name, options, left if whole else min(left, own), before)
            write(path, state)
            keep(options, about)  # the machine may be taken away at any moment
            said = "" if state["status"] == "done" else state["said"]
            print(f"{name}: {state['status']}, {state['seconds']:.0f} s. {said}".rstrip())
            sys.stdout.flush()
    return tell(options, keep(options, about))


def tell_lacking(missing: dict) -> None:
    """Print the packages that are not here, as pip takes them."""
    if missing:
        lines = (line for found in missing.values() for line in found)
        print("Not here, and needed for all steps: bring wheels of\n  " + "\n  ".join(lines))


def keep(options, about: dict) -> dict:
    """Write the summary, the rates and the archive; return the state of each step."""
    home = options.out / "home"
    states = {name: read(home / "steps" / f"{name}.json") for name in STEPS}
    write(home / "summary.json", about | {"steps": states})
    rows = [
        (name, part, found)
        for name, state in states.items()
        for part, found in state.get("results", {}).items()
        if isinstance(found, dict) and "a second" in found
    ]
    (home / "rates.md").write_text(rate_table(about["device"], rows), "utf-8")
    shutil.make_archive(str(home), "gztar", options.out, "home")
    return states


def tell(options, states: dict) -> int:
    """Print the rates, what is left, and what to do with what was made."""
    home = options.out / "home"
    print(f"\n{(home / 'rates.md').read_text('utf-8')}")
    left = [name for name in STEPS if states[name].get("status") != "done"]
    print(f"To bring home: {home}.tar.gz. Left: {', '.join(left) or 'nothing'}.")
    for run in () if options.dry else sorted(home.glob("records/*/*")):
        place = run.relative_to(home / "records")
        print(f"To commit: {run} as book/results/{place}")
    return int(
        any(states[name].get("status") in ("failed", "lacking") for name in options.only)
    )


def rate_table(device: str, rows: list) -> str:
    """Return the rates as a table in Markdown."""
    columns = (
        "a second", "share of the peak", "ms a step", "with loader", "kernels", "products",
        "in gradients", "bound by",
    )  # fmt: skip
    lines = [f"Rates on {device}.", "", f"| step | part | {' | '.join(columns)} |"]
    lines.append("|" + " --- |" * (len(columns) + 2))
    for name, part, found in rows:
        cells = (found.get(column, "") for column in columns)
        shown = (f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells)
        lines.append(f"| {name} | {part} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def one_step(options) -> int:
    """Compute a step in this process."""
    module, function = STEPS[options.step].compute.split(":")
    results = Results(options.out / "home" / "parts" / f"{options.step}.json")
    getattr(importlib.import_module(module), function)(options, results)
    if results.failed:
        print(f"Failed: {', '.join(results.failed)}")
    return 1 if results.failed else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("day", "pack"), default="day")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "gpu")
    parser.add_argument("--minutes", type=float, default=12, help="of this call, in all")
    parser.add_argument("--data-root", type=Path, help="else STATIONARITY_DATA, or a download")
    parser.add_argument("--commit", help="that the runs name, where git is not here")
    parser.add_argument("--note", help="what records say of their data")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--dry", action="store_true", help="on the CPU, shortened")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    if options.data_root:
        options.data_root = options.data_root.resolve()
    if options.command == "pack":
        import gpu_data

        return gpu_data.pack(options)
    return one_step(options) if options.step else day(options)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so the step in hand ends, too
    sys.exit(main())
