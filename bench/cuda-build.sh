#!/usr/bin/env bash
# Builds Flow with CUDA for real, on a machine with neither a GPU nor a CUDA toolkit: fetches NVIDIA's
# compiler and libraries from PyPI, compiles every kernel with the real nvcc, links the program, and
# shows how it starts without and with the driver's library. Budget an hour of two cores, most of it
# candle's quantized kernels. This is not a test: `.ci/check-cuda` is what CI runs.
#
#   bench/cuda-build.sh [compute capability, default 80]
#
# Needs python3 with pip, and g++. Everything is kept under target/cuda, so a second run goes on
# where the first one stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/target/cuda
toolkit=$work/wheels/nvidia/cu13
mkdir -p "$work"

if [ ! -x "$toolkit/bin/nvcc" ]; then
  python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$work/wheels" \
    nvidia-cuda-nvcc==13.2.86 nvidia-cuda-crt==13.2.86 nvidia-nvvm==13.2.86 \
    nvidia-cuda-runtime==13.2.86 nvidia-cuda-cccl==13.2.86 nvidia-cuda-nvrtc==13.2.86 \
    nvidia-curand==10.4.2.55 nvidia-cublas==13.4.1.3
fi

# The wheels hold `libname.so.13`; the linker looks for `libname.so`.
for library in "$toolkit"/lib/*.so.*; do
  ln -sf "$(basename "$library")" "${library%%.so*}.so"
done

# The driver's own library comes with a driver only. To link, one with the names that cudarc declares
# will do; each of its calls answers 100, "no device".
driver=$toolkit/lib/stubs
mkdir -p "$driver"
cargo fetch --locked --quiet
cat "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-*/src/driver/sys/mod.rs |
  grep -ohE 'unsafe fn cu[A-Z][A-Za-z0-9_]*' |
  awk '{ print "int " $3 "(void) { return 100; }" }' | sort -u > "$work/driver.c"
gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$driver/libcuda.so" "$work/driver.c"
ln -sf libcuda.so "$driver/libcuda.so.1"

export CUDA_HOME=$toolkit NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH
export CUDA_COMPUTE_CAP=${1:-80} CUDARC_CUDA_VERSION=13020 CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}
time cargo build --release --locked --features cuda --target-dir "$work/target"

flow=$work/target/release/flow
ls -l "$flow"
echo '-- without the driver it does not start:'
if "$flow" --version; then echo 'it started: is a driver installed here?'; fi
echo '-- with the driver library that knows no device:'
export LD_LIBRARY_PATH=$toolkit/lib:$driver
"$flow" --version
echo '-- asked for a GPU, it says that there is none:'
"$flow" run graphs/quickstart.ron --device cuda --ui plain || true
echo '-- left to choose, it takes the CPU:'
"$flow" run graphs/quickstart.ron --ui plain
