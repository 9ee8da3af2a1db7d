# `make run` and `make test` work in a fresh clone: everything else is made from the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# what takes hours, 30 GB of disk, or a hundred thousand requests; the campaign goes on where it was ended
LONG := campaign replay stream qat serving_fuzz
BENCHES := $(patsubst tests/bench/bench_%.py,%,$(sort $(wildcard tests/bench/bench_*.py)))

.PHONY: env run up test test-all test-fast lint size docs rollout-demo screenshots gpu gpu-wheels bench bench-long

env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@echo "$(VENV): $$(grep -c == requirements.lock) packages, once; it takes a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: $(STAMP)
	$(BIN)/slipway run digits

up: $(STAMP)
	$(BIN)/slipway up

# three processes for two cores, since a fifth of the time tests wait for servers
test: $(STAMP)
	$(BIN)/pytest -n 3 --dist worksteal -m "not platform"

test-all: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not platform"

lint: $(STAMP) size
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# lines of code and branches a room, held to the budget in pyproject.toml; and which files a key has as a whole
size: $(STAMP)
	$(BIN)/python tests/house/size.py
	$(BIN)/python -m flows.pipeline.keys

# a version that is worse is found out in production and goes back, and a good one is promoted: a real server, clients, labels; three minutes
rollout-demo: $(STAMP)
	$(BIN)/python tests/bench/rollout_demo.py

# the reference made anew, and all pages as a site in build/site, links checked
docs: $(STAMP)
	$(BIN)/python docs/site/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

# the pictures of the pages, by a browser on a platform of their own: a few minutes, and Debian's chromium
screenshots: $(STAMP)
	$(BIN)/python docs/site/screenshots.py

# what a GPU alone can show, on whatever torch and Python this machine has; without a GPU it says so
gpu:
	PYTHONPATH=.:$(WHEELS)/site $(PYTHON) tests/bench/bench_gpu.py

# for a machine that reaches no package index: what `make gpu` needs beside torch, numpy, pandas, pyarrow, onnx, onnxscript,
# onnxruntime and scikit-learn, unpacked for its Python (make gpu-wheels FOR=3.12)
WHEELS := build/gpu
FOR ?= 3.12
gpu-wheels: $(STAMP)
	rm -rf $(WHEELS)
	grep -E "^(annotated-types|filelock|mypy_extensions|pandera|psutil|pydantic|pydantic_core|typeguard|typing-inspect|typing-inspection|typing_extensions)==" \
		requirements.lock > $(VENV)/gpu.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: --python-version $(FOR) \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 \
		--target $(WHEELS)/site -r $(VENV)/gpu.txt

# make bench WHAT="loop proof" runs these alone; with WRITE=1 their tables go into docs/benchmarks.md
bench: WHAT ?= $(filter-out $(LONG),$(BENCHES))
bench-long: WHAT ?= $(LONG)
bench bench-long: $(STAMP)
	for name in $(WHAT); do echo "== $$name"; $(BIN)/python tests/bench/bench_$$name.py $(if $(WRITE),--write) || exit 1; done
