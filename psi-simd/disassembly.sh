#!/usr/bin/env bash
# Looks at the machine code that sees the secret scalar: on each vector path the ladder (Climb) may have one conditional
# jump, the loop's, and one indexed load, the next mask; the recovery (Recover) neither. Needs objdump, nm and awk.
set -euo pipefail
cd "$(dirname "$0")/.."

# The new mangling keeps the kernel's name in the symbol.
export RUSTFLAGS="${RUSTFLAGS:-} -C symbol-mangling-version=v0"
target="${CARGO_TARGET_DIR:-target}/disassembly"
cargo build --quiet --release -p psi-simd --example constant_time --target-dir "$target"
binary="$target/release/examples/constant_time"
failed=0

# check LANE KERNEL CONDITIONAL-JUMPS INDEXED-ACCESSES
check() {
    local symbol code jumps indexed divisions
    symbol=$(nm "$binary" | awk -v lane="lane.*$1.*enter" -v kernel="$2" '$3 ~ lane && $3 ~ kernel { print $3 }')
    if [ "$(wc -w <<<"$symbol")" -ne 1 ]; then
        echo "$1 $2: expected one function, got: ${symbol:-none}"
        failed=1
        return
    fi
    code=$(objdump -d --no-show-raw-insn --disassemble="$symbol" "$binary" | grep -P '^\s+[0-9a-f]+:\t')
    jumps=$(grep -cP '\tj(?!mp)[a-z]+ ' <<<"$code" || true)
    indexed=$(grep -P '\(%?[a-z0-9]*,%r' <<<"$code" | grep -vcP 'nop|\tlea' || true)
    divisions=$(grep -cP '\t(i?div|v?(div|sqrt)[ps][sd])' <<<"$code" || true)
    echo "$1 $2: $(wc -l <<<"$code") instructions, $jumps conditional jumps, $indexed indexed accesses, $divisions divisions"
    if [ "$jumps" -ne "$3" ] || [ "$indexed" -ne "$4" ] || [ "$divisions" -ne 0 ]; then
        echo "  expected $3 conditional jumps, $4 indexed accesses and no division"
        failed=1
    fi
}

for lane in ifma avx2; do
    check "$lane" Climb 1 1
    check "$lane" Recover 0 0
done
exit "$failed"
