import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PinnedCommand } from "./pinned.ts";
import { portOf, PREFIX, type BenchWorld } from "./world.ts";

/** Keys and ids as map files, looked up with each request; long bodies may be spliced in the kernel. */
export const haproxy =
  ({ log }: { log: boolean }) =>
  (world: BenchWorld, port: number): PinnedCommand => {
    const file = (name: string, lines: string[]) => {
      const path = join(world.folder, name);
      writeFileSync(path, lines.join("\n") + "\n");
      return path;
    };
    const keys = file(
      "keys.map",
      world.keys.map((key) => `${key} ${key}`),
    );
    const routes = file(
      "routes.map",
      world.ids.map((id, index) => `${id} ${portOf(world, index) === world.fixedPort ? "fixed" : "raw"}`),
    );
    const server = (name: string, to: number) => `backend ${name}
  http-reuse always
  server one 127.0.0.1:${to} pool-max-conn 256`;
    const configuration = file(`haproxy-${port}.cfg`, [
      `global
  nbthread 1
  maxconn 12000
  no strict-limits
${log ? "  log stdout format raw local0" : ""}
defaults
${log ? "  log global\n  option httplog" : ""}
  mode http
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 600s
frontend edge
  bind 127.0.0.1:${port} backlog 4096
  acl known req.hdr(authorization),map_str(${keys}) -m found
  http-request deny deny_status 401 unless known
  http-request set-header x-user-api-key %[req.hdr(authorization),map_str(${keys})]
  http-request set-var(txn.target) path,field(6,/),map_str(${routes})
  http-request deny deny_status 404 unless { var(txn.target) -m found }
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  option forwardfor
  http-request set-path %[path,bytes(${PREFIX.length + 36})]
  use_backend %[var(txn.target)]
${server("fixed", world.fixedPort)}
${server("raw", world.rawPort)}`,
    ]);
    // What it counts for its metrics, it always counts.
    return { argv: log ? ["sh", "-c", `exec haproxy -db -f ${configuration} >/dev/null`] : ["haproxy", "-db", "-f", configuration] };
  };
