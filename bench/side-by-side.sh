#!/usr/bin/env bash
# Flow and diffusers in turn, on the same weights, inputs and two threads, ROUNDS=5 times: a Markdown table of seconds,
# ratios with their spread, peaks of anonymous memory, and CPU time. The machine has to do nothing else, since PyTorch's
# threads turn in circles while they wait for each other.
#
# `picture` is a whole process with models/mini-sdxl; the other works are repeated REPEATS=3 times in a process of each
# side, the first of which warms up, with MODEL: a denoiser and text encoders of SDXL's widths with fewer layers, and its
# own autoencoder, made on first use. MODEL=target/bench/sdxl-base is full size; `cargo bench -p flow-nodes --bench
# full_size -- open` makes it. WORKS="picture load text decode-1024 unet-512 fold train" says what is measured; `train` is
# train-step.sh, with RANKS=8 and TRAINED="models/mini-sdxl wide".
#
# PyTorch is measured as it is installed, and with MKL told that the processor is Intel's: on others MKL takes a slow path.
# The ratio is to the better of the two; SIDES=installed leaves the other out, where the processor is Intel's.
#
# Needs Python 3.10 or newer and a network, or PYTHON with PyTorch, diffusers and PEFT; a C compiler; and cargo, or HALVES,
# the built benchmark `halves`. FLOW=path/to/flow uses another build.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/peft-environment.sh
flow=${FLOW:-target/release/flow}
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
export CANDLE_BARRIER_POOL_SPIN_LIMIT=1 MIMALLOC_PURGE_DELAY=10000 # as the program settles them
rounds=${ROUNDS:-5}
repeats=${REPEATS:-3}
works=${WORKS:-picture load text decode-1024 unet-512 fold train}
sides=${SIDES:-installed fast}
small=$PWD/models/mini-sdxl
model=${MODEL:-target/bench/side-by-side}
load=$(cut -d ' ' -f 1 /proc/loadavg)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_model() { # of SDXL's widths, and with its autoencoder
    mkdir -p target/bench
    [ -d target/bench/wide ] || "$python" bench/wide-model.py "$small" target/bench/wide
    "$python" bench/side-by-side.py model target/bench/wide nodes/src/sdxl/base_config/vae/config.json "$model"
}
build_halves() { # prints where the benchmark is
    cargo bench --quiet -p flow-nodes --bench halves --no-run --message-format json | "$python" -c '
import json, sys
built = [m for m in map(json.loads, sys.stdin) if m["reason"] == "compiler-artifact" and m["target"]["name"] == "halves"]
print(built[-1]["executable"])'
}
build_fast_path() {
    cat > "$work/mkl.c" <<'C'
int mkl_serv_intel_cpu_true(void) {
    return 1;
}
C
    cc -shared -fPIC -o "$work/mkl.so" "$work/mkl.c"
}
quietly() { # command: what it says of itself is told if it fails
    "$@" 2> "$work/log" || { cat "$work/log" >&2; return 1; }
}

mkdir "$work/graphs"
cat > "$work/graphs/picture.ron" <<GRAPH
Graph(nodes: {
    "base": LoadSDXL(path: "$small"),
    "picture": DDIMSample(model: "base", prompt: "a photo of a panda on a beach", steps: 30, guidance: 5, seed: 0),
    "out": SaveImages(images: "picture", path: "$work/ours.png"),
})
GRAPH
steps_of() { # events: the seconds of 30 steps, by all of them but the first
    "$python" - "$1" <<'PY'
import json, sys
events = [e for e in map(json.loads, open(sys.argv[1])) if e["type"] == "progress" and e["unit"] == "step"]
first, last = events[0], events[-1]
print("steps", 30 * (last["t"] - first["t"]) / (last["done"] - first["done"]), "nan nan")
PY
}
took() { # rows of a picture: the work, seconds, CPU seconds, MiB
    echo "picture $(cat "$work/took")"
    steps_of "$work/events"
}
ours() { # work
    if [ "$1" = picture ]; then
        rm -rf "$work/.flow" "$work/ours.png"
        quietly "$python" bench/watched.py "$work/took" \
            "$flow" run "$work/graphs/picture.ron" --device cpu --dtype f32 --no-cache --ui json > "$work/events"
        took
    else
        quietly "$halves" "$model" "$1" "$repeats" | sed "s/^/$1 /"
    fi
}
theirs() { # work, and a library that is loaded before all others, or nothing
    if [ "$1" = picture ]; then
        quietly env LD_PRELOAD="$2" "$python" bench/watched.py "$work/took" \
            "$python" bench/side-by-side.py picture "$small" "$work/theirs.png" > "$work/events"
        took
    else
        quietly env LD_PRELOAD="$2" "$python" bench/side-by-side.py half "$model" "$1" "$repeats" | sed "s/^/$1 /"
    fi
}
told() { # round and side: its rows, for the table and for whoever waits
    sed "s/^/$1 $2 /" | tee -a "$work/rows" >&2
}

build_fast_path
touch "$work/rows"
for each in $works; do
    case $each in
        picture | train) continue ;;
    esac
    [ -d "$model" ] || quietly make_model
    halves=${HALVES:-$(build_halves)}
    model=$(realpath "$model")
    break
done
for round in $(seq "$rounds"); do
    for each in $works; do
        [ "$each" != train ] || continue
        ours "$each" | told "$round" ours
        theirs "$each" "" | told "$round" installed
        [[ " $sides " != *" fast "* ]] || theirs "$each" "$work/mkl.so" | told "$round" fast
    done
done
"$python" bench/side-by-side-table.py "$work/rows" "$model" "$("$flow" --version)" "$load"
[[ " $works " != *" picture "* ]] || "$python" bench/side-by-side.py differ "$work/ours.png" "$work/theirs.png"

[[ " $works " == *" train "* ]] || exit 0
export PYTHON=$python FLOW=$flow ROUNDS=$rounds
for trained in ${TRAINED:-models/mini-sdxl wide}; do
    printf '\nTraining steps of %s, PyTorch as installed:\n\n' "$trained"
    MODEL=$trained bench/train-step.sh | sed 's/^/- /'
    [[ " $sides " == *" fast "* ]] || continue
    printf '\nThe same with MKL'\''s fast path:\n\n'
    MODEL=$trained LD_PRELOAD="$work/mkl.so" bench/train-step.sh | sed 's/^/- /'
done
