#!/usr/bin/env bash
# Installs the Debian packages that tests and benchmarks use, or, called with "demo" or "demo-cluster", only those that the
# demo uses, there with a control plane. Does nothing when all are there.
set -euo pipefail

packages=(curl iproute2 iputils-ping nftables procps)
case "${1:-all}" in
demo) ;;
demo-cluster) packages+=(etcd-server) ;;
all) packages+=(bird2 conntrack default-jre-headless etcd-server ethtool frr ipset iptables libzookeeper-java openbgpd tcpdump) ;;
*) echo "usage: hack/deps.sh [demo|demo-cluster]" >&2 && exit 2 ;;
esac

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
