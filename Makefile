# `make` lists its targets; the scripts in packaging/ do the work.
# Settings such as SYMBOL=ETH/USDT reach the program as environment variables.

.POSIX:
.PHONY: help run test coverage check bench bundle smoke requirements clean

help:
	@echo 'make run            set up what is missing, then open the window'
	@echo '                    (make run SYMBOL=ETH/USDT, make run ARGS="--demo")'
	@echo 'make test           run the test suite (make test ARGS="-k book")'
	@echo 'make coverage       which lines and branches the tests do not run'
	@echo '                    (make coverage ARGS=tests/core COVER=orderbook_desktop/core)'
	@echo 'make check          formatting, lint, types, layers, schemas'
	@echo 'make bench          run every benchmark of tests/bench/'
	@echo 'make bundle         build the double-click app in dist/ (ARGS=--archives: the downloads too)'
	@echo 'make smoke          test that app as an installed program'
	@echo 'make requirements   pin the requirements again (ARGS=--upgrade: newer ones)'
	@echo 'make clean          remove .venv, caches and builds'

run:
	@sh packaging/with.sh run orderbook-desktop $(ARGS)

test:
	@sh packaging/with.sh dev python -m pytest $(ARGS)

# Into the processes that the tests start, too (see tool.coverage in pyproject.toml).
coverage:
	@sh packaging/with.sh dev sh packaging/coverage.sh $(ARGS)

check:
	@sh packaging/with.sh dev sh packaging/check.sh

bench:
	@sh packaging/with.sh dev python -m tests.bench $(ARGS)

bundle:
	@sh packaging/with.sh dev python packaging/bundle.py $(ARGS)

smoke:
	@sh packaging/with.sh dev python packaging/smoke_test $(ARGS)

requirements:
	@sh packaging/with.sh dev sh packaging/pin.sh $(ARGS)

clean:
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
