PYTHON := .venv/bin/python
PAGES := build/pages

.PHONY: check fix test docs pages verified reports notebooks lab readme metrics reliability lock audit

check: ## look, and rewrite nothing
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

fix: ## rewrite what can be rewritten
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

test: ## the tests of every day; `./scripts/test --slow` runs all that CI runs
	$(PYTHON) -m pytest -n auto --dist worksteal

verified: ## interpret the versions that are new or changed, and record in tests/kernels/verified.json that they pass
	PYTHONPATH=profiling $(PYTHON) tests/kernels/verified.py

reports: ## render the committed runs again in place; what was measured stays as it is
	PYTHONPATH=profiling $(PYTHON) scripts/rerender.py

notebooks: ## run the notebooks again and keep their outputs
	$(PYTHON) scripts/notebooks.py notebooks

lab: ## open the notebooks in JupyterLab
	$(PYTHON) -m jupyterlab --notebook-dir=. notebooks/00_start_here.ipynb

readme: ## write the README's table and pictures, and what the advice was worth, again from the newest runs
	$(PYTHON) scripts/readme.py
	PYTHONPATH=profiling $(PYTHON) scripts/advice.py

docs: ## the documentation as a site in build/docs
	PYTHONPATH=profiling NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

pages: ## docs and all runs as the site that is published: in build/pages, the runs below runs/
	ROOFLIFT_RUNS=runs/index.html PYTHONPATH=profiling NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet \
		--site-dir $(abspath $(PAGES))
	PYTHONPATH=profiling $(PYTHON) -m rooflift site $(PAGES)/runs $(if $(REPOSITORY),--repository $(REPOSITORY))

metrics: ## write docs/metrics.md again from the metric registry
	$(PYTHON) scripts/metrics.py

reliability: ## drive the readers with strange reports, and write the table of docs/reliability.md again
	$(PYTHON) scripts/reliability.py

lock: ## pin again what CI installs; needs uv
	mkdir -p build
	uv pip compile pyproject.toml --extra gpu --extra notebooks --extra agents --extra search --extra openai --extra batch --extra tune --extra docs --extra dev --constraint constraints-cpu.txt \
		--python-version 3.11 --python-platform x86_64-unknown-linux-gnu $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
		--no-emit-find-links --no-emit-package torch --no-emit-package triton --no-header --upgrade --quiet \
		--output-file build/lock.txt
	(head -1 requirements-lock.txt; cat build/lock.txt) > build/requirements-lock.txt
	mv build/requirements-lock.txt requirements-lock.txt

audit: ## ask for known vulnerabilities of what is pinned; needs pip-audit and the network
	pip-audit --requirement requirements-lock.txt --no-deps --disable-pip
