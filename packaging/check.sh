#!/bin/sh
# Runs all checks that are not tests, then prints the failed ones.
#
#     sh packaging/with.sh dev sh packaging/check.sh
set -u

failed=

check() {
    printf '%s\n' "== $*"
    "$@" || failed="$failed
   $*"
}

check ruff format --check .
check ruff check .
check mypy
check lint-imports --no-logo
check check-jsonschema --builtin-schema vendor.compose-spec docker-compose.mongo.yml
check check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
# Finds unpinned actions, stored credentials and caches that others can fill, without a network.
check zizmor --offline --no-progress --quiet .github/workflows

if [ -n "$failed" ]; then
    printf '%s\n' "Failed:$failed" >&2
    exit 1
fi
