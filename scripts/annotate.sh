#!/usr/bin/env bash
# Installs ecc_jax with the annotator and opens it in the browser: press on a lesion, drag, let go.
#   bash scripts/annotate.sh                  a built-in synthetic volume
#   bash scripts/annotate.sh scan.nii.gz      NIfTI, NRRD, PNG, or a folder with a DICOM series
# Arguments are passed on to `python -m ecc_jax.annotator`. The address that it prints is opened where
# there is a screen; ECC_JAX_BROWSER names another program for it, "none" opens nothing.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
ecc_environment "[annotator]"
# Files are named, and sessions kept, from where the person stands.
cd "$caller"

ecc_browser() {
  if [ -n "${ECC_JAX_BROWSER:-}" ]; then
    echo "$ECC_JAX_BROWSER"
  elif [ "$(uname -s)" = Darwin ]; then
    # Of somebody who is logged in from afar, the screen is elsewhere.
    [ -n "${SSH_CONNECTION:-}" ] || echo open
  elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    echo xdg-open
  fi
}

# Shows each line, and opens the one that is an address.
ecc_show() {
  local line browser
  browser=$(ecc_browser)
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case "$line" in
      http://*"#token="*)
        if [ "$browser" != none ] && command -v "${browser:-none}" >/dev/null; then
          "$browser" "$line" </dev/null >/dev/null 2>&1 &
        else
          echo "open this address in a browser on this machine" >&2
        fi
        ;;
    esac
  done
}

exec "$PY" -m ecc_jax.annotator "$@" > >(ecc_show)
