# The environment is made when it is missing and again only when requirements.txt changed.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: repro test lint lock-check verify env identity requirements pins

repro: $(READY) identity  ## run the whole pipeline; what is already up to date is not run again
	$(BIN) dvc repro

test: $(READY)  ## run the tests; PYRAMID_REID_DATA names a folder with real sets, if you have one
	$(BIN) python -m pytest

lint: $(READY)  ## formatting, style and types
	$(BIN) ruff format --check .
	$(BIN) ruff check .
	$(BIN) mypy

lock-check: $(READY)  ## dvc.lock belongs to the code and params that are checked out
	$(BIN) python .ci/check_lock.py

verify: $(READY)  ## run the committed pipeline from nothing: it must give the committed bytes
	$(BIN) python .ci/verify.py

env: $(READY)  ## only make the environment

identity:  ## DVC keeps experiments as Git commits, which need a name, if only in this clone
	@git config user.email >/dev/null || { \
		git config user.name "pyramid-reid" && git config user.email "pyramid-reid@localhost" && \
		echo "Git knows no name for you: experiments of this clone are committed as pyramid-reid" \
			"(change it with git config user.name and user.email)"; }

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, {v.major}.{v.minor} found: make PYTHON=python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	touch $@

requirements: $(READY)  ## newest versions that pyproject.toml allows, with the hashes of their files
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
