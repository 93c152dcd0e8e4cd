#!/bin/sh
# Installs the Debian packages that tests need and this machine does not have; names them where it cannot. A part of conf/setup.sh.
set -eu

say() { echo "setup: $*" >&2; }

# Debian keeps some programs out of an ordinary user's PATH.
PATH="$PATH:/usr/sbin:/sbin"
packages=""
faults=""

# need PROGRAM-OR-FILE PACKAGE WHAT-CANNOT-RUN
need() {
  case $1 in
    /*) [ -e "$1" ] && return 0 ;;
    *) command -v "$1" >/dev/null 2>&1 && return 0 ;;
  esac
  packages="$packages $2"
  faults="$faults
  $2 ($1): $3 cannot run"
}

need nginx nginx "test/lua-compat"
# What nginx and its Lua load is no program.
need /usr/share/nginx/modules/ngx_http_lua_module.so libnginx-mod-http-lua "test/lua-compat"
need /usr/share/lua/5.1/openssl/pkey.lua lua-luaossl "test/lua-compat"
need "$(echo /usr/lib/*/lua/5.1/cjson.so)" lua-cjson "test/lua-compat"
need haproxy haproxy "test/conf/callout"
need caddy caddy "test/conf/callout"
need chromium-headless-shell chromium-headless-shell "test/control/console, test/program/rights/browser.test.ts"
need ps procps "test/processes/serve.test.ts"
# Even where DOCKER_HOST names an engine: one test stops and starts its own.
need dockerd docker.io "every test on the real engine (test/program/main-job.test.ts, test/recovery, test/drivers/docker)"
# Debian 13 has the command apart from the engine, which only recommends it.
need docker docker-cli "test/gateway/registry/docker.test.ts, test/gateway/registry/embedded-whole.test.ts"
need /usr/libexec/docker/cli-plugins/docker-compose docker-compose "test/conf/stands.test.ts"
need /usr/bin/moto_server python3-moto "test/gateway/registry/upstream"
# Its package only suggests what its server cannot do without.
need /usr/lib/python3/dist-packages/flask_cors python3-flask-cors "test/gateway/registry/upstream"
# Debian only recommends it; moto needs it to make stacks.
need /usr/lib/python3/dist-packages/openapi_spec_validator python3-openapi-spec-validator "test/conf/cloudformation.test.ts"
need docker-registry docker-registry "test/registry, test/lua-compat"
need /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server "test/fixtures/rabbitmq.test.ts, test/control/packages/credentials"
need /usr/lib/python3/dist-packages/celery python3-celery "test/program/queue-worker.test.ts"
need psql postgresql-client "test/program/postgres.test.ts"
need "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n 1)" postgresql "test/program/postgres.test.ts"
need "$(ls -d /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | tail -n 1)" libfaketime "test/failover/sample.test.ts"
need iptables iptables "test/failover/sample.test.ts"
need promtool prometheus "test/conf/alerts.test.ts"
need pgbouncer pgbouncer "test/control/store/postgres/pgbouncer.test.ts"
need skopeo skopeo "test/gateway/registry/skopeo.test.ts, test/conf/release/release.test.ts"
need podman podman "test/gateway/registry/podman.test.ts, test/gateway/registry/cache/real-clients.test.ts"
need cosign cosign "test/conf/release/release.test.ts"
need oras oras "test/conf/release/release.test.ts"
need lintian lintian "test/conf/release/release.test.ts"
need ip iproute2 "the tests' own Docker engine"
need systemd-analyze systemd "test/cli/install/install.test.ts"
need systemd-notify systemd "test/processes/notify-systemd.test.ts"
need systemd-nspawn systemd-container "test/conf/two-machines-systemd.test.ts"
need unshare util-linux "test/conf/binary/binary.test.ts"
need openssl openssl "test/gateway/tls-keys.test.ts, test/gateway/edge.test.ts"
need nsenter util-linux "test/program/recovery/engine-restarts.test.ts"
need setpriv util-linux "test/program/recovery/engine-restarts.test.ts"
# A module of the system's own Python, which another one on the PATH would not have.
if ! /usr/bin/python3 -c 'import h11' 2>/dev/null; then
  packages="$packages python3-h11"
  faults="$faults
  python3-h11 (a module of /usr/bin/python3): test/fuzz cannot run"
fi

if [ "$(id -u)" != 0 ]; then
  say "not root, so these cannot run:"
  if [ -n "$packages" ]; then
    say "what needs Debian packages that are missing:$faults"
    say "as root: apt-get install --no-install-recommends$packages"
  fi
  if [ -z "${DOCKER_HOST:-}" ]; then
    say "every test on the real engine (test/program/main-job.test.ts, test/recovery, test/drivers/docker): only root may start one, and"
    say "DOCKER_HOST names none"
  fi
  say "the full disk and the read-only disk of test/control/store.test.ts: only root may mount one"
  say "Run it as root, or single files with: PATH=\"node_modules/.bin:\$PATH\" tap FILE"
  exit 1
fi

[ -n "$packages" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  say "this machine has no apt-get; install by hand:$faults"
  exit 1
fi

# The programs are wanted, not the services that their packages would start.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
log=$(mktemp)
say "installing Debian packages:$packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of package names
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  rm -f "$log"
  say "could not install:$faults"
  exit 1
fi
rm -f "$log"
