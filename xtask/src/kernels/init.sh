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

between() { # NAME VALUE LOW HIGH
    if [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; then passed "$1: $2"; else failed "$1: $2, not $3 to $4"; fi
}

# What a clean-up finds has been left.
nothing_left() { # NAME
    sleep 3
    left=$(chadthrottle cleanup | grep "chadthrottle_")
    if [ -z "$left" ]; then passed "$1: nothing left"; else failed "$1: $left"; fi
}

# An engine that has attached its programs, for the commands that follow: emulated verifiers take their time.
start_engine() { # METHOD
    rm -f /run/chadthrottle/control.sock
    chadthrottle engine --attach "$1" &
    engine=$!
    until [ -S /run/chadthrottle/control.sock ] || ! kill -0 $engine; do sleep 0.1; done
}

# Bytes that have passed over loopback.
looped() { awk '$1 == "lo:" { print $2 }' /proc/net/dev; }

# Since boot, in seconds: a sleep takes longer where the machine gets no processor.
hundredths() { awk '{ print int($1 * 100) }' /proc/uptime; }

# Reads what `load escape` says twenty times a second, and gives the slowest, the fastest and the
# mean second after the first, in KB.
seconds() {
    awk '
        int($1) > second {
            if (second >= 1) {
                rate = ($2 - bytes) / ($1 - time) / 1000
                if (least == "" || rate < least) least = rate
                if (rate > most) most = rate
                mean = ($2 - first) / ($1 - start) / 1000
            } else {
                start = $1; first = $2
            }
            second = int($1); time = $1; bytes = $2
        }
        END { printf "%d %d %d\n", least, most, mean }
    '
}

# The far side ends with its input.
mkfifo /tmp/input
load peer < /tmp/input > /tmp/peer &
exec 9> /tmp/input
until [ -s /tmp/peer ]; do sleep 0.1; done

load escape bulk down 127.0.0.1 4 > /tmp/free
read -r least most mean <<END
$(seconds < /tmp/free)
END
# Without a limit it is far from where the limit is going to be.
between "TCP without a limit, slowest second in KB" "$least" 5000 100000000

# What puts idle sockets back needs 5.15.
case "$(uname -r)" in
    5.10*) levers="pacing, window: not on this kernel" ;;
    *) levers="pacing: TCP uploads" ;;
esac

for method in link legacy; do
    said=$(chadthrottle doctor --attach "$method" 2>&1)
    if echo "$said" | grep -q "attach method *$method" && echo "$said" | grep -q "limits will work"; then
        passed "doctor, $method: $(echo "$said" | grep "handed over"); $(echo "$said" | grep "slow TCP")"
    else
        failed "doctor, $method: $said"
    fi
    if echo "$said" | grep "^lever" | grep -q "$levers"; then
        passed "doctor, levers: $levers"
    else
        failed "doctor, levers: $said"
    fi
    start_engine "$method"

    chadthrottle run --root --scope all --down 1MB/s -- \
        load escape bulk down 127.0.0.1 7 > /tmp/held
    read -r least most mean <<END
$(seconds < /tmp/held)
END
    # How exact a limit is `bench accuracy` tells. A machine that is emulated beside other work stands still now and
    # then, and catches up in the next second.
    between "TCP down, $method, 1 MB/s, slowest second in KB" "$least" 100 1300
    between "TCP down, $method, 1 MB/s, fastest second in KB" "$most" 500 2500
    between "TCP down, $method, 1 MB/s, mean second in KB" "$mean" 500 1150

    # Counted while the limit is there: what a socket still holds when `run` ends goes out freely.
    before=$(looped)
    chadthrottle run --root --scope all --up 1MB/s -- \
        load escape bulk up 127.0.0.1 15 > /dev/null &
    until [ $(($(looped) - before)) -gt 100000 ]; do sleep 0.1; done
    before=$(looped) began=$(hundredths)
    sleep 5
    mean=$((($(looped) - before) / 10 / ($(hundredths) - began)))
    between "TCP up, $method, 1 MB/s, mean second in KB" "$mean" 400 1300
    wait $!

    # For three seconds, 500 KB/s with a quarter of a second's burst: 1.6 MB.
    arrived=$(chadthrottle run --root --scope all --up 500KB/s -- load loopback 3)
    between "UDP, $method, bytes in 3 s at 500 KB/s" "$arrived" 500000 1800000
    kill -TERM $engine
    wait $engine
    nothing_left "after SIGTERM, $method"
done

start_engine legacy
kill -KILL $engine
nothing_left "after SIGKILL, legacy"

# The engine is stopped first, so that it cannot see its guard go.
start_engine legacy
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
