#!/usr/bin/env bash
# How long `flow plan` takes as a whole process for a graph of 10,000 nodes whose results are all stored.
# FLOW=path/to/flow uses another build. Prints each of ten runs in milliseconds.
set -euo pipefail
. "$(dirname "$0")/sweep.sh"
for i in $(seq 1 9998); do
    echo "\"styled $i\": ApplyLoRA(model: \"base\", lora: \"red\", scale: 0.$(printf %05d "$i")),"
done | sweep
"$flow" run graphs/sweep.ron --ui none
"$flow" plan graphs/sweep.ron | tail -2
for _ in $(seq 10); do
    start=$(date +%s%N)
    "$flow" plan graphs/sweep.ron > /dev/null
    echo "$((($(date +%s%N) - start) / 1000000)) ms"
done
