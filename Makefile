# `make demo` runs the whole road, `make test` the tests; both make .venv first where it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := dataset-fashion-mnist

.PHONY: demo test heavy lint docs venv clean data

demo: $(VENV)/.installed data
	$(BIN)/python -m pnag_tf.main --stage=report

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Slow tests; those that need adb, a browser, PyTorch or Ray are skipped without.
heavy: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m heavy

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .

# The site: open build/site/index.html.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict

venv: $(VENV)/.installed

# Runs (runs/) stay: they may have taken hours.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's Fashion-MNIST (30 MB), where apt-get works without a question. Elsewhere the program downloads the
# images itself, and says what to do where it cannot.
data:
	@if command -v dpkg >/dev/null && command -v apt-get >/dev/null && ! dpkg -s $(PACKAGE) >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	  if $$as_root true 2>/dev/null && { $$as_root apt-get install -y $(PACKAGE) || \
	      { $$as_root apt-get update && $$as_root apt-get install -y $(PACKAGE); }; } >/dev/null 2>&1 </dev/null; \
	  then echo "installed $(PACKAGE)"; \
	  else echo "note: $(PACKAGE) could not be installed by apt-get; the images will be downloaded"; fi; \
	fi

# The stamps are newer than setup.py when the environment holds what it asks for.
$(VENV)/.created: tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

$(VENV)/.installed: setup.py $(VENV)/.created
	$(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.installed-test: setup.py $(VENV)/.created
	$(BIN)/python -m pip install -e '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: setup.py $(VENV)/.created
	$(BIN)/python -m pip install -e '.[docs]'
	@touch $(VENV)/.installed $@
