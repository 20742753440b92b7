# Sourced by quickstart.sh and test.sh: makes the virtual environment and installs the package.
# Defines PY, the interpreter of that environment. Set ECC_JAX_VENV to use another folder, or
# ECC_JAX_PYTHON to start from another interpreter.

ecc_is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

ecc_find_python() {
  local candidate
  for candidate in "${ECC_JAX_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    [ -n "$candidate" ] || continue
    if ecc_is_new_enough "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  local found
  found=$(python3 --version 2>&1 || echo "no python3 at all")
  echo "error: ecc_jax needs Python 3.11 or newer, found ${found}; install it, or set" \
    "ECC_JAX_PYTHON=/path/to/python3.11" >&2
  return 1
}

# ecc_environment EXTRAS: EXTRAS is "" or for example "[test]".
ecc_environment() {
  local extras="$1" venv python stamp wanted
  venv="${ECC_JAX_VENV:-$PWD/.venv}"
  PY="$venv/bin/python"
  if [ -x "$PY" ] && ! ecc_is_new_enough "$PY"; then
    echo "error: ecc_jax needs Python 3.11 or newer, $venv has" \
      "$("$PY" --version 2>&1 || echo "a broken one"); remove that folder and start again" >&2
    return 1
  fi
  # Where python3-venv is not installed, a first attempt leaves an environment without pip.
  if [ ! -x "$PY" ] || ! "$PY" -m pip --version >/dev/null 2>&1; then
    python=$(ecc_find_python) || return 1
    echo "making the virtual environment $venv" >&2
    "$python" -m venv "$venv" || {
      echo "error: '$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
      return 1
    }
  fi
  stamp="$venv/.ecc_jax$extras"
  wanted=$(cksum <setup.py)
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted $PWD" ]; then
    echo "installing ecc_jax$extras and what it needs (minutes the first time)" >&2
    "$PY" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
      -e ".$extras" || {
      echo "error: the installation failed; see pip's message above" >&2
      return 1
    }
    echo "$wanted $PWD" >"$stamp"
  fi
}
