#!/usr/bin/env bash
# Builds the pretend GPU into a folder: build.sh FOLDER. Needs gcc and the CUDA 13 headers, which are
# in CUDA_HOME, in /usr/local/cuda, or in the wheels of the Python that CUDA_PYTHON names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=$1; mkdir -p "$out"
wheel_headers() { "$CUDA_PYTHON" -c 'import nvidia, pathlib; print(pathlib.Path(nvidia.__path__[0], "cu13/include"))'; }
if [ -n "${CUDA_HOME:-}" ]; then headers=$CUDA_HOME/include
elif [ -n "${CUDA_PYTHON:-}" ]; then headers=$(wheel_headers)
else headers=/usr/local/cuda/include; fi
[ -f "$headers/cuda_runtime_api.h" ] || { echo "build.sh: no CUDA headers in $headers: set CUDA_HOME" >&2; exit 1; }
stub() { echo "__asm__(\".globl $1\\n.type $1,@function\\n$1: movl \$$2,%eax\\nret\\n\");"; }
{ cat "$here/runtime.c" "$here/driver.c"; echo
  while read -r s; do case $s in
    cublas*gemm*|cublas*Gemm*) echo "EXPORT int $s(void) { return gemm(blas_stream); }";;
    cudaIpc*|cudaMallocAsync|cudaGraphAdd*|cudaGraphCond*|cudaStreamBeginCaptureToGraph) stub "$s" 801;;  # not supported, and says so
    *) stub "$s" 0;;
  esac; done < "$here/blas-symbols.txt"; } > "$out/all.c"
gcc -O1 -shared -fPIC -w -I"$headers" -Wl,-soname,libcuda.so.1 "$out/all.c" -o "$out/libfakecuda.so" -ldl -lpthread
ln -sf libfakecuda.so "$out/libcuda.so.1"; ln -sf libfakecuda.so "$out/libcuda.so"  # the driver is the same library
