#!/usr/bin/env bash
# Installs ecc_jax, trains the flagship on synthetic CT from scratch, writes a report.
# No data, no GPU: about five minutes on two CPU cores. Arguments are passed on to ecc_jax.main.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
ecc_environment ""
exec "$PY" -m ecc_jax.main --config=configs/ecc.py:quick "$@"
