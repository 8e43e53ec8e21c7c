# Two commands on a machine with python3, make and node: `make run` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin

# What the user's pip prints and asks is of no interest here.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --use-pep517 --require-hashes

UV_COMPILE := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
              --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) pyproject.toml

# The web client is built with Node where it is found. Without it the service starts all the same, and says so.
WEB       := clients/web
NPM       := npm --prefix $(WEB) --silent
NODE_FITS := command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
NO_NODE   := no Node.js 20.19 or newer was found
BUNDLE    := terminal_service/static/embed/terminal-session.js
WEB_FILES := $(shell find $(WEB)/src $(WEB)/package.json $(WEB)/vite*.ts -type f)

# With what these import there, all that runs on Windows: what it does not have must not be used in any of it.
ON_WINDOWS := run.py terminal_service transports nodes replay backends/windows.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run web test check format bench lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Another Python: make test PYTHON=python3.13 VENV=.venv-3.13"

run: $(VENV)/base.stamp ## Make the environment, build the web client and start the service (ARGS="...")
	@if $(NODE_FITS); then $(MAKE) --no-print-directory web || echo "The web client could not be built; the service starts without it." >&2; \
	else echo "Without the web client: $(NO_NODE)."; fi
	@exec $(BIN)/python run.py $(ARGS)

web: $(BUNDLE) ## Build the console and the <terminal-session> element into terminal_service/static

test: $(VENV)/dev.stamp ## Run the tests (FULL=1: full sizes, STRICT=1: a skip is a failure, JOBS=1: one at a time, ARGS="-k log")
	@if $(NODE_FITS); then $(MAKE) --no-print-directory web && NO_COLOR=1 PYTHON=$(abspath $(BIN))/python $(NPM) test; \
	else echo "Not tested: the web client, because $(NO_NODE)." >&2; $(if $(STRICT),exit 1); fi
	@SCREENSHOTS_DIR=$(abspath build/screenshots) $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(if $(FULL),-m full) $(if $(STRICT),--no-skips) $(ARGS)

check: $(VENV)/dev.stamp ## Check style, format, types (for each platform) and the direction of imports
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { echo "these files are not formatted: run 'make format'" >&2; $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary --platform darwin --cache-dir .mypy_cache/darwin
	@$(BIN)/mypy --no-error-summary --platform win32 --cache-dir .mypy_cache/win32 $(ON_WINDOWS)
	@$(BIN)/lint-imports --no-logo
	@if $(NODE_FITS); then $(MAKE) --no-print-directory $(WEB)/node_modules/.package-lock.json && $(NPM) run check; \
	else echo "Not checked: the web client, because $(NO_NODE)." >&2; fi
	@echo "All checks passed."

format: $(VENV)/dev.stamp ## Format the code and mend what can be mended by machine
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format
	@if [ -d $(WEB)/node_modules ]; then $(NPM) run format; fi

bench: $(VENV)/dev.stamp ## Measure the service beside terminado, ttyd (if found) and the bare PTY
	@$(BIN)/python -m bench $(ARGS)

lock: $(VENV)/dev.stamp ## Write requirements/*.txt from pyproject.toml (UPGRADE=1: newest versions)
	@$(UV_COMPILE) --output-file requirements/base.txt
	@$(UV_COMPILE) --group dev --constraint requirements/base.txt --output-file requirements/dev.txt

clean: ## Remove the environment and everything made by tools
	@rm -rf $(VENV) .venv build dist terminal_service/static $(WEB)/node_modules $(WEB)/dist $(WEB)/build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './node_modules/*' -prune -exec rm -rf {} +

# A stamp is touched last, so an interrupted installation is done again.
$(VENV)/base.stamp: requirements/base.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed and '$(PYTHON)' is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "'$(PYTHON)' has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making the environment in $(VENV) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -r requirements/base.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/base.stamp
	@echo "Installing what tests and checks need ..."
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@echo "Installing what the web client needs ..."
	@$(NPM) ci --no-fund --no-audit
	@touch $@

$(BUNDLE): $(WEB)/node_modules/.package-lock.json $(WEB_FILES)
	@$(NODE_FITS) || { echo "The web client cannot be built: $(NO_NODE)" >&2; exit 1; }
	@echo "Building the web client ..."
	@$(NPM) run build
	@touch $@
