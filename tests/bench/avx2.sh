#!/usr/bin/env bash
# Our AVX2 path against the AVX2 backend of curve25519-dalek. A build has one backend at most beside the plain one, so this makes
# a second build without the avx512 backend, in a target folder of its own, and runs `psi bench` of both in turn.
# Usage: tests/bench/avx2.sh [ROUNDS]        by default 3; prints nanoseconds an element, then the ratios, least and median
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-3}
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --locked --bin psi
RUSTFLAGS='--cfg curve25519_dalek_backend="simd"' CARGO_TARGET_DIR="$target/dalek-avx2" cargo build --release --locked --bin psi

figure() { # object, stage: from one line of JSON
    sed -E "s/.*$1[^}]*\"$2\":([0-9]+).*/\1/"
}
row='%-7s%10s%10s%10s%10s%10s%10s\n'
printf "$row" '' 'own' 'dalek' 'ratio' 'peer' 'dalek' 'ratio'
for ((round = 1; round <= rounds; round++)); do
    ours=$("$target/release/psi" bench --json)
    theirs=$("$target/dalek-avx2/release/psi" bench --json)
    grep -q '"backend":"avx2"' <<<"$theirs" || { echo "this CPU has no AVX2" >&2; exit 1; }
    for stage in own_ns peer_ns; do
        figure '"path":"avx2"' $stage <<<"$ours"
        figure '"backend":"avx2"' $stage <<<"$theirs"
    done | xargs | awk -v row="$row" -v round="$round" '{
        printf row, round, $1, $2, sprintf("%.3f", $1 / $2), $3, $4, sprintf("%.3f", $3 / $4) }' | tee -a "$work/rows"
done
for stage in 4 7; do
    awk -v stage="$stage" '{ print $stage }' "$work/rows" | sort -n | awk -v name="$([ $stage = 4 ] && echo own || echo peer)" '
        { v[NR] = $1 }
        END { printf "%-5s least %.3f, median %.3f\n", name, v[1], (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
done
