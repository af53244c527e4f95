#!/bin/sh
# Fetch the source of the database server that is bundled, as it is pinned, into FOLDER: its
# licence wants it offered beside the program.
#
#     sh packaging/with.sh dev sh packaging/database_source.sh FOLDER
set -eu

pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
sed -n '/^secantusdb==/,/^    # via/p' packaging/requirements.txt >"$pinned"
# pip runs the build of a source to learn its name: with what is pinned here, and nothing that
# would be fetched for it unseen.
python -m pip download --no-deps --no-binary :all: --no-build-isolation --require-hashes \
    --dest "$1" -r "$pinned"
