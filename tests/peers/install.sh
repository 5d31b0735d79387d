#!/usr/bin/env bash
# The programs that test_peers.py compares with, from Debian's packages where they are missing.
set -euo pipefail

missing=()
command -v hyperfine >/dev/null || missing+=(hyperfine)
[[ -x /usr/bin/time ]] || missing+=(time)
if ((${#missing[@]})); then
    apt-get -q update
    apt-get -q install -y "${missing[@]}"
fi
