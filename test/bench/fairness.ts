/**
 * What one user's flood costs another at a container with `max_concurrency`: `npm run bench:fairness [seconds]`. The container takes 4 requests at once, each for
 * 50 ms. One user sends a request at a time, first alone, then beside a user who keeps 100 open. Then the same without a limit in berth, with a queue of the
 * container's own that serves who came first. Fails if the flood makes the 99th percentile more than twice as long.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";

const SECONDS = Number(process.argv[2] ?? 20);
const FLOOD = 100;
const MOST_RATIO = 2;

const app = (atOnce: number) => `let open = 0; const queue = [];
const next = () => {
  if (open >= ${atOnce} || queue.length === 0) return;
  open++;
  setTimeout(queue.shift(), 50);
};
require("node:http").createServer((request, response) => {
  queue.push(() => { open--; response.end("done"); next(); });
  next();
}).listen(Number(process.env.PORT), "127.0.0.1");`;

const folder = (name: string, container: object) => ({
  [`dockerfiles/${name}/Dockerfile`]: 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  [`dockerfiles/${name}/server.cjs`]: app(4),
  [`dockerfiles/${name}/container.json`]: JSON.stringify({ on_demand: true, ...container }),
});

const data = mkdtempSync(join(tmpdir(), "berth-bench-"));
const berth = await startBerth({ data, env: { BERTH_DRIVER: "process" } });

async function tokenOf(login: string): Promise<string> {
  const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  await berth.call("/users", post({ login }));
  const { key } = (await (await berth.call(`/users/${login}/keys`, post({}))).json()) as { key: string };
  const signedIn = await fetch(`${berth.api}/users/login/dev`, { method: "POST", headers: { authorization: `Dev ${key}` } });
  return ((await signedIn.json()) as { token: string }).token;
}

try {
  await berth.publish("bench", {
    "package.json": JSON.stringify({ name: "bench", version: "1.0.0" }),
    ...folder("limited", { max_concurrency: 4 }),
    ...folder("unlimited", {}),
  });
  const [greedy, other] = [await tokenOf("greedy"), await tokenOf("other")];
  const ratios = new Map<string, number>();
  for (const name of ["limited", "unlimited"]) {
    const { id } = await eventually(`the image of ${name}`, async () => {
      const container = await berth.container(`bench-${name}`);
      return container.dockerfile.status === "ready" ? container : undefined;
    });
    const get = async (token: string) => {
      const begun = performance.now();
      const response = await fetch(`${berth.api}/docker/containers/proxy/${id}/`, { headers: { authorization: token } });
      await response.text();
      if (response.status !== 200) throw new Error(`The container answered ${response.status}`);
      return performance.now() - begun;
    };
    await get(other);
    const alone = await during(() => get(other));
    const over = new AbortController();
    let answered = 0;
    const flood = Array.from({ length: FLOOD }, async () => {
      for (; !over.signal.aborted; answered++) await get(greedy);
    });
    const beside = await during(() => get(other));
    over.abort();
    await Promise.all(flood);
    ratios.set(name, quantile(beside, 0.99) / quantile(alone, 0.99));
    console.log(`${name === "limited" ? "max_concurrency 4" : "no limit in berth"}:`);
    console.log(`  alone         p50 ${ms(quantile(alone, 0.5))}  p99 ${ms(quantile(alone, 0.99))}`);
    console.log(
      `  beside flood  p50 ${ms(quantile(beside, 0.5))}  p99 ${ms(quantile(beside, 0.99))}  (${(answered / SECONDS).toFixed(0)} requests/s of the flood)`,
    );
  }
  const ratio = ratios.get("limited") ?? Infinity;
  console.log(
    `p99 beside the flood / alone: ${ratio.toFixed(2)} with max_concurrency, ${(ratios.get("unlimited") ?? NaN).toFixed(2)} without (at most ${MOST_RATIO})`,
  );
  if (ratio > MOST_RATIO) process.exitCode = 1;
} finally {
  await berth.stop();
  rmSync(data, { recursive: true });
}

/** The durations of calls one after another. */
async function during(call: () => Promise<number>): Promise<number[]> {
  const times: number[] = [];
  for (const until = performance.now() + SECONDS * 1_000; performance.now() < until;) times.push(await call());
  return times.toSorted((one, other) => one - other);
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

function ms(value: number): string {
  return `${value.toFixed(0).padStart(5)} ms`;
}
