import { fastify } from "fastify";
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { join } from "node:path";
import t, { type Test } from "tap";
import { sendErrors } from "../../../../control/api/api-error.ts";
import { addImportRoutes } from "../../../../control/api/packages.ts";
import type { RouteDeps } from "../../../../control/api/route.ts";
import { openImporter } from "../../../../control/packages/import/open-importer.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import type { Driver } from "../../../../drivers/driver.ts";
import { openLog } from "../../../../lib/log.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { longestTurn } from "../../../fixtures/longest-turn.ts";
import { USER } from "../../lifecycle/lifecycle-fixture.ts";

const [COUNT, LOG] = [2_000, "x".repeat(20_000)];
const idOf = (kind: string, nth: number) => `${kind}-0000-4000-8000-${String(nth).padStart(12, "0")}`;

/** The API's route over a real socket, on a store. */
async function openServer(t: Test) {
  const clock = createStillClock();
  const store = await openStore({ folder: join(t.testdir(), "data"), clock });
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  const lifecycle = { requestValidation: async () => undefined, definitionChanged: async () => undefined };
  const importer = openImporter({ store, driver: { name: "docker" } as unknown as Driver, lifecycle, environment: "test", clock });
  const app = fastify();
  app.setErrorHandler(sendErrors(openLog({ level: "silent", name: "test" })));
  const authorization = { caller: () => ({ userId: USER, login: "ada" }) } as unknown as RouteDeps["authorization"];
  await app.register(async (scope) => addImportRoutes(scope, { importer, store, authorization }));
  t.teardown(async () => {
    await app.close();
    await store.close();
  });
  return { url: await app.listen({ port: 0, host: "127.0.0.1" }), store };
}

/** Another process sends it, so that what it takes is not counted. */
async function sendImport(
  url: string,
  body: string,
): Promise<{ status: number; rows: { kind: string; fate: string; author: string }[]; message: string }> {
  const program = `
    const response = await fetch(${JSON.stringify(`${url}/admin/import`)}, { method: "POST", headers: { "content-type": "application/json" }, body: ${body} });
    const text = await response.text();
    const rows = response.status === 200 ? JSON.parse(text).map(({ kind, fate, author }) => ({ kind, fate, author })) : [];
    console.log(JSON.stringify({ status: response.status, rows, message: response.status === 200 ? "" : JSON.parse(text).message }));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(await text(child.stdout)) as never;
}

t.test("an import of 40 MB holds the event loop for less than 50 ms at a time", async (t) => {
  const { url } = await openServer(t);
  const body = `JSON.stringify({
    images: [{ id: ${JSON.stringify(idOf("33333333", 0))}, name: "app", imageRef: "app:1.0" }],
    containers: Array.from({ length: ${COUNT} }, (_, nth) => ({
      id: "44444444-0000-4000-8000-" + String(nth).padStart(12, "0"), name: "app-" + nth, status: "stopped",
      dockerfile: { id: ${JSON.stringify(idOf("33333333", 0))} }, logs: ${JSON.stringify(LOG)},
    })),
    dryRun: true,
  })`;
  /** The least of three: the collector of garbage comes now and then, and the compiler at first. */
  let leastMs = Infinity;
  for (let nth = 0; nth < 3 && leastMs >= 50; nth++) {
    const { result, longestMs } = await longestTurn(sendImport(url, body));
    t.equal(result.status, 200, result.message);
    t.equal(result.rows.length, COUNT + 1);
    t.strictSame(result.rows[0], { kind: "image", fate: "import", author: "ada" });
    t.strictSame(result.rows.at(-1), { kind: "container", fate: "import", author: "ada" });
    leastMs = Math.min(leastMs, longestMs);
  }
  t.ok(leastMs < 50, `${leastMs.toFixed(1)} ms`);
});

t.test("a refusal reaches a client that still sends", async (t) => {
  const { url } = await openServer(t);
  const long = await sendImport(url, `JSON.stringify({ images: ["x".repeat(2_000_000), "x".repeat(20_000_000)], containers: [] })`);
  t.match(long, { status: 400, message: /Entry 1 of list 1 of the import is longer than 1048576 bytes/ });
  t.match(await sendImport(url, `'{"images":'`), { status: 400, message: "The import is not JSON." });
  t.match(await sendImport(url, `'{"images":[]}'`), { status: 400, message: /containers/ });
});

t.test("a key named __proto__ changes no object, and a variable of that name is kept", async (t) => {
  const { url, store } = await openServer(t);
  const [image, container] = [idOf("33333333", 1), idOf("44444444", 1)];
  const body = `{
    "__proto__": { "dryRun": true, "polluted": 1 },
    "dryRun": false,
    "images": [{ "__proto__": { "polluted": 1 }, "id": "${image}", "name": "app", "imageRef": "app:1.0" }],
    "containers": [{
      "id": "${container}", "name": "app", "status": "stopped", "dockerfile": { "id": "${image}", "__proto__": { "polluted": 1 } },
      "config": { "__proto__": { "cpu": 3, "polluted": 1 }, "memory": 300 },
      "environmentVars": { "__proto__": "kept", "constructor": "kept", "toString": "kept" }
    }]
  }`;
  t.match(await sendImport(url, JSON.stringify(body)), { status: 200, rows: [{ fate: "import" }, { fate: "import" }] });
  const row = await store.containers.find(container);
  t.strictSame(Object.entries(row?.env ?? {}), [
    ["__proto__", "kept"],
    ["constructor", "kept"],
    ["toString", "kept"],
  ]);
  t.match(row?.config, { memoryMb: 300, cpu: 0.25 });
  t.notOk("polluted" in {}, "no prototype has changed");
});
