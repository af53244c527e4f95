#!/bin/sh
# Make .venv ready for SET (run or dev), then run COMMAND in it. People, make and CI use this
# script:
#
#     sh packaging/with.sh SET COMMAND...
#
# PYTHON=... chooses the interpreter for a new .venv.
set -eu

cd "$(dirname "$0")/.."
set_name=$1
shift

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

apt_works() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "Installing with apt: $*"
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >&2 </dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python python3.13 python3.12 python3.11}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    if ! python=$(find_python) && [ -z "${PYTHON:-}" ] && apt_works; then
        apt_install python3 python3-venv
    fi
    if ! python=$(find_python); then
        say "Python 3.11, 3.12 or 3.13 is needed, and ${PYTHON:-what is on the PATH} is not that:" \
            "install one, or name one with PYTHON=/path/to/python3.12."
        exit 1
    fi
    # Debian has the pip of the venv module in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if apt_works; then
            apt_install "$package"
        else
            say "$python lacks its venv module; on Debian and Ubuntu this installs it:" \
                "sudo apt-get install $package"
            exit 1
        fi
    fi
    "$python" -m venv --clear .venv
}

if [ -d .venv/Scripts ] || [ "${OS:-}" = Windows_NT ]; then bin=.venv/Scripts; else bin=.venv/bin; fi
fits "$bin/python" || make_venv

"$bin/python" packaging/setup_venv.py "$set_name"
PATH=$PWD/$bin:$PATH
export PATH
exec "$@"
