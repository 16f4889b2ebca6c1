#!/bin/sh
# Services that run continue with the new program.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl --no-block try-restart 'wstun-*.service'
