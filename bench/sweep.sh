# Sourced by the benchmarks that time the whole program: `$flow`, and a `$work` folder that goes away at the end, in which
# `sweep` writes a graph over the embedded model and an adapter, of the nodes that it reads.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
flow=${FLOW:-$root/target/release/flow}
[[ $flow = /* ]] || flow=$PWD/$flow
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/graphs"
cd "$work"

sweep() {
    {
        echo 'Graph(nodes: {'
        echo "\"base\": LoadSDXL(path: \"$root/models/mini-sdxl\"),"
        echo "\"red\": LoadAdapter(path: \"$root/models/adapters/red_cartoon.lora.safetensors\"),"
        cat
        echo '})'
    } > graphs/sweep.ron
}
