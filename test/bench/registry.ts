/**
 * What the registry proxy costs a large layer: `npm run bench:registry [MiB] [rounds]`. The layer is pushed and pulled by curl, to and from real
 * Distribution: directly, through `berth registry-proxy`, and through an nginx that does nothing but pass bytes on, in turn; and the proxy's
 * memory is watched meanwhile. On one machine all of them share its processors, so that whatever stands in between shows even where it is
 * faster than any network.
 */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openDistribution } from "../gateway/registry/distribution.ts";
import { freePort } from "../fixtures/server.ts";
import { basic } from "../gateway/registry/stand.ts";
import { DEV_KEY, openTokenServer } from "../gateway/registry/token-server.ts";
import { eventually } from "../fixtures/eventually.ts";

const MEGABYTE = 1_048_576;
const SIZE = Number(process.argv[2] ?? 2_048) * MEGABYTE;
const ROUNDS = Number(process.argv[3] ?? 3);
const TARGETS = { growthMb: 64, ratio: 0.9 };
const REPOSITORY = "datagrok/bench";

const endings: (() => unknown)[] = [];
const bench = { teardown: (act: () => unknown) => void endings.unshift(act) };
const folder = mkdtempSync(join(tmpdir(), "berth-bench-registry-"));
endings.push(() => rmSync(folder, { recursive: true, force: true }));

try {
  const layer = join(folder, "layer");
  const digest = makeLayer(layer);
  const registry = await openDistribution(bench);
  const tokens = await openTokenServer(bench);
  const proxy = await openProxy(tokens.url, registry.host);
  const answer = await fetch(`${proxy.base}/token?service=docker-registry&scope=repository:${REPOSITORY}:pull,push`, {
    headers: { authorization: basic(DEV_KEY) },
  });
  const { token } = (await answer.json()) as { token: string };
  const ways = { direct: `http://${registry.host}`, proxied: proxy.base, nginx: await openNginx(registry.host) };

  const push = async (base: string) => {
    const begun = await fetch(`${base}/v2/${REPOSITORY}/blobs/uploads/`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    const query = new URL(begun.headers.get("location") ?? "", base);
    query.host = new URL(base).host;
    query.searchParams.set("digest", digest);
    const headers = ["-H", `Authorization: Bearer ${token}`, "-H", "Content-Type: application/octet-stream", "-H", "Expect:"];
    return curl(["-X", "PUT", "--upload-file", layer, ...headers, query.href], "201");
  };
  const pull = async (base: string) => curl([`${base}/v2/${REPOSITORY}/blobs/${digest}`], "200");

  const before = proxy.memoryMb("VmRSS");
  const taken: Record<string, number[]> = {};
  const note = (what: string, seconds: number) => void (taken[what] ??= []).push(seconds);
  // Once without counting: the page cache is filled.
  await push(ways.direct);
  await pull(ways.direct);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [way, base] of Object.entries(ways)) {
      note(`push ${way}`, await push(base));
      note(`pull ${way}`, await pull(base));
    }
  }
  const growth = proxy.memoryMb("VmHWM") - before;

  const speed = (what: string) => SIZE / MEGABYTE / median(taken[what] ?? []);
  console.log(`a layer of ${SIZE / MEGABYTE} MiB, median of ${ROUNDS}, MiB/s`);
  for (const way of ["push", "pull"]) {
    const [direct, proxied, nginx] = [speed(`${way} direct`), speed(`${way} proxied`), speed(`${way} nginx`)];
    const ratio = (other: number) => (other / direct).toFixed(2);
    console.log(
      `${way}: direct ${direct.toFixed(0)}, proxied ${proxied.toFixed(0)}, ratio ${ratio(proxied)} (target >= ${TARGETS.ratio}); nginx ${nginx.toFixed(0)}, ratio ${ratio(nginx)}`,
    );
  }
  console.log(`CPU of the proxy: ${(proxy.cpuSeconds() / (2 * ROUNDS * (SIZE / (1_024 * MEGABYTE)))).toFixed(2)} s a GiB`);
  console.log(`memory of the proxy at its peak: ${growth.toFixed(0)} MiB more than at rest (target <= ${TARGETS.growthMb})`);
} finally {
  for (const end of endings) await end();
}

/** Zeros, which take no space on the disk; returns their digest. */
function makeLayer(path: string): string {
  const file = openSync(path, "w");
  ftruncateSync(file, SIZE);
  closeSync(file);
  const hash = createHash("sha256");
  const piece = Buffer.alloc(MEGABYTE);
  for (let at = 0; at < SIZE; at += MEGABYTE) hash.update(piece);
  return `sha256:${hash.digest("hex")}`;
}

/** How many seconds curl took. */
function curl(args: string[], expected: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn("curl", ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (piece: Buffer) => void (output += piece.toString()));
    child.once("error", reject);
    child.once("close", () => {
      const [status, seconds] = output.split(" ");
      if (status === expected) resolve(Number(seconds));
      else reject(new Error(`curl was answered ${output}`));
    });
  });
}

async function openProxy(datagrokUrl: string, registry: string) {
  const { PATH = "" } = process.env;
  const log = join(folder, "log");
  writeFileSync(log, "");
  const child = spawn(process.execPath, [join(import.meta.dirname, "../../berth.ts"), "registry-proxy"], {
    cwd: folder,
    env: { PATH, BERTH_REGISTRY_PORT: "0", DATAGROK_URL: datagrokUrl, REGISTRY_URL: registry },
    stdio: ["ignore", openSync(log, "a"), "inherit"],
  });
  bench.teardown(() => child.kill("SIGKILL"));
  const base = await eventually("the proxy", async () => /registry proxy at (http:\S+)/.exec(readFileSync(log, "utf8"))?.[1]);
  const ticks = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  return {
    base,
    memoryMb: (field: "VmRSS" | "VmHWM") =>
      Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1_024,
    cpuSeconds: () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) / ticks;
    },
  };
}

/** One worker, as little as it can do: no authentication, no rewriting. */
async function openNginx(registry: string): Promise<string> {
  const port = await freePort();
  const config = join(folder, "nginx.conf");
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? "user root; " : ""}worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server {
    listen 127.0.0.1:${port}; client_max_body_size 0;
    location / { proxy_pass http://${registry}; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1; proxy_buffer_size 512k; proxy_buffers 4 512k; proxy_busy_buffers_size 512k; }
  }
}`,
  );
  const child = spawn("nginx", ["-p", folder, "-c", config], {
    stdio: ["ignore", "ignore", "ignore"],
    env: { PATH: `${process.env["PATH"]}:/usr/sbin` },
  });
  bench.teardown(() => child.kill("SIGTERM"));
  const base = `http://127.0.0.1:${port}`;
  await eventually("nginx", () => fetch(base).catch(() => undefined));
  return base;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
