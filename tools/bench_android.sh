#!/bin/sh
# Times .tflite files on a phone with the official benchmark tool, over adb:
#
#     tools/bench_android.sh MODEL.tflite [MODEL.tflite ...] [--serial=...] [--threads=4] [--use_gpu] [--json=FILE]
#
# --help lists all flags; BUILD.md (Android) says what is needed first.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
if [ ! -x "$python" ]; then
  python=python3
  "$python" -c 'import absl, numpy, tqdm' 2>/dev/null || {
    echo "error: expected $root/.venv or a python3 with the package installed, found neither; run make venv" >&2
    exit 2
  }
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m pnag_tf.latency.android.cli "$@"
