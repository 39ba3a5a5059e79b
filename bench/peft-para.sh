#!/usr/bin/env bash
# Makes tests/data/peft-para anew: a PaRa by PEFT itself on mini-sdxl's denoiser, and PEFT's prediction with it, which
# the golden tests hold Flow to. Needs Python 3.10 or newer and a network; the tests need neither.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/peft-environment.sh
"$python" bench/peft-para.py models/mini-sdxl tests/data/peft-para
ls -l tests/data/peft-para
