#!/usr/bin/env bash
# Has an independent reader (sd-parsers, from PyPI) read what Flow writes into a picture, and
# compares it with what the picture was made of. Needs Python; the tests do not need this.
set -euo pipefail
cd "$(dirname "$0")/.."
python=target/read-parameters/bin/python
[ -x "$python" ] || { python3 -m venv target/read-parameters && "$python" -m pip install -q sd-parsers==0.6; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/graph.ron" <<GRAPH
Graph(nodes: {
    "base": LoadSDXL(path: "$PWD/models/mini-sdxl"),
    "picture": DpmppSample(
        model: "base", prompt: "a fox, (red:1.2) background\nand snow", negative_prompt: "ein Bär, 雪",
        steps: 7, guidance: 4.5, seed: 4294967301, width: 96, height: 64,
    ),
    "out": SaveImages(images: "picture", path: "$work/picture.png"),
})
GRAPH
cargo run --release --quiet -- run "$work/graph.ron" --ui none

"$python" - "$work/picture.png" <<'PYTHON'
import sys
from sd_parsers import ParserManager

info = ParserManager().parse(sys.argv[1])
[sampler] = info.samplers
found = {
    "generator": info.generator.value,
    "prompt": sampler.prompts[0].value,
    "negative": sampler.negative_prompts[0].value,
    "sampler": sampler.name,
    "steps": sampler.parameters["steps"],
    "cfg_scale": sampler.parameters["cfg_scale"],
    "seed": sampler.parameters["seed"],
    "model": sampler.model.name,
    "size": info.metadata["Size"],
}
expected = {
    "generator": "AUTOMATIC1111",
    "prompt": "a fox, (red:1.2) background\nand snow",
    "negative": "ein Bär, 雪",
    "sampler": "DPM++ 2M",
    "steps": "7",
    "cfg_scale": "4.5",
    "seed": "4294967301",
    "model": "mini-sdxl",
    "size": "96x64",
}
wrong = {name: (found[name], value) for name, value in expected.items() if found[name] != value}
print(found)
sys.exit(f"differs (found, expected): {wrong}" if wrong else 0)
PYTHON
echo "every value reads back"
