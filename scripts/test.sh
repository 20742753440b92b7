#!/usr/bin/env bash
# Runs the checks and the test suite, in a virtual environment that it makes if there is none.
#   bash scripts/test.sh           the default suite, a few minutes on two cores
#   bash scripts/test.sh --all     the slow tests too
# Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
ecc_environment "[test]"
selection=(-m "not slow")
if [ "${1:-}" = "--all" ]; then
  selection=()
  shift
fi
"$PY" -m ruff check .
"$PY" -m ruff format --check .
"$PY" -m mypy
# Compilation dominates and uses one core, so one process per core halves the time.
workers=(-n "${ECC_JAX_TEST_WORKERS:-auto}" --dist loadscope)
exec "$PY" -m pytest "${workers[@]}" ${selection[@]+"${selection[@]}"} "$@"
