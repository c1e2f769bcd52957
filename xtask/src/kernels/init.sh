#!/bin/busybox sh
# What a booted kernel runs, as its first process: each check says PASSED or FAILED.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
ip link set lo up
echo "root:x:0:0::/:/bin/sh" > /etc/passwd
echo "kernel $(uname -r)"

passed() { echo "PASSED $*"; }
failed() { echo "FAILED $*"; }

# Hundredths of a second since boot.
now() { read -r seconds _ < /proc/uptime; echo "${seconds%.*}${seconds#*.}"; }

between() { # NAME VALUE LOW HIGH
    if [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; then passed "$1: $2"; else failed "$1: $2, not $3 to $4"; fi
}

nothing_left() { # NAME
    sleep 1
    left=$(chadthrottle doctor | grep "attached there")
    if [ -z "$left" ]; then passed "$1: nothing left"; else failed "$1: $left"; fi
}

head -c 3000000 /dev/zero > /tmp/three-megabytes
cd /tmp && httpd -p 127.0.0.1:8000

# A connection's window can be made smaller from 5.15 on.
case "$(uname -r)" in
    5.10*) window="window: not on this kernel" ;;
    *) window="window: TCP downloads" ;;
esac
said=$(chadthrottle doctor 2>&1 | grep "^lever")
if echo "$said" | grep -q "pacing: TCP uploads" && echo "$said" | grep -q "$window"; then
    passed "doctor, levers: pacing, $window"
else
    failed "doctor, levers: $said"
fi

for method in link legacy; do
    said=$(chadthrottle doctor --attach "$method" 2>&1)
    if echo "$said" | grep -q "attach method *$method" && echo "$said" | grep -q "limits will work"; then
        passed "doctor, $method: $(echo "$said" | grep "handed over"); $(echo "$said" | grep "slow TCP")"
    else
        failed "doctor, $method: $said"
    fi

    began=$(now)
    chadthrottle run --root --scope all --attach "$method" --down 1MB/s -- \
        wget -q -O /dev/null http://127.0.0.1:8000/three-megabytes
    between "TCP, $method, 3 MB at 1 MB/s, hundredths of a second" $(($(now) - began)) 250 1200

    # For three seconds, 500 KB/s with a quarter of a second's burst: 1.6 MB.
    arrived=$(chadthrottle run --root --scope all --attach "$method" --up 500KB/s -- udp_load 3)
    between "UDP, $method, bytes in 3 s at 500 KB/s" "$arrived" 1300000 1800000
    nothing_left "after run, $method"
done

# An engine that has attached its programs, which its first line says.
start_engine() {
    # That of the engine before is not its.
    rm -f /tmp/listed
    chadthrottle list --attach legacy > /tmp/listed &
    engine=$!
    for second in $(seq 30); do
        [ -s /tmp/listed ] && return
        sleep 1
    done
}

start_engine
kill -KILL $engine
nothing_left "after SIGKILL, legacy"

# The engine is stopped first, so that it cannot see its guard go.
start_engine
kill -STOP $engine
for process in /proc/[0-9]*; do
    if tr '\0' ' ' < "$process/cmdline" 2> /dev/null | grep -q "^/proc/self/exe guard"; then
        kill -KILL "${process#/proc/}"
    fi
done
kill -KILL $engine
sleep 1
removed=$(chadthrottle cleanup | grep -c "chadthrottle_")
programs=4
echo "$said" | grep -q "slow TCP uploads in single packets" && programs=6
between "programs that a killed engine and guard left, removed" "$removed" $programs $programs
nothing_left "after cleanup"

echo "END OF CHECKS"
poweroff -f
