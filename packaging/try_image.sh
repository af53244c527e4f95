#!/bin/sh
# Start the container image NAME on PLATFORM as `serve`, wait for its answer, and stop it:
#
#     sh packaging/try_image.sh orderbook-desktop:arm64 linux/arm64
set -eu

docker run --detach --name tried --platform "$2" --publish 127.0.0.1:8000:8000 \
    --env ORDERBOOK_SOURCE=direct "$1"
# The retries allow for an emulated processor, which is slow.
curl --silent --show-error --fail --retry 60 --retry-delay 1 --retry-all-errors \
    http://127.0.0.1:8000/healthz
docker stop --time 30 tried
code=$(docker inspect --format '{{.State.ExitCode}}' tried)
docker rm tried
test "$code" = 0
