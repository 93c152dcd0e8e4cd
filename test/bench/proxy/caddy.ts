import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PinnedCommand } from "./pinned.ts";
import { portOf, PREFIX, type BenchWorld } from "./world.ts";

/** Keys and ids as two `map`s, on one scheduler thread: it has one core. */
export const caddy =
  ({ log }: { log: boolean }) =>
  (world: BenchWorld, port: number): PinnedCommand => {
    const file = join(world.folder, `caddy-${port}.txt`);
    writeFileSync(
      file,
      `{
  admin off
  auto_https off
${log ? "  servers {\n    metrics\n  }" : ""}
}
http://:${port} {
  bind 127.0.0.1
${log ? "  log {\n    output file /dev/null {\n      roll_disabled\n    }\n    format json\n  }" : ""}
  @container path_regexp container ^${PREFIX}([0-9a-f-]+)(/.*)$
  route @container {
    map {http.request.header.Authorization} {caller} {
${world.keys.map((key) => `      ${key} ${key}`).join("\n")}
      default ""
    }
    map {re.container.1} {target} {
${world.ids.map((id, index) => `      ${id} 127.0.0.1:${portOf(world, index)}`).join("\n")}
      default ""
    }
    @anonymous vars {caller} ""
    respond @anonymous 401
    @unknown vars {target} ""
    respond @unknown 404
    rewrite * {re.container.2}
    reverse_proxy {target} {
      header_up x-user-api-key {caller}
      flush_interval -1
      transport http {
        keepalive_idle_conns_per_host 256
      }
    }
  }
}
`,
    );
    return { argv: ["caddy", "run", "--adapter", "caddyfile", "--config", file], env: { GOMAXPROCS: "1" } };
  };
