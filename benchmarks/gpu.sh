#!/bin/sh
# The first thing to run on a machine with a GPU: tests of every backend, then timings beside PyTorch's cuDNN. At most 8 minutes.
#
#     benchmarks/gpu.sh OUT          writes stages.json, and a folder of the card's name: JSON, tables, pictures
#     benchmarks/gpu.sh OUT --tiny   the same in small, to rehearse it on a CPU
#
# Needs jax with CUDA, optax, pytest, hypothesis and matplotlib; PyTorch where there is one. No network, nothing is installed.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
exec "${PYTHON:-python3}" -m benchmarks.gpu "$out" "$@"
