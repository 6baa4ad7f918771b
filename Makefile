# Two commands: `make run` starts the demo stack, `make test` proves the whole thing. Beside them what
# is made of it: packages, and a machine that boots with it.
# All prepare what they need first (packaging/prepare says what that is), and cost nothing
# when it is there already.

PYTHON ?= /usr/bin/python3
VENV ?= .venv
export PYTHON VENV

.PHONY: help run test bench deb vm clean

help:
	@echo 'make run     the demo stack: a web shop, a worker, three agents (one a dashboard)'
	@echo 'make test    linters and all tests; ONLY="unit law" picks some'
	@echo 'make bench   our figures beside other supervisors (needs root; see tests/bench); ARGS picks what'
	@echo 'make deb     Debian packages, into build/deb: one that installs beside systemd, one to boot with'
	@echo 'make vm      a Debian machine that boots with us, the demo in it, on this terminal (needs root);'
	@echo '             ARGS="--build-only" and more: packaging/vm/run.py --help'
	@echo 'make clean   remove what the others made in this folder'

run:
	@packaging/prepare run
	@exec $(VENV)/bin/python -I units/demo/run.py

test:
	@packaging/prepare test
	@exec $(VENV)/bin/python -I packaging/run_tests.py $(ONLY)

bench:
	@packaging/prepare test
	@exec $(VENV)/bin/python tests/bench/run.py $(or $(ARGS),all)

deb:
	@packaging/prepare deb
	@exec $(VENV)/bin/python -I packaging/deb/build.py $(ARGS)

vm:
	@packaging/prepare vm
	@exec $(VENV)/bin/python -I packaging/vm/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
