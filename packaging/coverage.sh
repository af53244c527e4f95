#!/bin/sh
# Run the tests and show what of the program, or of the folder COVER, they don't run. Arguments
# go to pytest.
set -eu

rm -rf build/coverage
mkdir -p build/coverage
status=0
python -m coverage run -m pytest "$@" || status=$?
python -m coverage combine --quiet
python -m coverage report --show-missing --skip-covered --include="${COVER:-orderbook_desktop}/*"
exit "$status"
