import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Test } from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort, listen, type ListenAddress } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { createNaiveServer } from "./naive-server.ts";

type Scope = Pick<Test, "teardown">;

/**
 * A server of some implementation, which answers each request with 200 and a header `X-Seen: METHOD TARGET LENGTH CRC`, of its body.
 * `seen` lists these values for every request that it has read to its end, in order.
 */
export type RecordingServer = { address: ListenAddress; seen(): string[] };

/** Servers that share no parser, and one that takes whatever can be taken for a request. */
export const RECORDING_SERVERS: Record<string, (t: Scope) => Promise<RecordingServer>> = {
  "Node's server": (t) => openNodeServer(t, false),
  "Node's lenient server": (t) => openNodeServer(t, true),
  "a server on h11": openH11Server,
  nginx: openNginx,
  "a naive server": openNaiveServer,
};

function summary(method: string, target: string, body: string): string {
  const bytes = Buffer.from(body, "latin1");
  return `${method} ${target} ${bytes.length} ${crc32(bytes)}`;
}

async function openNodeServer(t: Scope, insecureHTTPParser: boolean): Promise<RecordingServer> {
  const recorded: string[] = [];
  const server = createServer({ insecureHTTPParser, noDelay: true, keepAliveTimeout: 60_000 }, (request, response) => {
    let body = "";
    request.setEncoding("latin1").on("data", (text: string) => (body += text));
    request.on("error", () => undefined);
    request.once("end", () => {
      const line = summary(request.method ?? "", request.url ?? "", body);
      recorded.push(line);
      response.writeHead(200, { "X-Seen": line, "Content-Length": 2 });
      response.end("ok");
    });
  });
  return { address: await listen(t, server), seen: () => recorded };
}

async function openNaiveServer(t: Scope): Promise<RecordingServer> {
  const recorded: string[] = [];
  const server = createNaiveServer(([method, target, body, oddity], socket) => {
    // The judge reads nothing like an oddity, so each is a failure.
    const line = `${summary(method, target, body)}${oddity === undefined ? "" : ` ${JSON.stringify(oddity)}`}`;
    recorded.push(line);
    socket.write(`HTTP/1.1 200 OK\r\nX-Seen: ${line}\r\nContent-Length: 2\r\n\r\n${method === "HEAD" ? "" : "ok"}`);
  });
  return { address: await listen(t, server), seen: () => recorded };
}

async function openH11Server(t: Scope): Promise<RecordingServer> {
  const file = join(tempFolder(t), "seen");
  const child = spawn("/usr/bin/python3", [join(import.meta.dirname, "h11-server.py"), file], { stdio: ["ignore", "pipe", "inherit"] });
  endWith(t, child);
  const [first] = (await once(child.stdout, "data")) as [Buffer];
  return { address: { host: "127.0.0.1", port: Number(String(first)) }, seen: () => linesOf(file) };
}

/** Debian's, with its Lua module: nothing else of it says which body it has read. */
async function openNginx(t: Scope): Promise<RecordingServer> {
  const folder = tempFolder(t);
  const file = join(folder, "seen");
  const port = await freePort();
  writeFileSync(join(folder, "nginx.conf"), nginxConfiguration(folder, file, port));
  const child = spawn("nginx", ["-p", folder, "-e", join(folder, "error.log"), "-c", join(folder, "nginx.conf")], {
    stdio: "ignore",
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
  });
  endWith(t, child);
  await eventually("nginx listens", () =>
    child.exitCode === null ? accepts(port) : Promise.reject(new Error(`nginx ended:\n${linesOf(join(folder, "error.log")).join("\n")}`)),
  );
  return { address: { host: "127.0.0.1", port }, seen: () => linesOf(file) };
}

function nginxConfiguration(folder: string, file: string, port: number): string {
  const modules = ["ndk_http_module", "ngx_http_lua_module"].map((name) => `load_module /usr/share/nginx/modules/${name}.so;`).join("\n");
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
  return `${modules}
daemon off; master_process off; pid ${folder}/pid;
events { worker_connections 1024; }
http {
  ${paths} access_log off; client_max_body_size 0; client_body_buffer_size 1m; keepalive_requests 1000000; keepalive_timeout 60s;
  server {
    listen 127.0.0.1:${port};
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        local body = ngx.req.get_body_data() or ""
        local line = ngx.req.get_method() .. " " .. ngx.var.request_uri .. " " .. #body .. " " .. ngx.crc32_long(body)
        local file = io.open("${file}", "a")
        file:write(line .. "\\n")
        file:close()
        ngx.header["X-Seen"] = line
        ngx.header["Content-Length"] = 2
        ngx.print("ok")
      }
    }
  }
}
`;
}

function endWith(t: Scope, child: ChildProcess): void {
  t.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
}

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, "latin1").split("\n").filter(Boolean) : [];
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
