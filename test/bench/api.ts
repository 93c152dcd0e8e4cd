/**
 * How fast lists and look-ups are: `npm run bench:api [seconds] [--database postgres]`. A whole berth, with 10, 1 000 and 10 000 containers in its store, is
 * called over its edge by a few clients on kept-alive connections. Clients and berth share the machine, so the figures are a floor.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newContainer } from "../../control/model/entities.ts";
import { openStore } from "../../control/store/open-store.ts";
import { systemClock } from "../../lib/clock.ts";
import { startBerth } from "../fixtures/berth.ts";
import type { StoreDatabase } from "../fixtures/store-kinds.ts";
import { openBenchDatabase } from "./bench-database.ts";

const benchDatabase = await openBenchDatabase();
const SECONDS = Number(benchDatabase.words[0] ?? 3);
const SIZES = [10, 1_000, 10_000];
const CLIENTS = 8;
const CONFIG = { cpu: 0.25, memoryMb: 512, gpu: 0, shmMb: 64, storageGb: 21, onDemand: true };
const twice = (filter: string) => encodeURIComponent(encodeURIComponent(filter));

type CreatedContainer = { id: string; name: string };
const CALLS: Record<string, (one: CreatedContainer) => string> = {
  "find by id": ({ id }) => `/docker/containers/${id}`,
  "find by name": ({ name }) => `/docker/containers?text=${twice(`name = "${name}"`)}&limit=1`,
  "first page of 50": () => "/docker/containers?order=name&limit=50",
  "newest first, page 2": () => "/docker/containers?order=!createdOn&limit=50&page=2",
  "word in a name": ({ name }) => `/docker/containers?text=${twice(name.slice(2))}&limit=50`,
  "count of a state": () => `/docker/containers/count?text=${twice('status = "stopped by system"')}`,
  "all of them": () => "/docker/containers",
};

console.log(`${CLIENTS} clients, ${SECONDS} s each, over the edge, ${benchDatabase.name}`);
console.log(["containers", "call", "requests/s", "p50 ms", "p99 ms"].map(cell).join(""));
for (const size of SIZES) await measure(size);
await benchDatabase.close();

async function measure(size: number): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), "berth-bench-api-"));
  const { database, env } = await benchDatabase.fresh();
  const containers = await fill(join(data, "berth-data"), size, database);
  const berth = await startBerth({ data, env: { BERTH_DRIVER: "process", BERTH_LOG_LEVEL: "warn", ...env } });
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  try {
    // Each start looks at every row once; that is not what is measured.
    await load(() => ask(agent, berth.api, berth.token, "/docker/containers/count"), 2);
    for (const [name, path] of Object.entries(CALLS)) {
      const times = await load(
        () => ask(agent, berth.api, berth.token, path(containers[Math.floor(Math.random() * size)] as CreatedContainer)),
        SECONDS,
      );
      const at = (part: number) => (times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0).toFixed(1);
      console.log([String(size), name, (times.length / SECONDS).toFixed(0), at(0.5), at(0.99)].map(cell).join(""));
    }
  } finally {
    agent.destroy();
    await berth.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

/** Packages of ten folders each, as publishing would have written them. */
async function fill(folder: string, size: number, database: StoreDatabase): Promise<CreatedContainer[]> {
  const clock = systemClock();
  const store = await openStore({ folder, clock, ...database });
  const now = clock.now();
  const author = await store.users.insert({ id: randomUUID(), login: "author", friendlyName: "Author", admin: false, createdOn: now });
  const containers: CreatedContainer[] = [];
  await store.transaction(async () => {
    let packageId = "";
    for (let index = 0; index < size; index++) {
      if (index % 10 === 0) {
        packageId = randomUUID();
        await store.packages.insert({ id: packageId, name: `p${index}`, version: "1.0.0", authorId: author.id, createdOn: now, updatedOn: now });
      }
      const name = `p${index - (index % 10)}-folder${index % 10}`;
      const [imageId, id] = [randomUUID(), randomUUID()];
      const image = { id: imageId, packageId, folder: `folder${index % 10}`, name, friendlyName: name, description: "", version: "1.0.0" };
      const fromDockerfile = {
        dockerfile: "FROM node\nEXPOSE 8080\n".repeat(10),
        dockerfilePath: "",
        files: "",
        logs: "validated\n".repeat(5),
        warnings: [],
      };
      const resolved = {
        state: "READY",
        since: now,
        fault: undefined,
        resolvedId: "x",
        digest: undefined,
        mutable: false,
        contentHash: undefined,
      } as const;
      await store.images.insert({
        ...image,
        ...fromDockerfile,
        ...resolved,
        exposed: [80],
        command: [],
        healthcheck: undefined,
        ref: `datagrok/${name}:1.0.0`,
        createdOn: now + index,
        updatedOn: now,
      });
      const container = { ...newContainer("bench", id, name, CONFIG, now), packageId, imageId, folder: image.folder, name, friendlyName: name };
      await store.containers.insert({ ...container, config: CONFIG, env: { LEVEL: "info" }, createdOn: now + index, updatedOn: now });
      containers.push({ id, name });
    }
  });
  await store.close();
  return containers;
}

/** Milliseconds that each request took, in order of length. */
async function load(one: () => Promise<void>, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1_000;
  const client = async () => {
    while (performance.now() < end) {
      const begun = performance.now();
      await one();
      times.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return times.toSorted((a, b) => a - b);
}

function ask(agent: Agent, api: string, token: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    get(`${api}${path}`, { agent, headers: { authorization: token } }, (answer) => {
      answer.once("error", reject).once("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(`${path}: ${answer.statusCode}`))));
      answer.resume();
    }).once("error", reject);
  });
}

function cell(text: string, column: number): string {
  return column === 1 ? `  ${text.padEnd(26)}` : text.padStart(12);
}
