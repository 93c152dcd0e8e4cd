#!/bin/sh
# What berth is made of, and whether anything is known against it: `sh conf/audit.sh [FILE]` writes the bill of materials of what runs (CycloneDX,
# without the tools of development; dist/berth.cdx.json by default) and requests advisories from the package registry. Exits with 1 for a high or
# critical one, and with 2 if the registry did not answer, which is no clean bill.
set -eu
cd "$(dirname "$0")/.."
file=${1:-dist/berth.cdx.json}
mkdir -p "$(dirname "$file")"
PATH="$PWD/node_modules/.bin:$PATH"
npm sbom --sbom-format cyclonedx --sbom-type application --package-lock-only >"$file.all"
node conf/omit-tools.ts <"$file.all" >"$file"
rm "$file.all"
echo "audit: wrote $file" >&2

report=$(npm audit --omit dev --omit optional --audit-level high --package-lock-only --json 2>/dev/null) && exit 0
case $report in
  *'"auditReportVersion"'*)
    echo "$report"
    echo "audit: there are advisories against what runs; 'npm audit --omit dev --omit optional' shows them" >&2
    exit 1
    ;;
esac
echo "audit: the package registry did not answer about advisories" >&2
exit 2
