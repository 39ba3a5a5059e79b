#!/usr/bin/env bash
# Makes the pictures of the dashboard in the README anew: runs two graphs, and photographs what they left in `runs`.
# FLOW=path/to/flow uses another build.
set -euo pipefail
cd "$(dirname "$0")/.."
flow=${FLOW:-target/release/flow}

picture() { # name keys arguments..
    "$flow" dash --replay last --screenshot "docs/dashboard-$1.png" --keys "$2" "${@:3}"
}

"$flow" run graphs/quickstart.ron --no-cache
picture graph "Right Right" --size 112x30 --until 4
# With another seed each time: what is trained already is not trained again.
"$flow" run graphs/train/para.ron --set bear.seed="$(date +%s)" --set bear.sample_every=40 --target adapter
picture training "3" --size 112x32
picture pictures "4" --size 130x38
