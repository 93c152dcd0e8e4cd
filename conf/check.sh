#!/bin/sh
# Types, lint, format and words as one command; each runs even if an earlier one fails.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
failed=0
# The linter has to find out all types for its rules, so it reports the compiler's errors too: `tsc` would do that work once more. Folders are named one by
# one: given the root, the linter would walk the data folders too.
oxlint --type-aware --type-check --deny-warnings ./*.ts cli conf control drivers gateway lib processes test || failed=1
oxfmt --check . || failed=1
node conf/lint/words.ts || failed=1
exit "$failed"
