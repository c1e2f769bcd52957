#!/bin/sh
# SPDX-License-Identifier: MIT
# Lays out all that a package has, below a directory: packaging/stage.sh PROGRAM DIRECTORY
#
# Every package is made of this one tree: .deb, .rpm, the archive with install.sh, PKGBUILD and the flake.
set -eu
umask 022
program=$1 tree=$2
cd "$(dirname "$0")/.."

put() { # MODE FILE... DIRECTORY
    mode=$1
    shift
    for to; do :; done
    mkdir -p "$tree$to"
    while [ $# -gt 1 ]; do
        install -m "$mode" "$1" "$tree$to/"
        shift
    done
}

put 755 "$program" /usr/bin
put 644 packaging/systemd/chadthrottle.service packaging/systemd/chadthrottle.socket /usr/lib/systemd/system
put 644 packaging/sysusers.d/chadthrottle.conf /usr/lib/sysusers.d
put 644 packaging/tmpfiles.d/chadthrottle.conf /usr/lib/tmpfiles.d
put 644 README.md CHANGELOG.md LICENSE chadthrottle-ebpf/LICENSE-GPL-2.0 /usr/share/doc/chadthrottle
put 644 packaging/examples/rules.toml packaging/examples/config.toml /usr/share/doc/chadthrottle/examples

mkdir -p "$tree/usr/share/man/man1"
"$program" man --directory "$tree/usr/share/man/man1"
completions() { # SHELL FILE
    mkdir -p "$(dirname "$tree$2")"
    "$program" completions "$1" > "$tree$2"
}
completions bash /usr/share/bash-completion/completions/chadthrottle
completions zsh /usr/share/zsh/site-functions/_chadthrottle
completions fish /usr/share/fish/vendor_completions.d/chadthrottle.fish
