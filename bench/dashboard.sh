#!/usr/bin/env bash
# What a run loses by its dashboard: seconds of a graph with the screen in a tmux of 200 columns and 60 rows, and with no
# screen, in turn, ROUNDS=7 times; and CPU seconds, which neighbours on the machine disturb less. Needs tmux.
# FLOW=path/to/flow uses another build, GRAPH=file another graph.
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

cpu_seconds() { # process: its CPU time so far, of all its threads
    awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$1/stat"
}
wait_for_end() { # events; looking more often costs more than the dashboard does
    until grep -qs '"type":"run_finished"' "$1"; do sleep 1; done
}

alone() {
    TIMEFORMAT='%U %S'
    local cpu
    cpu=$({ time "$flow" run "$graph" --no-cache --ui none --events "$work/alone" > /dev/null 2>&1; } 2>&1)
    echo "$(seconds_of "$work/alone") $(awk '{ print $1 + $2 }' <<< "$cpu")"
}

on_a_screen() {
    rm -f "$work/screen"
    env -u CI -u TMUX tmux -S "$work/socket" -f /dev/null new-session -d -x 200 -y 60 \
        "$flow" run "$graph" --no-cache --ui tui --events "$work/screen"
    local pane server
    read -r pane server < <(tmux -S "$work/socket" list-panes -F '#{pane_pid} #{pid}')
    wait_for_end "$work/screen"
    echo "$(seconds_of "$work/screen") $(cpu_seconds "$pane") $(cpu_seconds "$server")"
    tmux -S "$work/socket" send-keys q
    while tmux -S "$work/socket" has-session 2> /dev/null; do sleep 0.1; done
}

alone > /dev/null
printf '%10s %10s %8s %10s %10s %8s %10s\n' alone screen ratio 'alone CPU' 'screen CPU' ratio 'tmux CPU'
for _ in $(seq "$rounds"); do
    echo "$(alone) $(on_a_screen)" |
        awk '{ printf "%10.3f %10.3f %8.4f %10.2f %10.2f %8.4f %10.2f\n", $1, $3, $3 / $1, $2, $4, $4 / $2, $5 }'
done | tee "$work/rows"
median() { # column, what it is
    sort -k "$1" -n "$work/rows" | awk -v column="$1" -v what="$2" '
        { ratios[NR] = $column }
        END { printf "%s: median %.4f, from %.4f to %.4f\n", what, ratios[int((NR + 1) / 2)], ratios[1], ratios[NR] }'
}
median 3 'ratio of seconds'
median 6 'ratio of CPU seconds'
