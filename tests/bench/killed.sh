#!/usr/bin/env bash
# What a SIGKILL in the middle of a run costs: an exchange of N x N without a fault, then one whose caller is killed when half of
# its time is over and started again. Prints seconds and bytes of both, and which share of the bytes was sent twice.
#
# Usage: tests/bench/killed.sh [N [KILLS]]        by default 1000000, once
# Build first: cargo build --release -p psi-node -p psi-tests --bin psi --example chaos
set -euo pipefail
items=${1:-1000000} kills=${2:-1}
built=${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/release
psi=${PSI:-$built/psi} chaos=${CHAOS:-$built/examples/chaos}
work=$(mktemp -d)
serving='' proxy=''
end() { [ -z "$1" ] || { kill -INT "$1" && wait "$1"; } 2>/dev/null || true; }
trap 'end "$proxy"; end "$serving"; rm -rf "$work"' EXIT

list() { printf 'phone\n'; seq -f '%.0f' "$1" "$2" | awk '{ printf "1%010.0f\n", 3000000000 + ($1 * 7919) % 6999999989 }'; }
list 1 "$items" >"$work/a.csv"
list $((items / 2 + 1)) $((items + items / 2)) >"$work/b.csv"

psi() { "$psi" --home "$work/$1" "${@:2}" 2>>"$work/log"; }
digits() { psi "$1" id | grep -oE '([0-9]{5} ){5}[0-9]{5}'; }
until_there() { until "$@" 2>/dev/null; do read -rt 0.02 <> <(:) || true; done; }
pair() { # side peer
    psi "$2" peer export >"$work/$2.psi-peer"
    psi "$1" peer add "$work/$2.psi-peer" --confirm "$(digits "$2")" >/dev/null
    psi "$1" job add bench --peer "bank-$2" --input "$work/$1.csv" --column phone --profile cn.mobile/1 \
        --output "$work/out-$1-{run}.csv" --max-items 400000000 --max-runs-per-day 100 >/dev/null
}
for side in a b; do psi "$side" init --name "bank-$side" --listen 127.0.0.1:0 >/dev/null; done
pair b a
psi b serve >"$work/listening" &
serving=$!
until_there grep -q listening "$work/listening"
pair a b

# Opens a way to the server whose bytes are counted.
open_way() {
    "$chaos" --listen 127.0.0.1:0 --to "$(sed 's/listening on //' "$work/listening")" 2>"$work/proxy" >"$work/tally" &
    proxy=$!
    until_there grep -q -e '->' "$work/proxy"
    sed -i "/^endpoint = /d; s|^\[peers.bank-b\]|&\nendpoint = \"https://$(sed 's/ -> .*//' "$work/proxy")\"|" "$work/a/config.toml"
}
bytes() { # of the way, which is closed
    kill -INT "$proxy"; wait "$proxy" || true
    proxy=''
    grep -oE 'bytes: \[[0-9]+, [0-9]+' "$work/tally" | awk -F'[[, ]+' '{ print $2 + $3 }'
}
run() { psi a run bench --json >"$work/summary"; }
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f", to - from }'; }

open_way
begun=$EPOCHREALTIME
run
clean_seconds=$(since "$begun") clean=$(bytes)
echo "without a fault: $clean_seconds s, $clean bytes"
for ((kill = 0; kill < kills; kill++)); do
    open_way
    begun=$EPOCHREALTIME
    "$psi" --home "$work/a" run bench --json >/dev/null 2>>"$work/log" &
    caller=$!
    read -rt "$(awk -v seconds="$clean_seconds" 'BEGIN { print seconds / 2 }')" <> <(:) || true
    kill -KILL "$caller"
    wait "$caller" 2>/dev/null || true
    restarted=$EPOCHREALTIME
    run
    grep -q '"resumed":1' "$work/summary" || { echo "the run did not go on" >&2; exit 1; }
    echo "killed at the half: $(since "$begun") s, of them $(since "$restarted") s after the restart, $(bytes) bytes" |
        awk -v clean="$clean" '{ printf "%s; %.1f %% sent twice\n", $0, 100 * ($(NF - 1) - clean) / clean }'
done
