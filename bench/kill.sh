#!/usr/bin/env bash
# Kills a run of a real graph at fifty random moments, each time in a fresh store, and goes on with it: every picture
# has to be the one of an undisturbed run. FLOW=path/to/flow uses another build.
set -euo pipefail
. "$(dirname "$0")/sweep.sh"
for scale in 0.2 0.4 0.6 0.8; do
    echo "\"styled $scale\": ApplyLoRA(model: \"base\", lora: \"red\", scale: $scale),"
    echo "\"at $scale\": DDIMSample(model: \"styled $scale\", prompt: \"a bear\", steps: 4),"
    echo "\"out $scale\": SaveImages(images: \"at $scale\", path: \"out/$scale\"),"
done | sweep
pictures() { (cd out && find . -name '*.png' -print0 | sort -z | xargs -0 sha256sum); }
"$flow" run graphs/sweep.ron --ui none
pictures > undisturbed
started=$(date +%s%N)
rm -rf .flow runs out
"$flow" run graphs/sweep.ron --ui none
whole=$((($(date +%s%N) - started) / 1000000))
killed=0
went_on=0
for i in $(seq 50); do
    rm -rf .flow runs out
    "$flow" run graphs/sweep.ron --ui none &
    sleep "$(awk -v ms=$((RANDOM % whole)) 'BEGIN { print ms / 1000 }')"
    kill -9 $! 2> kill.log && killed=$((killed + 1))
    wait $! 2> wait.log || true
    "$flow" run graphs/sweep.ron --ui json > events.ndjson
    went_on=$((went_on + $(grep -c '"type":"cache_hit"' events.ndjson || true)))
    pictures | cmp - undisturbed
    if find . -name '*.tmp' -path '*out*' | grep -q .; then echo "a part of a picture was left in run $i" >&2; fi
    "$flow" store verify > verified.txt
done
echo "$killed of 50 runs of $whole ms killed; each went on to the same pictures, with $went_on results kept in all"
