import { fastify } from "fastify";
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { join } from "node:path";
import t, { type Test } from "tap";
import { sendErrors } from "../../../../control/api/api-error.ts";
import { addImportRoutes } from "../../../../control/api/packages.ts";
import type { RouteDeps } from "../../../../control/api/route.ts";
import { openImporter } from "../../../../control/packages/import/open-importer.ts";
import { readImportBody } from "../../../../control/packages/import/read-import.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import type { Driver } from "../../../../drivers/driver.ts";
import { openLog } from "../../../../lib/log.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { USER } from "../../lifecycle/lifecycle-fixture.ts";

const LIMITS = { body: 100_000, entry: 200, entries: 100 };

/** In pieces of each of these sizes, in bytes. */
const readInPieces = (body: string, size: number, limits = LIMITS) => {
  const bytes = Buffer.from(body);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
  return readImportBody(
    (async function* () {
      yield* pieces;
    })(),
    limits,
  );
};

const IMPORT = {
  dryRun: true,
  images: [{ id: "1", dockerfile: 'FROM a\n"]},{[\\' }, "text, with ] and }", 1, null, [[], [1, "\\"]], {}],
  more: { lists: [1, [2]], empty: [] },
  containers: [],
  adopt: false,
  näme: "ä\u{1F433}",
  last: [{ é: "\u2028" }],
};

t.test("lists are read as JSON has them, wherever the pieces of the body end", async (t) => {
  for (const body of [JSON.stringify(IMPORT), JSON.stringify(IMPORT, undefined, "\t"), ` ${JSON.stringify(IMPORT, undefined, 1)}\r\n`])
    for (const size of [1, 2, 3, 5, 7, 64, 100_000]) t.strictSame(await readInPieces(body, size), IMPORT, `${size} bytes at a time`);
  for (const body of ["[]", "1", '"a"', "null", "{}", "[[1],[2]]"]) t.ok(await readInPieces(body, 1).then(() => true), body);
});

t.test("what is not JSON is refused", async (t) => {
  const broken = [
    "",
    "{",
    '{"a":[}',
    '{"a":[1}',
    '{"a":[1,]}',
    '{"a":[,1]}',
    '{"a":[1,,2]}',
    '{"a":[1 2]}',
    '{"a":[1"b"]}',
    '{"a":["b]}',
    '{"a":[{]}',
  ];
  broken.push(
    '{"a":[{"b":1]}',
    '{"a":[1]]}',
    '{"a":[1]}}',
    '{"a":[tru]}',
    '{"a":[1] "b":2}',
    '{"a":[1],}',
    '{"a":["\n"]}',
    '{"a":[1',
    '{"a":[1],"b":',
    "]",
    "}}",
  );
  for (const body of broken)
    for (const size of [1, 100]) {
      t.throws(() => JSON.parse(body) as unknown, body);
      await t.rejects(readInPieces(body, size), { code: "REQUEST_INVALID", message: "The import is not JSON." }, body);
    }
});

t.test("it is bounded", async (t) => {
  const long = "x".repeat(300);
  await t.rejects(readInPieces(JSON.stringify({ a: [], b: ["short", long] }), 64), {
    code: "REQUEST_INVALID",
    message: /Entry 2 of list 2 .* 200 bytes/,
  });
  await t.rejects(readInPieces(JSON.stringify({ a: Array.from({ length: 101 }) }), 64), {
    code: "REQUEST_INVALID",
    message: /more than 100 entries/,
  });
  await t.rejects(readInPieces(JSON.stringify({ a: { b: "x".repeat(70_000) } }), 64), {
    code: "REQUEST_INVALID",
    message: /its lists and its settings/,
  });
  await t.rejects(readInPieces(`{"a":[${" ".repeat(100_000)}]}`, 64), { code: "BODY_TOO_LARGE", message: /Import it in parts/ });
});

t.test("other turns of the event loop come between, also where entries are of one byte", async (t) => {
  const body = JSON.stringify({ a: Array.from({ length: 100_000 }, () => 1) });
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  await readInPieces(body, body.length, { body: body.length, entry: 1, entries: 100_000 });
  isOver = true;
  t.ok(turns >= body.length / 20_000, `${turns} turns`);
});

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
  return app.listen({ port: 0, host: "127.0.0.1" });
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

/** The longest turn of the event loop until `work` has ended, in milliseconds of processor time: what else the machine does delays it, but takes none. */
async function longestTurn<R>(work: Promise<R>): Promise<{ result: R; longestMs: number }> {
  let longest = 0;
  const done = new AbortController();
  const ended = work.finally(() => done.abort());
  ended.catch(() => undefined);
  const spent = () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  for (let before = spent(); !done.signal.aborted;) {
    await new Promise(setImmediate);
    const now = spent();
    longest = Math.max(longest, now - before);
    before = now;
  }
  return { result: await ended, longestMs: longest };
}

t.test("an import of 40 MB holds the event loop for less than 50 ms at a time", async (t) => {
  const url = await openServer(t);
  const body = `JSON.stringify({
    images: [{ id: ${JSON.stringify(idOf("33333333", 0))}, name: "app", imageRef: "app:1.0" }],
    containers: Array.from({ length: ${COUNT} }, (_, nth) => ({
      id: "44444444-0000-4000-8000-" + String(nth).padStart(12, "0"), name: "app-" + nth, status: "stopped",
      dockerfile: { id: ${JSON.stringify(idOf("33333333", 0))} }, logs: ${JSON.stringify(LOG)},
    })),
    dryRun: true,
  })`;
  const { result, longestMs } = await longestTurn(sendImport(url, body));
  t.equal(result.status, 200, result.message);
  t.equal(result.rows.length, COUNT + 1);
  t.strictSame(result.rows[0], { kind: "image", fate: "import", author: "ada" });
  t.strictSame(result.rows.at(-1), { kind: "container", fate: "import", author: "ada" });
  t.ok(longestMs < 50, `${longestMs.toFixed(1)} ms`);
});

t.test("a refusal reaches a client that still sends", async (t) => {
  const url = await openServer(t);
  const long = await sendImport(url, `JSON.stringify({ images: ["x".repeat(2_000_000), "x".repeat(20_000_000)], containers: [] })`);
  t.match(long, { status: 400, message: /Entry 1 of list 1 of the import is longer than 1048576 bytes/ });
  t.match(await sendImport(url, `'{"images":'`), { status: 400, message: "The import is not JSON." });
  t.match(await sendImport(url, `'{"images":[]}'`), { status: 400, message: /containers/ });
});
