#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs ChadThrottle from this archive, or takes it away again:
#
#   ./install.sh [--prefix DIR]      to /usr/local, or to DIR
#   ./install.sh --uninstall         what it has installed, the service and the group; rules in /etc stay
#   ./install.sh --uninstall --purge the rules too
#
# The service is installed and not started: systemctl enable --now chadthrottle.socket
set -eu
prefix=/usr/local uninstall= purge=
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a directory}; shift ;;
        --uninstall) uninstall=1 ;;
        --purge) purge=1 ;;
        -h | --help) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit ;;
        *) echo "install.sh: what is '$1'? See --help" >&2; exit 2 ;;
    esac
    shift
done
if [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: has to run as root: sudo $0" >&2
    exit 3
fi
case $prefix in
    /*) ;;
    *) echo "install.sh: --prefix takes a path from /" >&2; exit 2 ;;
esac
# It goes into a unit, where spaces, quotes, %, $ and \ mean something.
case $prefix in
    *[!A-Za-z0-9/._+-]*)
        echo "install.sh: --prefix takes a path of letters, digits and / . _ + - only, not '$prefix'" >&2
        exit 2
        ;;
    ?*/) prefix=${prefix%/} ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
list=$prefix/share/doc/chadthrottle/installed
systemd() { [ -d /run/systemd/system ]; }

if [ -n "$uninstall" ]; then
    if [ ! -f "$list" ]; then
        echo "install.sh: nothing was installed below $prefix" >&2
        exit 1
    fi
    if systemd; then
        systemctl disable --now chadthrottle.socket chadthrottle.service 2> /dev/null || :
    fi
    while IFS= read -r file; do rm -f "$file"; done < "$list"
    rm -f "$list"
    # Directories that nobody else has put something into.
    for below in share/doc/chadthrottle/examples share/doc/chadthrottle; do
        rmdir "$prefix/$below" 2> /dev/null || :
    done
    rm -rf /run/chadthrottle
    if systemd; then systemctl daemon-reload || :; fi
    if getent group chadthrottle > /dev/null; then
        groupdel chadthrottle || echo "install.sh: the group chadthrottle stays" >&2
    fi
    if [ -n "$purge" ]; then rm -rf /etc/chadthrottle; fi
    echo "ChadThrottle is gone from $prefix"
    exit
fi

install -d "$prefix/share/doc/chadthrottle"
(cd "$here/files/usr" && find . -type f) | while IFS= read -r file; do
    file=${file#./}
    install -D -m "$(stat -c %a "$here/files/usr/$file")" "$here/files/usr/$file" "$prefix/$file"
    echo "$prefix/$file"
done > "$list"
sed -i "s|/usr/bin/chadthrottle|$prefix/bin/chadthrottle|" "$prefix/lib/systemd/system/chadthrottle.service"
if systemd; then
    systemd-sysusers "$prefix/lib/sysusers.d/chadthrottle.conf"
    systemd-tmpfiles --create "$prefix/lib/tmpfiles.d/chadthrottle.conf"
    case $prefix in
        / | /usr | /usr/local) ;;
        # Where systemd does not look. What disables the units takes the links away too.
        *) systemctl link "$prefix/lib/systemd/system/chadthrottle.service" \
            "$prefix/lib/systemd/system/chadthrottle.socket" ;;
    esac
    systemctl daemon-reload
    # An older one that runs: limits hold meanwhile.
    systemctl try-restart chadthrottle.service
    echo "Installed. To have it as a service: systemctl enable --now chadthrottle.socket"
else
    echo "Installed. There is no systemd here: 'sudo chadthrottle' starts what it needs"
fi
