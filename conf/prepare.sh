#!/bin/sh
# Runs after every `npm ci` and `npm install`: builds tap's test class for the plugins of .taprc (without it the first run of
# tap fails) and the console's page, and leaves the lock file that was installed, so that conf/setup.sh knows when it is outdated.
set -eu
cd "$(dirname "$0")/.."
if [ -x node_modules/.bin/vite ]; then node_modules/.bin/vite build --config control/console/vite.config.ts --logLevel error; fi
# Headers for add-ons that are compiled, of which berth has none: 67 MB.
rm -rf node_modules/node/node_modules/node-*/include
# `npm ci --omit=dev` installs no tap.
if [ -x node_modules/.bin/tap ]; then
  node_modules/.bin/tap build
  cp package-lock.json node_modules/.installed-lock.json
else
  cp package-lock.json node_modules/.runtime-lock.json
fi
