#!/bin/sh
# Types, lint, format and words as one command; each runs even if an earlier one fails.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
failed=0
tsc --noEmit || failed=1
tsc --noEmit -p control/console/web || failed=1
# Named one by one: given the root, the linter would walk the data folders too.
oxlint --type-aware --deny-warnings ./*.ts cli conf control drivers gateway lib processes test || failed=1
oxfmt --check . || failed=1
node conf/lint/words.ts || failed=1
exit "$failed"
