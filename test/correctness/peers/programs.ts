import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type Where = { port: number; upstream: number; folder: string };

export type PeerProgram = {
  name: string;
  /** Undefined where it is not installed. */
  version(): string | undefined;
  /** What to run; a configuration is written into `folder`. */
  argv(where: Where): string[];
};

const LIBRARIES = join(import.meta.dirname, "../../bench/proxy/peers/node_modules");

/**
 * Each as an operator would set it up for containers: nothing buffered, WebSockets allowed, the peer's address passed on. Caddy finds out by itself
 * what to stream; with that setting it keeps on with requests whose clients have left.
 */
export const PROGRAMS: readonly PeerProgram[] = [
  library("http-proxy"),
  library("http-proxy-3"),
  library("httpxy"),
  library("@fastify/http-proxy"),
  library("configurable-http-proxy"),
  {
    name: "nginx",
    version: () => versionOf(["nginx", "-v"]),
    argv: ({ port, upstream, folder }) => ["nginx", "-p", folder, "-e", "stderr", "-c", written(folder, "nginx.conf", nginx(port, upstream, folder))],
  },
  {
    name: "HAProxy",
    version: () => versionOf(["haproxy", "-v"]),
    argv: ({ port, upstream, folder }) => ["haproxy", "-q", "-db", "-f", written(folder, "haproxy.cfg", haproxy(port, upstream))],
  },
  {
    name: "Caddy",
    version: () => versionOf(["caddy", "version"]),
    argv: ({ port, upstream, folder }) => ["caddy", "run", "--adapter", "caddyfile", "--config", written(folder, "Caddyfile", caddy(port, upstream))],
  },
];

function library(name: string): PeerProgram {
  return {
    name,
    version: () => {
      const file = join(LIBRARIES, name, "package.json");
      return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version : undefined;
    },
    argv: ({ port, upstream }) => [process.execPath, join(import.meta.dirname, "node-peer.ts"), name, `${port}`, `${upstream}`],
  };
}

function versionOf([program = "", ...args]: string[]): string | undefined {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
  return error === undefined ? /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] : undefined;
}

function written(folder: string, name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

function nginx(port: number, upstream: number, folder: string): string {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
  return `daemon off; master_process off; pid ${folder}/pid;
events { }
http {
  ${paths} access_log off; client_max_body_size 0;
  map $http_upgrade $upgrading { default upgrade; '' ''; }
  upstream container { server 127.0.0.1:${upstream}; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://container; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Connection $upgrading; proxy_set_header Upgrade $http_upgrade;
    }
  }
}
`;
}

function haproxy(port: number, upstream: number): string {
  return `defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:${port}
  default_backend container
backend container
  http-reuse always
  server one 127.0.0.1:${upstream}
`;
}

function caddy(port: number, upstream: number): string {
  return `{
  admin off
  auto_https off
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:${upstream}
}
`;
}
