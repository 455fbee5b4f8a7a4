PYTHON := .venv/bin/python

.PHONY: check fix test notebooks readme

check: ## look, and rewrite nothing
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

fix: ## rewrite what can be rewritten
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

test: ## all tests that this machine can run
	$(PYTHON) -m pytest -n auto

notebooks: ## run the notebooks again and keep their outputs
	$(PYTHON) scripts/notebooks.py notebooks

readme: ## write the README's table and picture again from the newest run
	$(PYTHON) scripts/readme.py
