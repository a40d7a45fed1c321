#!/usr/bin/env bash
# Runs a Python command with a CUDA build of PyTorch on the pretend GPU: run.sh BUILD_FOLDER PYTHON ARGS...
set -euo pipefail
build=$(cd "$1" && pwd); shift
export PRETEND_GPU=1 TRITON_INTERPRET=0
export LD_LIBRARY_PATH=$build HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export TRITON_CACHE_DIR=$build/triton-cache TORCHINDUCTOR_CACHE_DIR=$build/inductor-cache  # nothing timed here reaches a real card's caches
LD_PRELOAD=$build/libfakecuda.so exec "$@"
