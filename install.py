"""Install the pinned packages and the library for the Python that runs this file.

``make`` runs it in ``.venv``. Each package is checked against its hashes in
``requirements.txt``; but on Linux without an NVIDIA driver, PyTorch is its CPU build, which
saves gigabytes of CUDA libraries, where PyTorch's own index answers at once.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PIP = [sys.executable, "-m", "pip"]
UV = [sys.executable, "-m", "uv", "pip"]
LOCKED = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", "/dev/stdin"]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What is another package, or none, beside PyTorch's CPU build.
BUILD = re.compile(r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def main() -> None:
    """Install PyTorch's CPU build where it serves, the other packages, and the library."""
    packages = entries((HERE / "requirements.txt").read_text())
    own_index = pip_has_an_index()
    cpu_index = os.environ.get("TORCH_CPU_INDEX", "" if own_index else CPU_INDEX)
    if cpu_index and lacks_driver() and answers(cpu_index):
        torch = [entry.split()[0] for entry in packages if re.match("torch(vision)?==", entry)]
        if done([*PIP, "install", "--no-deps", "--index-url", cpu_index, *torch]):
            packages = [entry for entry in packages if not BUILD.match(entry)]
    uv = [entry for entry in packages if entry.startswith("uv==")]
    links = ["--python", sys.executable, "--cache-dir", f"{sys.prefix}/uv-cache"]
    installed = (
        not own_index
        and done([*PIP, "install", *LOCKED], uv)
        and done([*UV, "install", *links, *LOCKED], packages)
    )
    if not installed:
        installed = done([*PIP, "install", *LOCKED], packages)
    shutil.rmtree(f"{sys.prefix}/uv-cache", ignore_errors=True)
    library = ["--no-deps", "--no-build-isolation", "-e", HERE]
    if not (installed and done([*PIP, "install", *library])):
        sys.exit("Not everything could be installed: see above.")


def entries(text: str) -> list[str]:
    """Return the pinned packages, each with the lines of its hashes."""
    return re.findall(r"^[\w.-]+==(?:.*\\\n)*.*\n", text, re.MULTILINE)


def done(command: list, packages: list[str] = ()) -> bool:
    """Run a command on some packages; say whether it succeeded."""
    return not subprocess.run(command, input="".join(packages), text=True).returncode


def pip_has_an_index() -> bool:
    """Say whether pip is set to another index than PyPI, or to none: then pip does it all."""
    said = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    return bool(re.search(r"\.(index-url|no-index)=", said))


def lacks_driver() -> bool:
    """Say whether this is Linux without an NVIDIA driver."""
    driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()
    return sys.platform == "linux" and not driver


def answers(index: str) -> bool:
    """Say whether an index of packages answers within some seconds."""
    ask = "import sys, urllib.request as u; u.urlopen(sys.argv[1] + '/torch/', timeout=2)"
    command = [sys.executable, "-c", ask, index]
    try:  # another process: nothing else limits the time in which a name is looked up
        return not subprocess.run(command, stderr=subprocess.DEVNULL, timeout=5).returncode
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    main()
