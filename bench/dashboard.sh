#!/usr/bin/env bash
# What a run loses by its dashboard: seconds of a graph with the screen in a tmux of 200 columns and 60 rows, and with no
# screen, in turn, ROUNDS=7 times. Needs tmux. FLOW=path/to/flow uses another build, GRAPH=file another graph.
set -euo pipefail
cd "$(dirname "$0")/.."
flow=$PWD/${FLOW:-target/release/flow}
graph=${GRAPH:-$PWD/graphs/quickstart.ron}
rounds=${ROUNDS:-7}
work=$(mktemp -d)
trap 'tmux -S "$work/socket" kill-server 2> /dev/null; rm -rf "$work"' EXIT

seconds_of() { # events: the seconds of the run
    sed -n 's/.*"type":"run_finished".*"seconds":\([0-9.]*\).*/\1/p' "$1"
}

alone() {
    "$flow" run "$graph" --no-cache --ui none --events "$work/alone" > /dev/null 2>&1
    seconds_of "$work/alone"
}

on_a_screen() {
    rm -f "$work/screen"
    env -u CI -u TMUX tmux -S "$work/socket" -f /dev/null new-session -d -x 200 -y 60 \
        "$flow" run "$graph" --no-cache --ui tui --events "$work/screen"
    until grep -qs '"type":"run_finished"' "$work/screen"; do sleep 0.1; done
    tmux -S "$work/socket" send-keys q
    while tmux -S "$work/socket" has-session 2> /dev/null; do sleep 0.1; done
    seconds_of "$work/screen"
}

alone > /dev/null
printf '%10s %10s %8s\n' alone screen ratio
for _ in $(seq "$rounds"); do
    a=$(alone) b=$(on_a_screen)
    awk -v a="$a" -v b="$b" 'BEGIN { printf "%10.3f %10.3f %8.4f\n", a, b, b / a }'
done | sort -k3 -n | tee "$work/rows"
awk '{ ratios[NR] = $3 } END { printf "median ratio %.4f, from %.4f to %.4f\n", ratios[int((NR + 1) / 2)], ratios[1], ratios[NR] }' "$work/rows"
