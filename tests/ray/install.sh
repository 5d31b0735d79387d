#!/usr/bin/env bash
# The program that test_network.py makes its networks with, from Debian's packages where it is missing.
set -euo pipefail

if ! command -v ip >/dev/null; then
    apt-get -q update
    apt-get -q install -y iproute2
fi
