# What each target needs is looked after first: .venv by .ci/environment.sh, Git by
# .ci/repository.sh. GNU make 3.81, which macOS has, is enough.
PYTHON ?= python3
BIN := PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: repro test lint lock-check verify env environment repository requirements pins

repro: env  ## run the whole pipeline; what is already up to date is not run again
	$(BIN) dvc repro

test: environment  ## run the tests; PYRAMID_REID_DATA names a folder with real sets, if you have one
	$(BIN) python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: environment  ## formatting, style and types
	$(BIN) ruff format --check .
	$(BIN) ruff check .
	$(BIN) mypy

lock-check: env  ## dvc.lock belongs to the code and params that are checked out
	$(BIN) python .ci/check_lock.py

verify: env  ## run the committed pipeline from nothing: it must give the committed bytes
	$(BIN) python .ci/verify.py

env: environment repository  ## only make the environment, and give DVC what it needs of Git

environment:
	@PYTHON="$(PYTHON)" sh .ci/environment.sh

repository: environment
	@sh .ci/repository.sh

requirements: environment  ## newest versions that pyproject.toml allows, with the hashes of their files
	$(BIN) uv pip compile --universal --python-version 3.11 --extra dev --no-emit-index-url \
		--generate-hashes --upgrade --quiet --custom-compile-command "make requirements" \
		--output-file requirements.txt pyproject.toml
	$(MAKE) pins

# Packages that make the bytes of stages, by what the stages depend on.
OF_ALL := llvmlite|matplotlib|numba|numpy|pandas|pillow|scikit-image|scipy
OF_NETWORKS := safetensors|timm|torch|torchreid|torchvision

pins:  ## the versions on which stages depend, from requirements.txt
	grep -oE '^($(OF_ALL))==[^ ]+' requirements.txt > src/pyramid_reid/core/pins.txt
	grep -oE '^($(OF_NETWORKS))==[^ ]+' requirements.txt > src/pyramid_reid/training/pins.txt
