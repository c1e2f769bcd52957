#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Audit: run ChadThrottle, throttle a download, end it, and look with bpftool - never with
# ChadThrottle itself - whether anything of it is still attached to a cgroup or loaded.
#
# Usage: sudo ./test_cleanup.sh
# Exit:  0 nothing was left, 1 something was left or the limit did not hold, 2 a tool is missing.
set -euo pipefail

readonly PREFIX=chadthrottle_
readonly SECONDS_OF_LOAD=6
readonly LIMIT=1000000 # bytes a second
readonly GUARD_KB=${GUARD_KB:-2000} # the most that a guard may use; debug builds need more
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '%s\n' "$*"; }
give_up() { printf 'test_cleanup.sh: %s\n' "$*" >&2; exit 2; }

[ "$(id -u)" = 0 ] || give_up 'this has to run as root: sudo ./test_cleanup.sh'
PATH=$PATH:/usr/sbin:/sbin
# What users run loads no object but its own: with this one nothing below would work. A debug build loads the one that is
# named, so who audits one names it.
export CHADTHROTTLE_EBPF_OBJECT=${CHADTHROTTLE_EBPF_OBJECT-/nonexistent}
for tool in bpftool wget ip python3 timeout pgrep; do
    command -v "$tool" >/dev/null || give_up "$tool is missing: install it"
done
program=${CHADTHROTTLE:-$here/target/release/chadthrottle}
[ -x "$program" ] || program=$(command -v chadthrottle) ||
    give_up "chadthrottle is missing: cargo build --release, or name it in CHADTHROTTLE"
cgroup2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
running=$(pgrep -x chadthrottle | tr '\n' ' ' || true)
[ -z "$running" ] || give_up "chadthrottle is running (process ${running% }): end it first"
[ -n "$cgroup2" ] || give_up 'no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup'

# --- what is there, as bpftool sees it ---------------------------------------------------------

# Attachments of ours anywhere in the cgroup tree: "CGROUP ID TYPE NAME", a line each.
attached() {
    local directory
    find "$cgroup2" -type d 2>/dev/null | while read -r directory; do
        bpftool -j cgroup show "$directory" 2>/dev/null | python3 -c '
import json, sys
text = sys.stdin.read().strip()
for entry in json.loads(text) if text else []:
    if entry.get("name", "").startswith(sys.argv[1]):
        print(sys.argv[2], entry["id"], entry["attach_type"], entry["name"])
' "$PREFIX" "$directory"
    done
}

# Programs of ours that are loaded, and were not before this: "ID NAME", a line each.
loaded() {
    bpftool -j prog list | python3 -c '
import json, sys
for entry in json.load(sys.stdin):
    if entry.get("name", "").startswith(sys.argv[1]) and str(entry["id"]) not in sys.argv[2:]:
        print(entry["id"], entry["name"])
' "$PREFIX" $before
}
before=
# One that was killed, guard and all, has pinned what puts its settings back. No other may be there.
before=$(loaded | while read -r id name; do
    [ "$name" != chadthrottle_pb ] || echo "$id"
done)
[ -z "$before" ] || say "loaded before this, and not of it: programs" $before

# Detaches what is attached the legacy way. Links cannot be detached by others, and need not be.
detach_leftovers() {
    local directory id type name
    attached | while read -r directory id type name; do
        if bpftool cgroup detach "$directory" "$type" id "$id" 2>/dev/null; then
            say "detached a leftover: $name (program $id) from $directory ($type)"
        fi
    done
}

# Nothing attached and nothing loaded; the kernel has two seconds to free what was let go.
audit() {
    local left tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        left=$(attached | sed 's/^/attached: /'; loaded | sed 's/^/loaded: /')
        [ -n "$left" ] || { say "  $1: nothing attached, nothing loaded"; return 0; }
        sleep 0.2
    done
    say "  $1: LEFT BEHIND after $tries looks:"
    say "$left"
    failed=1
}

# --- what we make, and its removal --------------------------------------------------------------

namespace=ctaudit$$
link=cta$$
net=198.18.$(( $$ / 62 % 256 )).$(( $$ % 62 * 4 )) # a /30 of the addresses for benchmarks
host=${net%.*}.$(( ${net##*.} + 1 ))
server=${net%.*}.$(( ${net##*.} + 2 ))
work=$(mktemp -d)
started=() # processes of ours, by id
service= # the unit that we have made, where systemd runs
failed=0

remove_all() {
    trap - EXIT INT TERM HUP
    local pid
    end_service
    for pid in ${started[@]+"${started[@]}"}; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in ${started[@]+"${started[@]}"}; do
        wait "$pid" 2>/dev/null || true
    done
    ip link del "$link" 2>/dev/null || true
    ip netns del "$namespace" 2>/dev/null || true
    rm -rf "$work"
    detach_leftovers
}
trap remove_all EXIT
trap 'exit 1' INT TERM HUP

ip netns add "$namespace"
ip link add "$link" type veth peer name peer netns "$namespace"
ip addr add "$host/30" dev "$link"
ip link set "$link" up
ip -n "$namespace" addr add "$server/30" dev peer
ip -n "$namespace" link set peer up
truncate -s 1G "$work/file"
ip netns exec "$namespace" python3 -m http.server --bind "$server" --directory "$work" 8000 \
    >/dev/null 2>&1 &
started+=($!)
for _ in $(seq 50); do
    wget -q -O /dev/null --spider "http://$server:8000/" && break
    sleep 0.1
done

# --- the audit ----------------------------------------------------------------------------------

# Programs of ours at the root: exactly one of each while it runs. A busy machine takes its time to attach them.
one_of_each() {
    local names deadline=$((SECONDS + 15))
    while names=$(attached | awk '{ print $4 }' | sort | tr '\n' ' ') &&
        [ "$names" != 'chadthrottle_eg chadthrottle_in chadthrottle_sc chadthrottle_so ' ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "  while it ran: WRONG: attached were: ${names:-none}"
            failed=1
            return
        fi
        sleep 0.1
    done
    say "  while it ran: one of each program was attached"
}

# Runs a program under a seccomp filter that answers bpf(BPF_LINK_CREATE) with EINVAL, as kernels
# before 5.7 do: python3 refuse_link.py PROGRAM ARG...
cat >"$work/refuse_link.py" <<'PYTHON'
import ctypes, os, platform, struct, sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
LINK_CREATE, EINVAL = 28, 22
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
program = b"".join(struct.pack("HBBI", *instruction) for instruction in [
    (LOAD, 0, 0, 0),             # number of the call
    (EQUAL, 0, 3, SYS_BPF),
    (LOAD, 0, 0, 16),            # its first argument: the command
    (EQUAL, 0, 1, LINK_CREATE),
    (RETURN, 0, 0, ERRNO | EINVAL),
    (RETURN, 0, 0, ALLOW),
])
buffer = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxQ", 6, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, FILTER = 22, 2
if libc.prctl(PR_SET_SECCOMP, FILTER, filter, 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
PYTHON

# Becomes ChadThrottle by one way of attaching: link, legacy, or refused (the link call fails).
chadthrottle() {
    local method=$1 prefix=()
    shift
    if [ "$method" = refused ]; then
        prefix=(python3 "$work/refuse_link.py")
        method=auto
    fi
    exec ${prefix[@]+"${prefix[@]}"} "$program" --attach "$method" --state-dir "$work/state" "$@"
}

# A throttled wget for some seconds, by one way of attaching; then the audit.
throttled_download() {
    local method=$1 pid bytes low high status=0
    say "attach method $method: wget at 1 MB/s for $SECONDS_OF_LOAD seconds"
    rm -f "$work/got"
    chadthrottle "$method" run --down 1MB/s --root -- \
        timeout "$SECONDS_OF_LOAD" wget -q -O "$work/got" "http://$server:8000/file" \
        2>"$work/said" &
    pid=$!
    started+=("$pid")
    sleep $((SECONDS_OF_LOAD / 2))
    one_of_each
    wait "$pid" || status=$?
    # 124 is timeout's own: the download was still going on, as it must.
    if [ "$status" != 124 ]; then
        say "  WRONG: it ended with status $status and said:"
        cat "$work/said"
        failed=1
    fi
    bytes=$(stat -c %s "$work/got" 2>/dev/null || echo 0)
    low=$((LIMIT * SECONDS_OF_LOAD / 2))
    high=$((LIMIT * SECONDS_OF_LOAD * 3 / 2))
    if [ "$bytes" -ge "$low" ] && [ "$bytes" -le "$high" ]; then
        say "  wget got $bytes bytes: the limit held"
    else
        say "  WRONG: wget got $bytes bytes in $SECONDS_OF_LOAD s at $LIMIT bytes a second"
        failed=1
    fi
    audit 'after its end'
}

# The guard that watches over legacy attachments: there, and small.
guard_is_small() {
    local guard kilobytes
    guard=$(pgrep -P "$1" -f guard || true)
    kilobytes=$(awk '/^VmRSS/ { print $2 }' "/proc/${guard:-none}/status" 2>/dev/null || true)
    if [ -n "$kilobytes" ] && [ "$kilobytes" -lt "$GUARD_KB" ]; then
        say "  its guard process uses $kilobytes KB"
    else
        say "  WRONG: its guard process uses ${kilobytes:-(there is none)} KB"
        failed=1
    fi
}

# A client goes on with another engine when its own has been killed.
next_of_client() {
    local deadline=$((SECONDS + 15))
    while [ "$(cat "$work/state/engine.lock" 2>/dev/null)" = "$1" ] && [ "$SECONDS" -lt "$deadline" ]; do
        sleep 0.1
    done
    one_of_each
}

# Killed without a chance to clean up: the command, its engine, or both; then the audit.
killed() {
    local method=$1 who=$2 pid engine
    say "attach method $method: SIGKILL of $who"
    chadthrottle "$method" list --json >/dev/null 2>&1 &
    pid=$!
    started+=("$pid")
    one_of_each
    engine=$(cat "$work/state/engine.lock")
    [ "$method" = link ] || guard_is_small "$engine"
    case $who in
        command) kill -KILL "$pid" ;;
        engine)
            kill -KILL "$engine"
            next_of_client "$engine"
            kill -TERM "$pid"
            ;;
        both)
            kill -STOP "$engine"
            kill -KILL "$pid"
            kill -KILL "$engine"
            ;;
    esac
    wait "$pid" 2>/dev/null || true
    audit 'after SIGKILL'
}

# The packaged service, its engine killed and then its guard with it: limits go on, and after a stop nothing is left.
service_killed() {
    local method=$1 unit=chadthrottle-audit-$$.service
    say "attach method $method: SIGKILL of the service"
    # What it may not see or write is where the program and its state directory are.
    sed -e "s|^ExecStart=.*|ExecStart=$program --attach $method --state-dir $work/state engine|" \
        -e '/^ProtectHome=/d' -e '/^PrivateTmp=/d' -e '/^RuntimeDirectory/d' \
        -e "s|^ProtectSystem=.*|&\nReadWritePaths=$work|" \
        "$here/packaging/systemd/chadthrottle.service" >"/run/systemd/system/$unit"
    service=$unit
    systemctl daemon-reload
    systemctl start "$unit"
    (chadthrottle "$method" limit --detach --up 30KB name:ct-nobody 2>/dev/null)
    one_of_each
    for whom in main all; do
        next_engine "$unit" "$whom"
        local limits
        limits=$( (chadthrottle "$method" limits --json) | grep -c '"name:ct-nobody"' || true)
        # With its guard nobody is left who could hand anything over but systemd, which has it all.
        if [ "$limits" = 1 ]; then
            say "  the next engine has the limit"
        else
            say "  WRONG: the next engine has not got the limit"
            failed=1
        fi
    done
    systemctl stop "$unit"
    audit 'after its stop'
    end_service
}

# Kills the service's engine, with all its processes or alone, and waits until the next one has taken over.
next_engine() {
    local unit=$1 whom=$2 before tries
    before=$(cat "$work/state/engine.lock")
    systemctl kill --kill-whom="$whom" --signal=KILL "$unit"
    for tries in $(seq 100); do
        sleep 0.1
        [ "$(systemctl is-active "$unit")" = active ] || continue
        [ "$(cat "$work/state/engine.lock")" != "$before" ] || continue
        [ "$(attached | wc -l)" != 4 ] || break
    done
    one_of_each
}

end_service() {
    [ -n "$service" ] || return 0
    systemctl stop "$service" || true
    rm -f "/run/systemd/system/$service"
    systemctl daemon-reload
    service=
}

say "ChadThrottle: $program; cgroup2: $cgroup2; kernel $(uname -r)"
detach_leftovers
audit 'before'
for method in link legacy refused; do
    throttled_download "$method"
    for who in command engine both; do
        killed "$method" "$who"
    done
done

if [ -d /run/systemd/system ]; then
    for method in link legacy; do
        service_killed "$method"
    done
else
    say 'the service was not tried: systemd does not run here'
fi

if [ "$failed" = 0 ]; then
    say 'passed: nothing was left behind'
else
    say 'FAILED: see above'
fi
exit "$failed"
