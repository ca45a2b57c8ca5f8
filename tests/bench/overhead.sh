#!/usr/bin/env bash
# What a run takes beside the curve: CPU seconds a party of tests/bench/exchange.sh, divided by what its elements take in
# psi-core's bench `suite` (own + peer). Exchange and bench share one processor in turns of milliseconds, so that whatever
# else slows the machine slows both.
#
# Usage: tests/bench/overhead.sh [N [ROUNDS [MODE]]]        by default 1000000, 3 times, unproved; MODE as for exchange.sh
# Build first: cargo build --release --bin psi
set -euo pipefail
cd "$(dirname "$0")/../.."
items=${1:-1000000} rounds=${2:-3} mode=${3:-unproved}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
psi=${PSI:-${CARGO_TARGET_DIR:-target}/release/psi}
read -r path own peer < <("$psi" bench --json |
    sed -E 's/.*"paths":\[\{"path":"([a-z0-9]+)","own_ns":([0-9]+),"peer_ns":([0-9]+).*/\1 \2 \3/')
# Four processes share the processor; the two of the bench should end with the exchange.
seconds=$((items * (own + peer) * 9 / 2 / 1000000000))
bench=$(cargo bench --locked -p psi-core --bench suite --no-run --message-format json 2>/dev/null |
    sed -nE 's/.*"executable":"([^"]*suite[^"]*)".*/\1/p')
TIMEFORMAT='%U %S'

sample() { # stage, least seconds, file: adds a line `samples, CPU s` to the file
    { time taskset -c 0 "$bench" --bench "^suite::$1::$path\$" --min-time "$2" >"$work/$1.out" 2>/dev/null; } 2>"$work/$1.time"
    awk -F '│' -v cpu="$(cat "$work/$1.time")" -v path=" $path " 'index($0, path) {
        split(cpu, c, " "); print $5 + 0, c[1] + c[2] }' "$work/$1.out" >>"$work/$3"
}
# What starting takes is known from a short sample, and taken off the long one.
each() { # stage: microseconds an element
    awk 'NR == 1 { n = $1; c = $2 } END { print ($2 - c) / ($1 - n) / 16384 * 1e6 }' "$work/$1.short" "$work/$1.long"
}
for stage in own peer; do sample "$stage" 0 "$stage.short"; done
for ((round = 0; round < rounds; round++)); do
    rm -f "$work"/*.long
    sample own "$seconds" own.long & sample peer "$seconds" peer.long &
    THREADS=1 PSI=$psi taskset -c 0 tests/bench/exchange.sh "$items" 1 "$mode" | tail -n 1 >"$work/exchange"
    wait
    awk -v own="$(each own)" -v peer="$(each peer)" -v items="$items" '{
        cpu = ($3 + $4) / 2
        printf "%s: %.2f CPU s a party; own %.3f us + peer %.3f us; ratio %.3f\n",
            $1, cpu, own, peer, cpu / items / (own + peer) * 1e6 }' "$work/exchange" | tee -a "$work/rows"
done
sed 's/.* //' "$work/rows" | sort -n | awk '{ v[NR] = $1 }
    END { printf "least %.3f, median %.3f\n", v[1], (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
