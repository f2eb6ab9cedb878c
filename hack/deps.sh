#!/usr/bin/env bash
# Installs the Debian packages that tests, demo and benchmarks use. Does nothing when all are there.
set -euo pipefail

packages=(bird2 conntrack ethtool frr iproute2 ipset iptables iputils-ping nftables openbgpd procps tcpdump)

missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

[ "$(id -u)" -eq 0 ] || { echo "hack/deps.sh: needs root to install: ${missing[*]}" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Daemons are started by the tests, in namespaces of their own; the packages must not start them on the host.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get install -q -y --no-install-recommends "${missing[@]}"
