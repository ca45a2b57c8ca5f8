#!/usr/bin/env bash
# Two node processes on loopback exchange N x N made-up numbers, half shared: wall, CPU and peak memory a side, bytes.
# Usage: tests/bench/exchange.sh [N] [extra options of `psi job add`, such as --unproved]
# THREADS=n limits each side to n computing threads. Build first: cargo build --release --bin psi
set -euo pipefail
items=${1:-100000}
shift || true
psi=${PSI:-${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/release/psi}
work=$(mktemp -d)
serving=
trap '[ -z "$serving" ] || kill "$serving" 2>/dev/null || true; rm -rf "$work"' EXIT

list() { # first last
    printf 'phone\n'
    seq -f '%.0f' "$1" "$2" | awk '{ printf "1%010.0f\n", 3000000000 + ($1 * 7919) % 6999999989 }'
}
list 1 "$items" >"$work/a.csv"
list $((items / 2 + 1)) $((items + items / 2)) >"$work/b.csv"

quiet() { "$psi" "$@" >/dev/null 2>>"$work/log"; }
for side in a b; do
    quiet --home "$work/$side" init --name "bank-$side" --listen 127.0.0.1:0
    [ -z "${THREADS:-}" ] || sed -i "s/^listen = .*/&\nthreads = $THREADS/" "$work/$side/config.toml"
done
digits() { "$psi" --home "$work/$1" id | grep -oE '([0-9]{5} ){5}[0-9]{5}'; }
pair() { # side peer
    "$psi" --home "$work/$2" peer export >"$work/$2.psi-peer"
    quiet --home "$work/$1" peer add "$work/$2.psi-peer" --confirm "$(digits "$2")"
    quiet --home "$work/$1" job add bench --peer "bank-$2" --input "$work/$1.csv" --column phone \
        --profile cn.mobile/1 --output "$work/out-$1.csv" --max-items 400000000 "${@:3}"
}
pair b a "$@"
"$psi" --home "$work/b" serve >"$work/listening" 2>>"$work/log" &
serving=$!
until grep -q listening "$work/listening"; do read -rt 0.05 <> <(:) || true; done
address=$(sed 's/listening on //' "$work/listening")
pair a b "$@"
printf '\n' >>"$work/a/config.toml"
sed -i "s|^\[peers.bank-b\]|&\nendpoint = \"https://$address\"|" "$work/a/config.toml"

result=$("$psi" --home "$work/a" run bench --json 2>>"$work/log") || { cat "$work/log"; exit 1; }
# The called side ends its run a moment after the caller.
until [ -e "$work/out-b.csv" ]; do read -rt 0.05 <> <(:) || true; done
hertz=$(getconf CLK_TCK)
called=$(awk -v hertz="$hertz" '{ sub(/.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$serving/stat")
peak=$(awk '/VmHWM/ { print $2 * 1024 }' "/proc/$serving/status")
printf '%s\n' "$result"
printf '{"called_cpu_seconds":%s,"called_peak_rss_bytes":%s}\n' "$called" "$peak"
shared=$(comm -12 <(tail -n +2 "$work/a.csv" | sort) <(tail -n +2 "$work/b.csv" | sort) | sha256sum)
for side in a b; do
    [ "$(tail -n +2 "$work/out-$side.csv" | sort | sha256sum)" = "$shared" ] ||
        { echo "the result of $side is not the plaintext intersection" >&2; exit 1; }
done
