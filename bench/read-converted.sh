#!/usr/bin/env bash
# Has diffusers and PEFT read adapters that Flow converts and models that it saves, and compares their predictions. Needs Python 3.10 or newer
# and a network; the tests need neither.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/peft-environment.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
para=models/adapters/bear_plushie.para.safetensors
cat > "$work/graph.ron" <<GRAPH
Graph(nodes: {
    "base": LoadSDXL(path: "$PWD/models/mini-sdxl"),
    "bear": LoadAdapter(path: "$PWD/$para"),
    "peft": LoadAdapter(path: "$PWD/tests/data/peft-para"),
    "kohya": Convert(model: "base", adapters: ["bear"], to: LoRA, keys: Kohya, dtype: F32),
    "lora": Convert(model: "base", adapters: ["bear"], to: LoRA, keys: Peft, dtype: F32),
    "deft": Convert(model: "base", adapters: ["peft"], to: DEFT, dtype: F32),
    "kohya out": SaveAdapter(adapter: "kohya", path: "$work/kohya.safetensors"),
    "lora out": SaveAdapter(adapter: "lora", path: "$work/peft.safetensors"),
    "reduced": ApplyPaRa(model: "base", para: "bear"),
    "folder": SaveModel(model: "reduced", path: "$work/folder", dtype: F32),
    "file": SaveModel(model: "reduced", path: "$work/model.safetensors", dtype: F32),
    "deft out": SaveAdapter(adapter: "deft", path: "$work/deft"),
})
GRAPH
${FLOW:-cargo run --release --quiet --} run "$work/graph.ron" --ui none
"$python" bench/read-converted.py models/mini-sdxl "$para" "$work/kohya.safetensors" "$work/peft.safetensors" \
  "$work/deft" tests/data/peft-para "$work/folder" "$work/model.safetensors"
