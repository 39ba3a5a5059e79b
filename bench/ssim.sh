#!/usr/bin/env bash
# Seconds for SSIM over all pairs of 500 pictures of 64x64 and of 50 of 1024x1024: ours on two threads, and scikit-image's in two
# processes, in turn, ROUNDS=3. scikit-image takes some of the pairs, and its time is reckoned for all. Needs Python 3.10 or
# newer and a network, or PYTHON with scikit-image and Pillow. FLOW=path/to/flow uses another build.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
    [ -x target/bench/ssim-venv/bin/python ] || python3 -m venv target/bench/ssim-venv
    PYTHON=$PWD/target/bench/ssim-venv/bin/python
    "$PYTHON" -m pip install --quiet scikit-image==0.26.0 pillow
fi
flow=${FLOW:-target/release/flow}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/graphs"

ours() { # folder: the seconds of the node that measures, and the mean
    cat > "$work/graphs/ssim.ron" <<GRAPH
Graph(nodes: {
    "pictures": LoadImages(path: "$1"),
    "it": Evaluate(images: "pictures", measures: [Diversity]),
})
GRAPH
    "$PYTHON" bench/peak.py "$work/peak" "$flow" run "$work/graphs/ssim.ron" --no-cache --ui json > "$work/events"
    "$PYTHON" - "$work/events" "$work/peak" <<'PY'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
begun = next(e["t"] for e in events if e["type"] == "node_started" and e["node"] == "it")
ended = next(e["t"] for e in events if e["type"] == "node_finished" and e["node"] == "it")
mean = next(e["value"] for e in events if e["type"] == "metric")
print(ended - begun, mean, "peak MiB", open(sys.argv[2]).read())
PY
}
for size in "500 64 1500" "50 1024 6"; do
    read -r count side pairs <<< "$size"
    mkdir "$work/$side"
    "$PYTHON" bench/ssim.py make "$work/$side" "$count" "$side"
    for _ in $(seq "${ROUNDS:-3}"); do
        echo "$count of ${side}x$side, ours: $(ours "$work/$side")"
        echo "$count of ${side}x$side, scikit-image: $("$PYTHON" bench/ssim.py time "$work/$side" "$pairs")"
    done
done
