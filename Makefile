# Two commands matter: `make book` and `make test`. `make help` lists the rest.
# Works with GNU make 3.81 (macOS) and later.

# Another Python: make book PYTHON=/path/to/python3.12
PYTHON ?=
# Arguments for pytest or for a benchmark: make test ARGS="-k sharpness"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin/python
PROGRESS := _build/progress.log
CHROMIUM = $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
PRINTING := --headless --no-sandbox --disable-gpu --disable-background-networking \
	--virtual-time-budget=600000 --no-pdf-header-footer --generate-pdf-document-outline

# A shell's own settings must not change what the book is made with, nor how long it takes:
# without bytecode every kernel compiles all that it imports.
unexport PYTHONHOME PYTHONPATH MPLBACKEND PYTHONDONTWRITEBYTECODE
# Threads of NumPy's small products only wait for each other; PyTorch has its own.
export OPENBLAS_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# For the shell, which takes a path whole, whatever characters it has.
export PLACE := $(CURDIR)
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help book class slides test pdf links benchmark gpu lock clean stale
.NOTPARALLEL:

help:
	@echo "make book       build the book: _build/html/index.html"
	@echo "make class      notebooks for students and for teachers: _build/class"
	@echo "make slides     a deck of slides for each chapter: _build/slides"
	@echo "make test       run the tests"
	@echo "make pdf        print the book with Chromium: _build/book.pdf"
	@echo "make links      look whether the book's links to other places lead somewhere"
	@echo "make benchmark  time measurements and training against their floors"
	@echo "make gpu        on a machine with a GPU: its tests, rates and records, 12 minutes"
	@echo "make lock       choose the pinned versions in requirements.txt anew"
	@echo "make clean      remove the built pages and the environment; runs stay"
	@echo
	@echo "PYTHON=...      the Python to make the environment with (3.11 to 3.13)"
	@echo "ARGS=...        arguments for pytest, benchmarks/curvature.py or benchmarks/gpu.py"

# --- the environment ---------------------------------------------------------

# $$python becomes the first Python of a suitable version that runs at all.
define find-python
python=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3 python); do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "$(if $(PYTHON),$(PYTHON) is no working Python 3.11$(comma) 3.12 or 3.13,No Python 3.11$(comma) 3.12 or 3.13 found): install one, or name one by: make PYTHON=/path/to/python3.12" >&2; \
	exit 1; \
fi
endef
comma := ,

# Without ensurepip (Debian), by the outer pip.
define make-environment
"$$python" -m venv --clear $(VENV) >/dev/null 2>&1 \
	|| { "$$python" -m venv --clear --without-pip $(VENV) && "$$python" -m pip --python $(BIN) install pip; } \
	|| { echo "$$python cannot make a virtual environment: install its venv module (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
endef

# An environment states its place once it is complete. One that was moved, lost
# its Python, or was interrupted half-made states another or none: it is made anew.
state-place := import sys; sys.stdout.buffer.write(open("$(VENV)/.place", "rb").read())
ifneq ($(shell $(BIN) -c '$(state-place)' 2>/dev/null),$(CURDIR))
unfit := stale
endif

$(VENV)/.made: $(unfit)
	@$(find-python); echo "Making $(VENV) with $$("$$python" --version)."; $(make-environment)
	@touch $@

$(VENV)/.ready: pyproject.toml requirements.txt install.py $(VENV)/.made
	@rm -f $(VENV)/.place
	@echo "Installing the pinned packages, once."
	@$(BIN) install.py
	@mkdir -p $(VENV)/etc/ipython
	@echo 'get_config().IPKernelApp.log_level = "ERROR"' > $(VENV)/etc/ipython/ipython_kernel_config.py
	@printf '%s' "$$PLACE" > $(VENV)/.place
	@touch $@

# --- what it serves ----------------------------------------------------------

# Sphinx is silent while a chapter runs: training writes its progress to a
# file, and `tail` shows it until the build ends, in whatever way.
book: $(VENV)/.ready
	@mkdir -p _build && : > $(PROGRESS)
	@tail -f $(PROGRESS) & follow=$$!; \
	trap 'kill $$follow 2>/dev/null' EXIT; trap 'exit 130' HUP INT TERM; \
	STATIONARITY_PROGRESS="$$PLACE/$(PROGRESS)" $(VENV)/bin/jupyter-book build . -W --keep-going
	@echo "The book is built. Open $$PLACE/_build/html/index.html"

class: $(VENV)/.ready
	@$(BIN) -m stationarity.book.classroom _build/class

slides: book
	@$(BIN) -m stationarity.book.slides _build/slides

test: $(VENV)/.ready
	$(BIN) -m pytest $(ARGS)

# Of the built book: all its pages in one, with links within it.
pdf: book
	@test -n "$(CHROMIUM)" || { echo "No Chromium found: install one, or name one by make pdf CHROMIUM=/path/to/it" >&2; exit 1; }
	@"$(CHROMIUM)" $(PRINTING) --print-to-pdf="$$PLACE/_build/book.pdf" "file://$$($(BIN) book/_ext/one_page.py _build/html)"
	@echo "The book is printed: $$PLACE/_build/book.pdf"

links: $(VENV)/.ready
	$(VENV)/bin/jupyter-book build . --builder linkcheck

benchmark: $(VENV)/.ready
	$(BIN) benchmarks/measure.py
	$(BIN) benchmarks/curvature.py $(ARGS)
	$(BIN) benchmarks/transformer_xl.py
	$(BIN) benchmarks/training.py
	$(BIN) benchmarks/ensembles.py
	$(BIN) benchmarks/watching.py
	$(BIN) benchmarks/report.py
	$(BIN) benchmarks/langevin.py
	$(BIN) benchmarks/invariance.py

gpu: $(VENV)/.ready
	$(BIN) benchmarks/gpu.py $(ARGS)

lock: $(VENV)/.made
	@$(BIN) -m pip install --quiet uv
	$(BIN) -m uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes \
		--extra book --extra test --extra benchmark --extra install \
		--no-annotate --custom-compile-command "make lock" --quiet -o requirements.txt pyproject.toml

clean:
	rm -rf _build $(VENV) .pytest_cache
