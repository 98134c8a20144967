# Two commands do all their own set-up: `make` (the demo replication) and `make test`.

# Not --quiet rules: it would hide the log of a step that fails.
SNAKEMAKE := .venv/bin/snakemake --quiet host reason
ARCHIVE ?=
RUN ?=
REMOTE ?=
# What is built from metrics alone.
DRAWN = $(shell sed -n 's/^rule \([a-z_]*_figures\):/\1/p' workflow/rules/*.smk) claims report

# Snakemake keeps a cache in the home folder; where that cannot be written to, it goes beside the results.
ifneq ($(shell test -w "$$HOME" || echo no),)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

# Python keeps what it compiled: where a container forbids it, each of a run's 130 processes would compile torch anew, for 1.6 s.
unexport PYTHONDONTWRITEBYTECODE

# Paths of the open data, where they are at hand; what is left out is fetched.
WORDS ?=
SPEECH ?=
ENCODERS ?=
NOISE ?=
OPEN = {corpus: {$(if $(WORDS),archive: '$(WORDS)'$(COMMA)) $(if $(SPEECH),speech: ['$(SPEECH)']$(COMMA)) $(if $(NOISE),noise: '$(NOISE)')}, encoders: {$(if $(ENCODERS),folder: '$(ENCODERS)')}}
COMMA := ,

.PHONY: open demo test test-slurm test-package docs tutorial lint gsc_subset paper bench paper_run release restore help clean
.DEFAULT_GOAL := demo

demo: .venv/.main ## The demo replication on embedded synthetic speech, start to report (default)
	$(SNAKEMAKE) --configfile config/demo.yaml
	@echo "Report: results/demo/report.html"

# One thread each: those of two workers on two cores would wait for one another.
test: .venv/.test ## All tests
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadgroup

test-slurm: .venv/.test ## The workflow on a real Slurm cluster, on this machine's loopback
	tests/slurm/prove

test-package: .venv/.test ## The library by itself: wheel and sdist, each in an empty environment
	tests/packaging/prove

docs: .envs/docs ## The documentation as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 .envs/docs/bin/mkdocs build --strict --quiet
	@! grep -rlE '<(script|link|img|iframe)[^>]*(src|href)="?https?:' site || { echo "error: these pages ask the network" >&2; exit 2; }
	@echo "Documentation: site/index.html (search works where it is served: .envs/docs/bin/mkdocs serve)"

tutorial: .venv/.main ## The tutorial's notebook, executed: docs/tutorial.ipynb
	$(SNAKEMAKE) results/demo/models/traces_propagation/base_frozen_seed0.safetensors --configfile config/demo.yaml
	.venv/bin/edgekws report notebook notebooks/tutorial.ipynb docs/tutorial.ipynb

.envs/docs: envs/docs.txt envs/tool
	envs/tool docs .envs/docs
	@test -x .envs/docs/bin/mkdocs || { cat .envs/docs/not_installed.txt >&2; exit 2; }

lint: .venv/.test ## ruff, mypy, snakefmt
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check --line-length 120 Snakefile workflow

open: .venv/.main ## OnDA on people's voices; data fetched by DVC (560 MB), or make open WORDS=... SPEECH=... ENCODERS=...
	$(SNAKEMAKE) --configfile config/demo.yaml config/open.yaml --config onda="$(OPEN)"
	@echo "Report: results/open/report.html"

gsc_subset: .venv/.main ## The same on real recordings: make gsc_subset ARCHIVE=path/to/archive.tar.gz
	@test -n "$(ARCHIVE)" || { echo "error: name an archive in GSC's layout: make gsc_subset ARCHIVE=..." >&2; exit 2; }
	@test -e "$(ARCHIVE)" || { echo "error: $(ARCHIVE): no such archive" >&2; exit 2; }
	$(SNAKEMAKE) --configfile config/gsc_subset.yaml --config archive="$(ARCHIVE)"
	@echo "Report: results/gsc_subset/report.html"

paper: .venv/.main ## The same on the whole of GSC v0.02 (2.4 GB by DVC; for a cluster: docs/paper_run.md)
	$(SNAKEMAKE) --configfile config/paper.yaml
	@echo "Report: results/paper/report.html"

bench: .venv/.test .envs/bench ## Every benchmark beside what one would use instead: docs/benchmarks.md (on a quiet machine)
	.venv/bin/python -m benchmarks.run

.envs/bench: envs/bench.txt envs/tool
	@envs/tool bench $@

paper_run: .venv/.main ## Estimate anew what that needs: docs/paper_run.md, the table of docs/cluster.md
	.venv/bin/edgekws run cost --configfile config/paper.yaml --measured docs/benchmarks.json --markdown docs/paper_run.md \
	    --table docs/cluster.md

release: .venv/.main ## Version a finished run with DVC: make release RUN=demo REMOTE=/folder/or/address
	@test -n "$(RUN)" && test -n "$(REMOTE)" || { echo "error: make release RUN=demo REMOTE=/folder/or/address" >&2; exit 2; }
	@.venv/bin/edgekws release push "$(RUN)" --remote "$(REMOTE)"

restore: .venv/.main ## Figures, notebooks, claims and report of a release, from its metrics: make restore RUN=demo
	@test -n "$(RUN)" || { echo "error: make restore RUN=demo [REMOTE=/folder/or/address]" >&2; exit 2; }
	@.venv/bin/edgekws release pull "$(RUN)" $(if $(REMOTE),--remote "$(REMOTE)")
	$(SNAKEMAKE) --configfile "results/$(RUN)/config.json" --allowed-rules all $(DRAWN) --forcerun $(DRAWN)
	@echo "Report: results/$(RUN)/report.html"

clean: ## Delete results and environments (downloads stay)
	rm -rf results .venv .envs .snakemake

help: ## This list
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## /\1\t/' | expand -t 14

.venv/.main .venv/.test: .venv/.%: envs/%.txt envs/setup pyproject.toml
	@PYTHON="$(PYTHON)" envs/setup $*
