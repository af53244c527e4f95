#!/bin/sh
# Put the application into a disk image, beside a link to /Applications as the target of a drag:
#
#     sh packaging/macos/make_dmg.sh APP IMAGE
set -eu

app=$1
image=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Unlike cp, ditto keeps all attributes that the signature covers.
ditto "$app" "$folder/$(basename "$app")"
ln -s /Applications "$folder/Applications"
hdiutil create -quiet -ov -format ULFO -fs HFS+ -volname "$(basename "$app" .app)" \
    -srcfolder "$folder" "$image"
