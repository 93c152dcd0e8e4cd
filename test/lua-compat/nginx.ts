import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";

import { tempFolder } from "../fixtures/temp-folder.ts";
import { freePort } from "../fixtures/server.ts";
import { eventually } from "../fixtures/eventually.ts";

export const LUA_COMPAT = join(import.meta.dirname, "../../lua-compat");
const MODULES = "/usr/share/nginx/modules";

export type Nginx = { base: string; port: number; errors(): string; stop(): Promise<void> };

/** Debian's nginx with Lua on files of lua-compat, one worker; `edit` puts in what an operator would change in them. */
export async function openNginx(
  t: Test,
  options: { main?: string; http: string; server: string; edit?(text: string): string; env?: Record<string, string> },
): Promise<Nginx> {
  const folder = tempFolder(t);
  const port = await freePort();
  const edit = options.edit ?? ((text) => text);
  writeFileSync(join(folder, "http.conf"), edit(readFileSync(join(LUA_COMPAT, options.http), "utf8")));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join("\n");
  const errorLog = join(folder, "error.log");
  writeFileSync(
    join(folder, "nginx.conf"),
    `load_module ${MODULES}/ndk_http_module.so;
load_module ${MODULES}/ngx_http_lua_module.so;
${options.main === undefined ? "" : `include ${join(LUA_COMPAT, options.main)};`}
daemon off; master_process off; pid ${folder}/pid; error_log ${errorLog} warn;
events {}
http {
  access_log off;
  ${temporary}
  include ${folder}/http.conf;
  server { listen 127.0.0.1:${port}; include ${join(LUA_COMPAT, options.server)}; }
}`,
  );
  // Should this test be killed, the kernel ends nginx.
  const nginx = spawn("setpriv", ["--pdeathsig=TERM", "nginx", "-p", folder, "-c", join(folder, "nginx.conf"), "-e", errorLog], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, ...options.env },
  });
  const errors = () => (existsSync(errorLog) ? readFileSync(errorLog, "utf8") : "");
  const stop = async () => {
    if (nginx.exitCode !== null || nginx.signalCode !== null) return;
    nginx.kill("SIGTERM");
    await once(nginx, "exit");
  };
  t.teardown(stop);
  const base = `http://127.0.0.1:${port}`;
  await eventually("nginx", () =>
    nginx.exitCode === null ? fetch(`${base}/nowhere`).catch(() => undefined) : Promise.reject(new Error(`nginx does not start:\n${errors()}`)),
  );
  return { base, port, errors, stop };
}

/** The Lua registry proxy in front of a registry. */
export function openLuaProxy(t: Test, env: Record<string, string>): Promise<Nginx> {
  const edit = (text: string) => text.replace("/etc/nginx/lua-compat", LUA_COMPAT);
  return openNginx(t, { main: "registry-main.conf", http: "registry-http.conf", server: "registry.conf", edit, env });
}
