# SPDX-License-Identifier: MIT
# In a machine of its own: installs, upgrades and removes the packages, and says ALL PASSED where all is as it should be.
set -u
cd "$(dirname "$0")" || exit
exec 2>&1
export DEBIAN_FRONTEND=noninteractive

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines=20 chadthrottle.service
    exit 1
}
check() { # WORDS COMMAND...
    words=$1
    shift
    "$@" > out.log 2>&1 || { cat out.log; fail "$words: $*"; }
    echo "ok: $words$(sed -n 's/^measured/, measured/p' out.log)"
}
isnt() { ! "$@"; }

# All files but those that dpkg, the journal and the system itself write.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/systemd -o -path /root \) -prune -o -print | grep -v '/etc/.*-$' | sort
}
# Bytes of the fastest second after the first one, of tenths: the slowest start is not what is asked here.
fastest() { tr ' ' '\n' < "$1" | awk 'NR > 10 { a[n++] = $1 } END { for (i = 9; i < n; i++) { s = 0; for (j = 0; j < 10; j++) s += a[i - j]; if (s > m) m = s } print m + 0 }'; }
mean() { tr ' ' '\n' < "$1" | awk 'NR > 10 && NR <= 40 { s += $1; n++ } END { printf "%d", s * 10 / n }'; }
between() { echo "measured: $1 B/s, wanted: $2 to $3"; [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]; }
programs() { bpftool prog show | grep -c chadthrottle; }
processes() { cat /proc/[0-9]*/comm 2> /dev/null | grep -c '^chadthrottle'; }
no_processes() { [ "$(processes)" -eq 0 ]; }
no_programs() { [ "$(programs)" -eq 0 ]; }

# An emulated machine may be slower than any that the unit has in mind.
mkdir -p /run/systemd/system/chadthrottle.service.d
printf '[Service]\nTimeoutStartSec=10min\nWatchdogSec=0\n' > /run/systemd/system/chadthrottle.service.d/slow.conf

cp "$(readlink -f "$(command -v python3)")" /usr/local/bin/ct-rule
cp "$(readlink -f "$(command -v python3)")" /usr/local/bin/ct-limit
files > before.txt
sed 's/:.*//' /etc/group | sort > groups.txt

echo "== .deb: install"
check "it installs" dpkg -i old.deb
check "it is not enabled" isnt systemctl is-enabled --quiet chadthrottle.socket
check "nothing runs" isnt systemctl is-active --quiet chadthrottle.service
check "the group is there" getent group chadthrottle
check "every command has a page" test -e /usr/share/man/man1/chadthrottle-rule-add.1.gz
check "doctor is content" chadthrottle doctor
check "the socket starts" systemctl enable --now chadthrottle.socket
# An emulated machine takes longer to start an engine than a command waits for one.
check "the service starts" systemctl start chadthrottle.service

echo "== a rule, and a detached limit"
check "a rule is added" chadthrottle rule add slow name:ct-rule --down 300KB --up 300KB --scope all
check "a limit is set" chadthrottle limit name:ct-limit --down 200KB --up 200KB --scope all --detach
check "the service runs" systemctl is-active --quiet chadthrottle.service
ct-rule traffic.py 5 > rule.log
check "the rule holds" between "$(mean rule.log)" 150000 330000

echo "== .deb: upgrade under traffic"
ct-limit traffic.py 600 > limit.log &
transfer=$!
sleep 4
engine=$(systemctl show --value --property=MainPID chadthrottle.service)
check "it upgrades" dpkg -i new.deb
sleep 4
check "another engine serves" test "$engine" != "$(systemctl show --value --property=MainPID chadthrottle.service)"
kill "$transfer"
wait "$transfer"
check "the limit holds without a gap" between "$(fastest limit.log)" 80000 330000
check "the limit is still there" sh -c 'chadthrottle limits | grep name:ct-limit'
check "the rule is still there" sh -c 'chadthrottle rule list | grep slow'
ct-rule traffic.py 5 > rule.log
check "the rule still holds" between "$(mean rule.log)" 150000 330000

echo "== .deb: purge"
check "it goes" dpkg --purge chadthrottle
check "no service" isnt systemctl is-active --quiet chadthrottle.service
sleep 1
check "no kernel program" no_programs
check "no process" no_processes
files > after.txt
check "no file" diff before.txt after.txt
sed 's/:.*//' /etc/group | sort > groups-after.txt
check "no group" diff groups.txt groups-after.txt
check "nothing in /run" isnt test -e /run/chadthrottle

echo "== the archive"
# Where the shell remembers the program to be, it is no more.
hash -r
mkdir archive && tar -xzf archive.tar.gz -C archive --strip-components=1 || fail "unpacking"
check "it installs" archive/install.sh
check "the socket starts" systemctl enable --now chadthrottle.socket
# An emulated machine takes longer to start an engine than a command waits for one.
check "the service starts" systemctl start chadthrottle.service
check "a rule is added" chadthrottle rule add slow name:ct-rule --down 300KB --up 300KB --scope all
ct-rule traffic.py 5 > rule.log
check "the rule holds" between "$(mean rule.log)" 150000 330000
# Whose name the static program has to look up.
setpriv --reuid=daemon --clear-groups sleep 600 &
check "it knows a user" chadthrottle rule test user:daemon
kill $!
chadthrottle rule test user:nobody-has-this-name > lookup.log 2>&1
check "and who is none" grep "there is no user 'nobody-has-this-name'" lookup.log
check "it goes" archive/install.sh --uninstall --purge
sleep 1
check "no kernel program" no_programs
# Directories of the kind that every program puts something into stay.
files > after.txt
diff before.txt after.txt | grep '^[<>]' | while read -r _ path; do [ -d "$path" ] || echo "$path"; done > left.txt
check "no file" diff /dev/null left.txt
sed 's/:.*//' /etc/group | sort > groups-after.txt
check "no group" diff groups.txt groups-after.txt

echo "== by hand, with the commands of docs/service.md"
hash -r
cd by-hand || fail "no by-hand"
awk '/^## / { by_hand = $0 == "## By hand" } /^```/ { fenced = !fenced; next } by_hand && fenced' docs/service.md > commands
check "there are some" grep "^install" commands
check "they install" sh -e commands
check "the service starts" systemctl start chadthrottle.service
check "limits can be asked for" chadthrottle limits
check "it reads its configuration anew" systemctl kill --kill-whom=main --signal=HUP chadthrottle
check "it stops" systemctl disable --now chadthrottle.socket chadthrottle.service
sleep 1
check "no kernel program" no_programs
echo "ALL PASSED"
