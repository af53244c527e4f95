#!/bin/sh
# Make a password for the MongoDB of docker-compose.mongo.yml, in a file .env that only its owner
# can read. An existing password stays.
#
#     sh packaging/mongo_password.sh [FILE]
set -eu

cd "$(dirname "$0")/.."
file=${1:-.env}

if [ -e "$file" ] && grep -q '^MONGO_PASSWORD=' "$file"; then
    chmod 600 "$file"
    echo "$file has a password already; it stays." >&2
    exit
fi
umask 077
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
# Other settings in the file stay. The file is replaced as a whole.
{
    if [ -e "$file" ]; then cat "$file"; fi
    echo "MONGO_PASSWORD=$password"
    echo "MONGO_DSN=mongodb://orderbook:$password@127.0.0.1:27017/?replicaSet=rs0"
} >"$file.new"
mv -f "$file.new" "$file"
echo "$file has a new password, and the MONGO_DSN with it; only you can read it." >&2
