#!/usr/bin/env bash
# Fetch OHIF's own build from npm into .viewer/ohif, where tests/viewer looks for it: 50 MB, checked; 49 MB unpacked.
set -euo pipefail
version=3.13.2
checksum=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
folder=$(cd "$(dirname "$0")/../.." && pwd)/.viewer
[ ! -f "$folder/ohif/$version" ] || exit 0
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
npm pack --silent --pack-destination "$download" "@ohif/app@$version" >/dev/null
echo "$checksum  $download/ohif-app-$version.tgz" | sha512sum --check --quiet
rm -rf "$folder/ohif"
mkdir -p "$folder/ohif"
# left out, 155 MB: the ONNX runtime, the whole-slide viewer and source maps, which the basic viewer does not ask for
tar xzf "$download/ohif-app-$version.tgz" -C "$folder/ohif" --strip-components=2 --exclude='*.map' \
    --exclude='package/dist/ort' --exclude='package/dist/dicom-microscopy-viewer' package/dist
touch "$folder/ohif/$version"
