#!/usr/bin/env bash
# Milliseconds per training step, ours and PEFT's (LoRA, and PaRa by its DEFT tuner), in turn on the same two threads:
# batch 1, the attention's linear layers, STEPS=60 steps of which the first sixth does not count; ROUNDS=5; RANKS=8.
# MODEL=wide is a denoiser with SDXL's widths and fewer layers, made on first use; models/mini-sdxl without it. Needs
# Python 3.10 or newer and a network, or PYTHON with PyTorch, diffusers and PEFT. FLOW=path/to/flow uses another build, and
# SIDES=ours leaves PEFT out.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/peft-environment.sh
flow=${FLOW:-target/release/flow}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
rounds=${ROUNDS:-5}
steps=${STEPS:-60}
sides=${SIDES:-ours PEFT}
model=${MODEL:-models/mini-sdxl}
if [ "$model" = wide ]; then
    model=target/bench/wide
    [ -d "$model" ] || { mkdir -p target/bench && "$python" bench/wide-model.py models/mini-sdxl "$model" 2> /dev/null; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/graphs"

ours() { # method rank round: the median step in ms, and the peak in MiB
    local method
    [ "$1" = lora ] && method="Lora(rank: $2, layers: $layers)" || method="Para(rank: $2, bound: Nowhere, layers: $layers)"
    cat > "$work/graphs/train.ron" <<GRAPH
Graph(nodes: {
    "base": LoadSDXL(path: "$PWD/$model"),
    "photos": LoadImages(path: "$PWD/data/mini-dreambooth/bear_plushie"),
    "t": Train(model: "base", images: "photos", prompt: "a photo of sks", method: $method, steps: $steps, seed: $3,
               sample_every: 0, checkpoint_every: 1000, learning_rate: 0.001),
})
GRAPH
    rm -rf "$work/.flow"
    "$python" bench/peak.py "$work/peak" "$flow" run "$work/graphs/train.ron" --no-cache --ui json > "$work/events"
    "$python" - "$work/events" "$work/peak" <<'PY'
import json, statistics, sys
times = [e["t"] for e in map(json.loads, open(sys.argv[1])) if e["type"] == "metric" and e["name"] == "loss"]
first = len(times) // 6
steps = [1000 * (b - a) for a, b in zip(times[first:], times[first + 1:])]
print(statistics.median(steps), open(sys.argv[2]).read())
PY
}
theirs() {
    "$python" bench/peak.py "$work/peak" "$python" bench/train-step.py "$model" "$1" "$2" "$steps" 2> /dev/null > "$work/steps"
    "$python" - "$work/steps" "$work/peak" <<'PY'
import statistics, sys
steps = [float(line) for line in open(sys.argv[1])]
print(statistics.median(steps[len(steps) // 6:]), open(sys.argv[2]).read())
PY
}
layers='Matching("attn[12]\\.to_(q|k|v|out\\.0)$")'
for rank in ${RANKS:-8}; do
    echo "$rank flops all $("$python" bench/step-operations.py "$model" "$rank" 2> /dev/null) 0"
    for round in $(seq "$rounds"); do
        for method in para lora; do
            echo "$rank $method ours $(ours $method "$rank" "$round")"
            [[ " $sides " != *" PEFT "* ]] || echo "$rank $method PEFT $(theirs $method "$rank")"
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
        if not other:
            print(f"rank {rank} {method}: ours {spread(mine)} ms")
            continue
        ratio = [a / b for a, b in zip(mine, other)]
        peaks = [statistics.median(p for _, p in found[rank, method, who]) for who in ("ours", "PEFT")]
        print(f"rank {rank} {method}: ours {spread(mine)} ms, PEFT {spread(other)} ms, ratio {spread(ratio)}; "
              f"anonymous memory at most {peaks[0]:.0f} and {peaks[1]:.0f} MiB")
    ratio = [a / b for a, b in zip(ms(rank, "para", "ours"), ms(rank, "lora", "ours"))]
    # PaRa's paper (arXiv 2406.05641), table 5: seconds of PaRa by those of LoRA.
    paper = {2: 0.94, 16: 0.66, 32: 0.62, 128: 0.56}.get(rank, "no figure")
    theirs = [a / b for a, b in zip(ms(rank, "para", "PEFT"), ms(rank, "lora", "PEFT"))]
    counted = found[rank, "flops", "all"][0][0]
    of_its_own = f", PEFT's {spread(theirs)} of its own" if theirs else ""
    print(f"rank {rank}: our PaRa step is {spread(ratio)} of our LoRA step{of_its_own}; "
          f"{counted:.3f} by operations, {paper} in the paper")
PY
