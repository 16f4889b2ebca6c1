#!/bin/sh
# Stops the services and disables them, unless this is an upgrade: then the argument is upgrade
# from dpkg, and 1 from rpm.
set -e
case ${1-} in upgrade | failed-upgrade | 1) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl stop 'wstun-*.service'
for link in /etc/systemd/system/*.wants/wstun-*.service; do
	[ ! -L "$link" ] || systemctl --quiet disable "${link##*/}"
done
