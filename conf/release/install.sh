#!/bin/sh
# Installs berth from the folder of a release: `sh install.sh [FOLDER]`, by default the folder of this script. First it compares the checksum.
# As root on Debian or Ubuntu it installs the package, with its service; as root elsewhere the executable, with its service; for other users the
# executable in ~/.local/bin, with its manual page and completions. COSIGN_PUBLIC_KEY=<file> also verifies the signature of the checksums.
set -eu
cd "${1:-$(dirname "$0")}"
fail() {
  echo "install: $*" >&2
  exit 1
}
[ -e SHA256SUMS ] || fail "$PWD has no SHA256SUMS: name the folder of a release."
if [ -n "${COSIGN_PUBLIC_KEY:-}" ]; then
  cosign verify-blob --key "$COSIGN_PUBLIC_KEY" --signature SHA256SUMS.sig --insecure-ignore-tlog=true SHA256SUMS ||
    fail "cosign did not verify SHA256SUMS.sig with $COSIGN_PUBLIC_KEY: do not use this release."
fi
case $(uname -m) in
  x86_64) program="berth-*-linux-x64" package="berth_*_amd64.deb" ;;
  aarch64) program="berth-*-linux-arm64" package="berth_*_arm64.deb" ;;
  *) fail "berth has no executable for $(uname -m), only for x86_64 and aarch64." ;;
esac

# verified PATTERN: the one file of that name, if its checksum is right
verified() {
  # shellcheck disable=SC2086 # a pattern
  set -- $1
  [ $# = 1 ] && [ -e "$1" ] || fail "$PWD has no $1, or several."
  grep "  $1\$" SHA256SUMS | sha256sum --check --status 2>/dev/null || fail "$PWD/$1 differs from SHA256SUMS: download it again."
  echo "$1"
}

# shellcheck disable=SC2086 # a pattern
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && ls $package >/dev/null 2>&1; then
  file=$(verified "$package")
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "./$file"
  echo "Installed $file. Settings: /etc/berth/berth.env. State: systemctl status berth"
  exit 0
fi
file=$(verified "$program")
if [ "$(id -u)" = 0 ]; then
  chmod +x "$file"
  exec "./$file" install
fi
bin=${INSTALL_BIN:-$HOME/.local/bin} share=${INSTALL_SHARE:-${XDG_DATA_HOME:-$HOME/.local/share}}
bash=$share/bash-completion/completions zsh=$share/zsh/site-functions fish=$share/fish/vendor_completions.d
mkdir -p "$bin" "$share/man/man1" "$bash" "$zsh" "$fish"
# In one step: a berth that runs keeps its file.
cp "$file" "$bin/.berth-new"
chmod 755 "$bin/.berth-new"
mv -f "$bin/.berth-new" "$bin/berth"
"$bin/berth" man >"$share/man/man1/berth.1"
"$bin/berth" completion bash >"$bash/berth"
"$bin/berth" completion zsh >"$zsh/_berth"
"$bin/berth" completion fish >"$fish/berth.fish"
echo "Installed $bin/berth, with its manual page and completions."
case ":$PATH:" in
  *":$bin:"*) ;;
  *) echo "$bin is not on your PATH: add it, for example in ~/.profile: export PATH=\"$bin:\$PATH\"" ;;
esac
