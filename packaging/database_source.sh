#!/bin/sh
# Fetch the source of the bundled database server, in its pinned version, into FOLDER. The server's
# licence requires that the source is offered beside the program.
#
#     sh packaging/with.sh dev sh packaging/database_source.sh FOLDER
set -eu

pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
sed -n '/^secantusdb==/,/^    # via/p' packaging/requirements.txt >"$pinned"
# pip runs the build system of a source to learn its name. Without build isolation it uses the
# pinned packages of .venv, and fetches no others.
python -m pip download --no-deps --no-binary :all: --no-build-isolation --require-hashes \
    --dest "$1" -r "$pinned"
