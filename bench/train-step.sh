#!/usr/bin/env bash
# Seconds per training step on mini-sdxl, ours and PEFT's (LoRA, and PaRa by its DEFT tuner), in turn on the same two
# threads: batch 1, the attention's linear layers, 60 steps of which the first ten do not count; five rounds. Needs
# Python 3.10 or newer and a network, or PYTHON with PyTorch, diffusers and PEFT. FLOW=path/to/flow uses another build.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/peft-environment.sh
flow=${FLOW:-target/release/flow}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
rounds=${ROUNDS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/graphs"

ours() { # method rank round: the median step in ms, and the peak in MiB
    local method
    [ "$1" = lora ] && method="Lora(rank: $2, layers: $layers)" || method="Para(rank: $2, bound: Nowhere, layers: $layers)"
    cat > "$work/graphs/train.ron" <<GRAPH
Graph(nodes: {
    "base": LoadSDXL(path: "$PWD/models/mini-sdxl"),
    "photos": LoadImages(path: "$PWD/data/mini-dreambooth/bear_plushie"),
    "t": Train(model: "base", images: "photos", prompt: "a photo of sks", method: $method, steps: 60, seed: $3,
               sample_every: 0, checkpoint_every: 1000, learning_rate: 0.001),
})
GRAPH
    rm -rf "$work/.flow"
    /usr/bin/time -f "peak_kib %M" "$flow" run "$work/graphs/train.ron" --no-cache --ui json 2> "$work/err" > "$work/events"
    "$python" - "$work/events" "$work/err" <<'PY'
import json, statistics, sys
times = [e["t"] for e in map(json.loads, open(sys.argv[1])) if e["type"] == "metric" and e["name"] == "loss"]
steps = [1000 * (b - a) for a, b in zip(times[10:], times[11:])]
peak = [int(l.split()[1]) / 1024 for l in open(sys.argv[2]) if l.startswith("peak_kib")][0]
print(statistics.median(steps), peak)
PY
}
theirs() {
    "$python" bench/train-step.py models/mini-sdxl "$1" "$2" 60 2> /dev/null | "$python" -c '
import statistics, sys
lines = sys.stdin.read().split("\n")
peak = [float(l.split()[1]) for l in lines if l.startswith("peak")][0]
steps = [float(l) for l in lines if l and not l.startswith("peak")][10:]
print(statistics.median(steps), peak)'
}
layers='Matching("attn[12]\\.to_(q|k|v|out\\.0)$")'
for rank in ${RANKS:-8}; do
    for round in $(seq "$rounds"); do
        for method in para lora; do
            echo "$rank $method ours $(ours $method "$rank" "$round")"
            echo "$rank $method PEFT $(theirs $method "$rank")"
        done
    done
done | tee "$work/all" >&2
"$python" - "$work/all" <<'PY'
import collections, statistics, sys
found = collections.defaultdict(list)
for line in open(sys.argv[1]):
    rank, method, who, ms, peak = line.split()
    found[int(rank), method, who].append((float(ms), float(peak)))
def spread(values): return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
ms = lambda *key: [a for a, _ in found[key]]
for rank in sorted({key[0] for key in found}):
    for method in ("para", "lora"):
        mine, other = ms(rank, method, "ours"), ms(rank, method, "PEFT")
        ratio = [a / b for a, b in zip(mine, other)]
        peaks = [statistics.median(p for _, p in found[rank, method, who]) for who in ("ours", "PEFT")]
        print(f"rank {rank} {method}: ours {spread(mine)} ms, PEFT {spread(other)} ms, ratio {spread(ratio)}; "
              f"peak {peaks[0]:.0f} and {peaks[1]:.0f} MiB")
    ratio = [a / b for a, b in zip(ms(rank, "para", "ours"), ms(rank, "lora", "ours"))]
    print(f"rank {rank}: our PaRa step is {spread(ratio)} of our LoRA step")
PY
