#!/bin/sh
# Run a tarball in a fresh Debian without Python, as an ordinary user, under Xvfb. Needs root and
# debootstrap.
#
#     sh packaging/smoke_test/bare_debian.sh dist/orderbook-desktop-*-linux-x86_64.tar.xz
set -eu

tarball=$1
root=$(mktemp -d)
chmod 755 "$root"

leave() {
    umount --lazy "$root/proc" "$root/dev" 2>/dev/null || true
    # If a mount is left, the files behind it stay.
    rm -rf --one-file-system "$root"
}
trap leave EXIT
trap 'exit 1' INT TERM

debootstrap --variant=minbase --include=xvfb bookworm "$root" >"$root.log" 2>&1 || {
    tail -n 3 "$root.log" >&2
    exit 1
}
rm "$root.log"
mkdir "$root/opt/Order book ä"
tar -C "$root/opt/Order book ä" --strip-components=1 -xJf "$tarball"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
chroot "$root" useradd --create-home trader

cat >"$root/home/trader/trial.sh" <<'TRIAL'
set -eu
! command -v python3
export LANG=C.UTF-8 DISPLAY=:55
program="/opt/Order book ä/orderbook-desktop"
"$program" --version
"$program" exchange --port 18099 --data-dir exchange >exchange.txt &
exchange=$!
Xvfb "$DISPLAY" -screen 0 1280x800x24 -nolisten tcp 2>xvfb.txt &
screen=$!
trap 'kill $exchange $screen; wait' EXIT
until grep -q _URL= exchange.txt && [ -e /tmp/.X11-unix/X55 ]; do sleep 0.2; done
export $(grep -o 'ORDERBOOK_[A-Z]*_URL=[^ ]*' exchange.txt)
# A window that is open for a while, and is then asked to close.
"$program" 2>window.txt &
window=$!
sleep 15
kill $window
wait $window
[ ! -s window.txt ]
"$program" record BTC/USDT --duration 5
"$program" recordings
"$program" verify BTC/USDT
"$program" doctor
TRIAL
chroot "$root" su --login trader --command "sh trial.sh"
echo "The tarball runs in a bare Debian."
