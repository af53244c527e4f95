#!/bin/sh
# Pin pyproject.toml's requirements, with the hashes of every platform's wheels, in
# packaging/requirements*.txt. Pins that still fit stay, and --upgrade renews all pins:
#
#     sh packaging/with.sh dev sh packaging/pin.sh [--upgrade]
set -eu

compile() {
    # Every platform gets the same versions, so that each runs the versions that were tested.
    uv pip compile pyproject.toml --quiet --no-config --universal --fork-strategy fewest \
        --generate-hashes --no-header --no-emit-index-url --no-emit-find-links "$@"
}

compile --group build --output-file packaging/requirements.txt "$@"
compile --group dev --constraints packaging/requirements.txt \
    --overrides packaging/overrides.txt --output-file packaging/requirements-dev.txt "$@"
