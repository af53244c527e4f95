#!/bin/sh
# Every check that is not a test: runs them all, then says which failed.
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
# Unpinned actions, credentials left lying about, caches that others can fill: asks no network.
check zizmor --offline --no-progress --quiet .github/workflows

if [ -n "$failed" ]; then
    printf '%s\n' "Failed:$failed" >&2
    exit 1
fi
