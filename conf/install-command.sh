#!/bin/sh
# Puts `berth` on the PATH: `sh conf/install-command.sh [PROGRAM]` links ./berth (or dist/berth, or the program that is named) into /usr/local/bin, or
# without root into ~/.local/bin, with its manual page and the completions of bash, zsh and fish. `npm link` links the command alone.
# To remove all of it: sh conf/install-command.sh --remove
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ]; then
  bin=/usr/local/bin share=/usr/local/share
else
  bin=$HOME/.local/bin share=${XDG_DATA_HOME:-$HOME/.local/share}
fi
bin=${INSTALL_BIN:-$bin} share=${INSTALL_SHARE:-$share}
man=$share/man/man1/berth.1
bash=$share/bash-completion/completions/berth
zsh=$share/zsh/site-functions/_berth
fish=$share/fish/vendor_completions.d/berth.fish

if [ "${1:-}" = --remove ]; then
  rm -f "$bin/berth" "$man" "$bash" "$zsh" "$fish"
  echo "Removed $bin/berth, its manual page and completions."
  exit 0
fi

program=$(readlink -f "${1:-./berth}")
if ! "$program" version >/dev/null; then
  echo "$program does not run: npm ci installs what it needs." >&2
  exit 1
fi
if [ -e "$bin/berth" ] && [ ! -L "$bin/berth" ]; then
  echo "$bin/berth exists and is no link: nothing was installed. Remove it first." >&2
  exit 1
fi
mkdir -p "$bin" "$(dirname "$man")" "$(dirname "$bash")" "$(dirname "$zsh")" "$(dirname "$fish")"
ln -sf "$program" "$bin/berth"
"$program" man >"$man"
"$program" completion bash >"$bash"
"$program" completion zsh >"$zsh"
"$program" completion fish >"$fish"
echo "Linked $bin/berth to $program, with its manual page and completions."
case ":$PATH:" in
  *":$bin:"*) ;;
  *) echo "$bin is not on your PATH: add it, for example in ~/.profile: export PATH=\"$bin:\$PATH\"" ;;
esac
