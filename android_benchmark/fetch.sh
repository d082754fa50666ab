#!/bin/sh
# Downloads benchmark_model, TensorFlow Lite's benchmark tool, as its makers build it every night:
#
#     android_benchmark/fetch.sh [android_aarch64|android_arm|linux_x86-64] [--sha256=HEX] [--url=URL] \
#       [--folder=DIR]
#
# It lands in ~/.cache/pnag_tf/<platform>/benchmark_model (or below $XDG_CACHE_HOME), where the package looks for it,
# installed or in a checkout. --folder=DIR puts it into DIR instead: name it with --tool then. The nightly builds
# have no published checksum: the file is checked to be a program for the platform, and its SHA-256 is printed. --sha256
# insists on a build that is known; --url takes the file from elsewhere, a mirror or file:///...
set -eu

fail() {
  echo "error: $*" >&2
  exit 1
}

platform=android_aarch64 sha256= url= folder=
for argument in "$@"; do
  case $argument in
    android_aarch64 | android_arm | linux_x86-64) platform=$argument ;;
    --sha256=*) sha256=${argument#*=} ;;
    --url=*) url=${argument#*=} ;;
    --folder=?*) folder=${argument#*=} ;;
    *) fail "$argument: expected android_aarch64, android_arm, linux_x86-64, --sha256=HEX, --url=URL or --folder=DIR" ;;
  esac
done
latest=https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest
url=${url:-$latest/${platform}_benchmark_model}
case $platform in # the processor in an ELF header
  android_aarch64) machine=b7 ;;
  android_arm) machine=28 ;;
  linux_x86-64) machine=3e ;;
esac

folder=${folder:-${XDG_CACHE_HOME:-$HOME/.cache}/pnag_tf/$platform}
mkdir -p "$folder"
fresh=$folder/.benchmark_model.$$
trap 'rm -f "$fresh"; rmdir "$folder" 2>/dev/null || true' EXIT
trap 'exit 130' HUP INT TERM

echo "fetching $url"
if [ "${url#file://}" != "$url" ]; then
  cp "${url#file://}" "$fresh" || got=$?
elif command -v curl >/dev/null; then
  curl --fail --location --silent --show-error --retry 2 --connect-timeout 20 --output "$fresh" "$url" || got=$?
elif command -v wget >/dev/null; then
  wget --no-verbose --tries=3 --timeout=20 --output-document="$fresh" "$url" || got=$?
else
  fail "expected curl or wget, found neither"
fi
if [ -n "${got:-}" ]; then
  fail "the download failed (exit code $got). Download $url with a browser and repeat this command with" \
    "--url=file:///that/file, or build the tool (android_benchmark/README.md)"
fi

bytes=$(wc -c <"$fresh" | tr -d ' ')
magic=$(od -An -tx1 -N4 "$fresh" | tr -d ' \n')
found=$(od -An -tx1 -j18 -N1 "$fresh" | tr -d ' \n')
[ "$magic" = 7f454c46 ] || fail "expected a program, found $bytes bytes of something else at $url"
[ "$found" = "$machine" ] || fail "expected a program for $platform (ELF machine $machine), found $found at $url"
[ "$bytes" -gt 1000000 ] || fail "expected some megabytes, found $bytes bytes: the download broke off"
sum=$({ sha256sum "$fresh" || shasum -a 256 "$fresh"; } 2>/dev/null | cut -d' ' -f1)
[ -z "$sha256" ] || [ "$sum" = "$sha256" ] || fail "expected SHA-256 $sha256, found $sum"

chmod 755 "$fresh"
mv -f "$fresh" "$folder/benchmark_model"
echo "$folder/benchmark_model: $bytes bytes, SHA-256 $sum"
