# What each target needs is looked after first: .venv by .ci/environment.sh, Git by
# .ci/repository.sh. GNU make 3.81, which macOS has, is enough.
PYTHON ?= python3
BIN := PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: help repro test lint lock-check verify env requirements pins
.PHONY: environment repository expectation

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

repro: expectation env  ## run the pipeline: what is up to date is not run again
	$(BIN) dvc repro
	@$(BIN) python .ci/processor.py
	@sh .ci/expectation.sh after

expectation:
	@sh .ci/expectation.sh before

test: environment  ## run the tests; those on real sets read the folder PYRAMID_REID_DATA
	$(BIN) python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: environment  ## check formatting, style and types
	$(BIN) ruff format --check .
	$(BIN) ruff check .
	$(BIN) mypy

lock-check: env  ## check that dvc.lock belongs to the code and params that are checked out
	$(BIN) python .ci/check_lock.py

verify: env  ## run the committed pipeline from nothing, and compare with the committed bytes
	$(BIN) python .ci/verify.py

env: environment repository  ## make or repair .venv (PYTHON=/path/to/python3.12 takes another Python)

environment:
	@PYTHON="$(PYTHON)" sh .ci/environment.sh

repository: environment
	@sh .ci/repository.sh

requirements: environment  ## pin the newest versions that pyproject.toml allows, with hashes
	$(BIN) uv pip compile --universal --python-version 3.11 --extra dev --extra cluster \
		--no-emit-index-url --generate-hashes --upgrade --quiet --custom-compile-command "make requirements" \
		--output-file requirements.txt pyproject.toml
	$(MAKE) pins

# Packages that make the bytes of stages, by what the stages depend on.
OF_ALL := llvmlite|matplotlib|numba|numpy|pandas|pillow|scikit-image|scipy
OF_NETWORKS := safetensors|timm|torch|torchreid|torchvision

pins:  ## write the versions on which stages depend, from requirements.txt
	grep -oE '^($(OF_ALL))==[^ ]+' requirements.txt > src/pyramid_reid/core/pins.txt
	grep -oE '^($(OF_NETWORKS))==[^ ]+' requirements.txt > src/pyramid_reid/training/pins.txt
