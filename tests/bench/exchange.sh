#!/usr/bin/env bash
# Two node processes exchange N x N made-up numbers, half shared, over loopback with TLS: wall time; CPU, peak memory and bytes
# a side. Each result is compared with the plaintext intersection.
#
# Usage: tests/bench/exchange.sh [N [ROUNDS [MODE...]]]        by default 100000, once, proved
#   MODE: proved, or options of `psi job add` without their dashes, joined by commas: unproved; unproved,not-openable
#   Several modes are run in turn in each round; then the least and the median of each figure are printed.
#   10M against 10M: tests/bench/exchange.sh 10000000
# THREADS=n    computing threads of each side (by default all)
# MEMORY_MB=n  memory limit of each side (by default none)
# DELAY_MS=n   each way, by the proxy of tests/examples/chaos.rs
#
# Build first: cargo build --release -p psi-node -p psi-tests --bin psi --example chaos
set -euo pipefail
items=${1:-100000} rounds=${2:-1}
modes=("${@:3}")
[ ${#modes[@]} -gt 0 ] || modes=(proved)
built=${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/release
psi=${PSI:-$built/psi}
work=$(mktemp -d)
serving='' proxy=''
end() { # a process that we started
    [ -z "$1" ] || { kill "$1" && wait "$1"; } 2>/dev/null || true
}
trap 'end "$proxy"; end "$serving"; rm -rf "$work"' EXIT

list() { # first last
    printf 'phone\n'
    seq -f '%.0f' "$1" "$2" | awk '{ printf "1%010.0f\n", 3000000000 + ($1 * 7919) % 6999999989 }'
}
list 1 "$items" >"$work/a.csv"
list $((items / 2 + 1)) $((items + items / 2)) >"$work/b.csv"
digest() { tail -n +2 "$1" | sort | sha256sum; }
comm -12 <(tail -n +2 "$work/a.csv" | sort) <(tail -n +2 "$work/b.csv" | sort) >"$work/shared"
shared=$(sort "$work/shared" | sha256sum)

quiet() { "$psi" "$@" >/dev/null 2>>"$work/log"; }
digits() { "$psi" --home "$run/$1" id | grep -oE '([0-9]{5} ){5}[0-9]{5}'; }
pair() { # side peer, options of the job
    "$psi" --home "$run/$2" peer export >"$run/$2.psi-peer" 2>>"$work/log"
    quiet --home "$run/$1" peer add "$run/$2.psi-peer" --confirm "$(digits "$2")"
    quiet --home "$run/$1" job add bench --peer "bank-$2" --input "$work/$1.csv" --column phone \
        --profile cn.mobile/1 --output "$run/out-$1.csv" --max-items 400000000 "${@:3}"
}
until_there() { until "$@" 2>/dev/null; do read -rt 0.02 <> <(:) || true; done; }

# Carries connections to the address, with the delay; prints where.
delayed() { # address
    "$built/examples/chaos" --listen 127.0.0.1:0 --to "$1" --delay-ms "$DELAY_MS" 2>"$run/proxy" &
    proxy=$!
    until_there grep -q -e '->' "$run/proxy"
    address=$(sed 's/ -> .*//' "$run/proxy")
}

exchange() { # mode; prints one line
    local options=() side
    [ "$1" = proved ] || IFS=, read -ra options <<<"$1"
    run=$work/run
    mkdir "$run"
    for side in a b; do
        quiet --home "$run/$side" init --name "bank-$side" --listen 127.0.0.1:0
        [ -z "${THREADS:-}" ] || sed -i "s/^listen = .*/&\nthreads = $THREADS/" "$run/$side/config.toml"
        [ -z "${MEMORY_MB:-}" ] || sed -i "s/^listen = .*/&\nmemory_mb = $MEMORY_MB/" "$run/$side/config.toml"
    done
    pair b a "${options[@]/#/--}"
    "$psi" --home "$run/b" serve >"$run/listening" 2>>"$work/log" &
    serving=$!
    until_there grep -q listening "$run/listening"
    address=$(sed 's/listening on //' "$run/listening")
    [ -z "${DELAY_MS:-}" ] || delayed "$address"
    pair a b "${options[@]/#/--}"
    sed -i "s|^\[peers.bank-b\]|&\nendpoint = \"https://$address\"|" "$run/a/config.toml"
    local start=$EPOCHREALTIME
    "$psi" --home "$run/a" run bench --json >"$run/summary" 2>>"$work/log" || { cat "$work/log" >&2; return 1; }
    local seconds
    seconds=$(awk -v start="$start" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.3f", end - start }')
    # The called side ends its run a moment after the caller.
    until_there test -e "$run/out-b.csv"
    measured "$1" "$seconds"
    end "$proxy"; end "$serving"
    serving='' proxy=''
    for side in a b; do
        [ "$(digest "$run/out-$side.csv")" = "$shared" ] ||
            { echo "the result of $side is not the plaintext intersection" >&2; return 1; }
    done
    rm -rf "$run"
}

field() { grep -oE "\"$1\":[0-9.]+" "$run/summary" | sed 's/.*://'; }
row='%-26s %9s %9s %9s %9s %9s %9s\n'
measured() { # mode, seconds with the start of `psi run`
    local cpu peak
    cpu=$(awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$serving/stat")
    peak=$(awk '/VmHWM/ { print $2 * 1024 }' "/proc/$serving/status")
    awk -v row="$row" -v mode="$1" -v wall="$2" -v cpu="$(field cpu_seconds) $cpu" -v peak="$(field peak_rss_bytes) $peak" \
        -v bytes="$(field bytes_sent) $(field bytes_received)" 'BEGIN {
            split(cpu, c, " "); split(peak, p, " "); split(bytes, b, " "); n = "%.2f"; m = "%.1f"
            printf row, mode, sprintf(n, wall), sprintf(n, c[1]), sprintf(n, c[2]),
                sprintf(m, p[1] / 1e6), sprintf(m, p[2] / 1e6), sprintf(n, (b[1] + b[2]) / 1e6) }'
}

# The least or the median of each column, by mode.
summed_up() { # name, mode
    grep "^$2 " "$work/measured" | awk -v row="$row" -v name="$1 $2" '{ for (i = 2; i <= 7; i++) v[i, NR] = $i }
        function figure(i,    j, k, t) {
            for (j = 2; j <= NR; j++) for (k = j; k > 1 && v[i, k] < v[i, k - 1]; k--) { t = v[i, k]; v[i, k] = v[i, k - 1]; v[i, k - 1] = t }
            return sprintf("%.2f", name ~ /^least/ ? v[i, 1] : (v[i, int((NR + 1) / 2)] + v[i, int(NR / 2) + 1]) / 2)
        }
        END { printf row, name, figure(2), figure(3), figure(4), figure(5), figure(6), figure(7) }'
}

printf "$row" mode seconds 'CPU s, a' 'CPU s, b' 'MB, a' 'MB, b' 'MB, wire'
for ((round = 0; round < rounds; round++)); do
    for mode in "${modes[@]}"; do
        exchange "$mode" >>"$work/measured"
        tail -n 1 "$work/measured"
    done
done
[ "$rounds" -eq 1 ] || for mode in "${modes[@]}"; do summed_up least "$mode"; summed_up median "$mode"; done
