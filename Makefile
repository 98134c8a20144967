# Two commands do all their own set-up: `make` (the demo replication) and `make test`.

RUN := .venv/bin/snakemake --quiet rules
ARCHIVE ?=

.PHONY: demo test test-slurm lint gsc_subset paper help clean
.DEFAULT_GOAL := demo

demo: .venv/.main ## The demo replication on embedded synthetic speech, start to report (default)
	$(RUN) --configfile config/demo.yaml
	@echo "Report: results/demo/report.html"

test: .venv/.test ## All tests
	.venv/bin/python -m pytest -n 2 --dist loadgroup

test-slurm: .venv/.test ## The workflow on a real Slurm cluster, on this machine's loopback
	tests/slurm/prove

lint: .venv/.test ## ruff, mypy, snakefmt
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check --line-length 120 Snakefile workflow

gsc_subset: .venv/.main ## The same on real recordings: make gsc_subset ARCHIVE=path/to/archive.tar.gz
	@test -n "$(ARCHIVE)" || { echo "error: name an archive in GSC's layout: make gsc_subset ARCHIVE=..." >&2; exit 2; }
	$(RUN) --configfile config/gsc_subset.yaml --config archive="$(ARCHIVE)"
	@echo "Report: results/gsc_subset/report.html"

paper: .venv/.main ## The paper's protocol on the whole of GSC v0.02 (2.4 GB by DVC, hours)
	$(RUN) --configfile config/paper.yaml
	@echo "Report: results/paper/report.html"

clean: ## Delete results and environments (downloads stay)
	rm -rf results .venv .snakemake

help: ## This list
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## /\1\t/' | expand -t 14

.venv/.main .venv/.test: .venv/.%: envs/%.txt envs/setup pyproject.toml
	@PYTHON="$(PYTHON)" envs/setup $*
