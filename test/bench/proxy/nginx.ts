import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PinnedCommand } from "./pinned.ts";
import { certificateOf, portOf, PREFIX, type BenchWorld } from "./world.ts";

/** Where Debian puts nginx's modules. */
const MODULES = "/usr/lib/nginx/modules";
const LUA_MODULES = ["ndk_http_module.so", "ngx_http_lua_module.so"];

/** Why Lua cannot run here. */
export function luaMissing(): string | undefined {
  return LUA_MODULES.every((name) => existsSync(join(MODULES, name))) ? undefined : "Debian's libnginx-mod-http-lua is not installed";
}

const KEPT = "keepalive_requests 1000000000; keepalive_timeout 600s;";

/** The container for small bodies: nginx too, since nothing answers them cheaper. */
export function fixedUpstream(world: BenchWorld): PinnedCommand {
  return nginx(
    world,
    "upstream",
    "",
    `server {
      listen 127.0.0.1:${world.fixedPort} backlog=4096 reuseport;
      location / { default_type text/plain; return 200 "${FIXED_BODY}"; }
      location = /answers { stub_status; }
      location /10k { default_type text/plain; set $kib "${"x".repeat(1_024)}"; return 200 "${"$kib".repeat(10)}"; }
    }`,
  );
}

export const FIXED_BODY = "an answer of thirty-six bytes, no CR";

const FORWARD = `
  proxy_http_version 1.1;
  proxy_set_header Connection $upgrading;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header x-user-api-key $caller;
  proxy_request_buffering off;
  proxy_buffering off;
  proxy_read_timeout 1h;
  proxy_send_timeout 1h;
  client_max_body_size 0;`;

/** What makes long bodies cheap: fewer, larger reads. A buffer is taken anew for each request, so small ones go without. */
const BODIES = "proxy_buffer_size 64k; proxy_buffers 8 64k; client_body_buffer_size 64k;";
const STREAMS = "proxy_buffer_size 512k; proxy_buffers 4 512k; proxy_busy_buffers_size 512k; client_body_buffer_size 512k;";

const UPGRADING = `map $http_upgrade $upgrading { default upgrade; '' ''; }`;

/** One that writes an access log, with more than one worker, behind TLS with HTTP/2, or with `pools`: a pool of connections for each container. */
export type NginxOptions = { log?: boolean; workers?: number; http2?: boolean; pools?: boolean };

function servers(world: BenchWorld, port: number, { http2 }: NginxOptions, location: string): string {
  const { cert, key } = certificateOf(world);
  const tls = http2 ? `http2 on; ssl_certificate ${cert}; ssl_certificate_key ${key};` : "";
  const listen = (at: number) => `listen 127.0.0.1:${at} backlog=4096${http2 ? " ssl" : ""}; ${tls}`;
  return `server { ${listen(port)} ${FORWARD} ${BODIES} ${location} }
  server { ${listen(port + 1)} ${FORWARD} ${STREAMS} ${location} }`;
}

function upstreams(world: BenchWorld, { pools }: NginxOptions): string {
  const one = (name: string, port: number) => `upstream ${name} { server 127.0.0.1:${port}; keepalive 256; keepalive_requests 1000000000; }`;
  if (pools) return world.ids.map((_, index) => one(`container${index}`, portOf(world, index))).join("\n");
  return one("fixed", world.fixedPort) + one("raw", world.rawPort);
}

function upstreamOf(world: BenchWorld, index: number, { pools }: NginxOptions): string {
  if (pools) return `container${index}`;
  return portOf(world, index) === world.fixedPort ? "fixed" : "raw";
}

/** Keys and ids as two maps, the prefix taken off by a pattern on the target as it came. */
export const nginxMaps =
  (options: NginxOptions = {}) =>
  (world: BenchWorld, port: number): PinnedCommand => {
    const keys = world.keys.map((key) => `"${key}" "${key}";`).join("\n");
    const routes = world.ids.map((id, index) => `"${id}" ${upstreamOf(world, index, options)};`).join("\n");
    const most = 16 * Math.max(world.keys.length, world.ids.length);
    return nginx(
      world,
      `maps-${port}`,
      "",
      `map_hash_max_size ${most}; map_hash_bucket_size 256; ${UPGRADING} ${upstreams(world, options)}
    map $http_authorization $caller { default ""; ${keys} }
    map $id $target { default ""; ${routes} }
    ${servers(
      world,
      port,
      options,
      `location ${PREFIX} {
        if ($caller = "") { return 401; }
        # Named, since nginx encodes numbered ones anew.
        if ($request_uri ~ "^${PREFIX}(?<id>[0-9a-f-]+)(?<rest>/.*)$") { }
        if ($target = "") { return 404; }
        proxy_pass http://$target$rest;
      }`,
    )}`,
      options,
    );
  };

/** The same decided in Lua, as a gateway of one's own on nginx would do it. */
export const nginxLua =
  (options: NginxOptions = {}) =>
  (world: BenchWorld, port: number): PinnedCommand => {
    const file = join(world.folder, `tables-${port}.lua`);
    // Read from files: a chunk of Lua holds 65,536 constants.
    writeFileSync(
      file,
      `callers, routes = {}, {}
for key in io.lines("${world.folder}/keys.txt") do callers[key] = key end
local index = 0
for id in io.lines("${world.folder}/ids.txt") do
  routes[id] = ${options.pools ? '"container" .. index' : `index < ${world.fixed} and "fixed" or "raw"`}
  index = index + 1
end`,
    );
    return nginx(
      world,
      `lua-${port}`,
      LUA_MODULES.map((name) => `load_module ${MODULES}/${name};`).join("\n"),
      `init_by_lua_file ${file}; ${UPGRADING} ${upstreams(world, options)}
    ${servers(
      world,
      port,
      options,
      `location ${PREFIX} {
        set $caller ""; set $target ""; set $rest "";
        rewrite_by_lua_block {
          local var = ngx.var
          local caller = callers[var.http_authorization]
          if not caller then return ngx.exit(401) end
          local uri = var.request_uri
          local target = routes[uri:sub(${PREFIX.length + 1}, ${PREFIX.length + 36})]
          if not target then return ngx.exit(404) end
          local rest = uri:sub(${PREFIX.length + 37})
          var.caller = caller
          var.target = target
          var.rest = rest == "" and "/" or rest
        }
        proxy_pass http://$target$rest;
      }`,
    )}`,
      options,
    );
  };

/** Lines of much the same as berth's, written as nginx's own documents advise: many at once. */
const ACCESS_LOG = `log_format like_berth escape=json '{"time":"$time_iso8601","requestId":"$request_id","peer":"$remote_addr","method":"$request_method",'
  '"path":"$uri","status":$status,"bytesIn":$request_length,"bytesOut":$bytes_sent,"connect":"$upstream_connect_time","firstByte":"$upstream_header_time","total":$request_time}';
  access_log /dev/null like_berth buffer=64k flush=1s;`;

function nginx(world: BenchWorld, name: string, modules: string, http: string, { log, workers = 1 }: NginxOptions = {}): PinnedCommand {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${world.folder}/${name}-${kind};`)
    .join("\n");
  const file = join(world.folder, `${name}.conf`);
  writeFileSync(
    file,
    `${modules}
    ${process.getuid?.() === 0 ? "user root;" : ""}
    daemon off; worker_processes ${workers}; worker_rlimit_nofile 20000; pid ${world.folder}/${name}.pid; pcre_jit on;
    error_log ${world.folder}/${name}-error.log crit;
    events { worker_connections 20000; multi_accept on; }
    http { ${log ? ACCESS_LOG : "access_log off;"} ${temporary} tcp_nodelay on; ${KEPT}
    ${http}
    }`,
  );
  return { argv: ["nginx", "-p", world.folder, "-c", file, "-e", `${world.folder}/${name}-error.log`] };
}
