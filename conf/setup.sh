#!/bin/sh
# Brings a fresh machine to where berth runs: `sh conf/setup.sh`, and with `test` also to where its tests run.
# Does nothing, and needs no network, where everything is in place.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

# Debian's packages and npm's come from the network, which takes longer than to unpack them: both at once.
debian=""
if [ "${1:-}" = test ] && [ "$(id -u)" = 0 ]; then
  sh conf/debian-packages.sh &
  debian=$!
  # Whatever fails meanwhile: packages are not left half installed.
  trap 'wait "$debian" || true' EXIT
fi

# What was installed is what the lock file says: compared by content, since a checkout gives every file a new time. To run, half of the packages do.
is_installed() { cmp -s package-lock.json "node_modules/.$1-lock.json"; }
if ! is_installed installed; then
  if [ "${1:-}" = test ]; then
    node conf/install-packages.mjs
  elif ! is_installed runtime; then
    say "the first start installs what berth needs to run, about 400 MB, Node 26 among it; it takes about a minute"
    node conf/install-packages.mjs --omit=dev
  fi
fi

if ! node_modules/.bin/node --version >/dev/null 2>&1; then
  # The package `node` brings its program by an install script, which some npm settings keep from running.
  say "fetching Node 26"
  npm rebuild node --ignore-scripts=false --loglevel=error >&2 || true
  if ! node_modules/.bin/node --version >/dev/null 2>&1; then
    say "Node 26 does not run: $(node_modules/.bin/node --version 2>&1 || true)"
    say "If it is missing, the install script of the npm package 'node' did not run (is ignore-scripts set?). It needs libatomic1."
    exit 1
  fi
fi

# The console's page is made of its sources; without it berth runs, and says at / what is missing.
page=control/console/dist/index.html
if [ ! -e "$page" ] || [ -n "$(find control/console/web control/console/vite.config.ts -newer "$page")" ]; then
  say "building the console"
  node_modules/.bin/vite build --config control/console/vite.config.ts --logLevel error >&2
fi

[ "${1:-}" = test ] || exit 0

# For test/conf/helm.test.ts.
node_modules/.bin/node test/run/helm.ts

trap - EXIT
if [ -n "$debian" ]; then
  wait "$debian"
else
  exec sh conf/debian-packages.sh
fi
