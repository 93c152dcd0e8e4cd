import { createServer } from "node:http";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openDatagrok } from "../../../gateway/datagrok/open-datagrok.ts";
import type { ContainerView } from "../../../gateway/contract.ts";
import { openLog } from "../../../lib/log.ts";
import { listen } from "../../fixtures/server.ts";

/** The directory alone, in front of a server that says what each test has it say: it knows everybody, and no rights. */
const A = "3f1c9a52-7b0e-4d16-9a41-00000000000a";
const B = "3f1c9a52-7b0e-4d16-9a41-00000000000b";
const ADA = { userId: "1", login: "ada", admin: false, token: "of-ada" };
const BOB = { userId: "2", login: "bob", admin: false, token: "of-bob" };
const NEVER = new AbortController().signal;

/** What a start is answered with, and what the container's state is after it. */
type Run = { status: number; body: string; after: string };

async function open(t: Test) {
  const { port: behind } = await listen(t, createServer());
  const states = new Map<string, string>();
  const runs = new Map<string, Run>();
  const server = createServer((incoming, answer) => {
    const [, id = "", run] = /^\/api\/docker\/containers\/([^/?]+)(\/run)?/.exec(incoming.url ?? "") ?? [];
    const { status, body, after } = (run && runs.get(id)) || { status: 200, body: "", after: states.get(id) };
    if (after !== undefined) states.set(id, after);
    const entity = { id, name: id, status: states.get(id), address: "127.0.0.1", port: behind };
    answer.writeHead(id === "" ? 200 : status, { "content-type": "application/json" }).end(body || JSON.stringify(entity));
  });
  const { port } = await listen(t, server);
  const url = `http://127.0.0.1:${port}/api`;
  const { directory, close, ready } = openDatagrok({
    url,
    key: undefined,
    runMs: 20_000,
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(close);
  await ready();
  /** Resolves with the first view that is not starting or stopping. */
  const outcome = (id: string) =>
    new Promise<ContainerView["availability"]["kind"] | undefined>((resolve) => {
      t.teardown(directory.watch(id, (view) => view?.availability.kind !== "coming" && resolve(view?.availability.kind)));
    });
  return { directory, states, runs, outcome };
}

t.test("a start whose answer a load balancer no longer waits for goes on, and keeps no other from starting", async (t) => {
  const { directory, states, runs, outcome } = await open(t);
  runs.set(A, { status: 504, body: "<html>", after: "starting" });
  runs.set(B, { status: 200, body: "", after: "started" });
  for (const id of [A, B]) {
    states.set(id, "stopped by system");
    await directory.find(id, ADA, NEVER);
  }
  const [a, b] = [outcome(A), outcome(B)];
  const waking = directory.wake(A, ADA, NEVER);
  while (states.get(A) !== "starting") await new Promise(setImmediate);
  await directory.find(A, BOB, NEVER);
  await directory.wake(B, ADA, NEVER);
  t.equal(await b, "awake");
  states.set(A, "started");
  await waking;
  t.equal(await a, "awake");
});

t.test("a caller that begins to wait just as another sees the start is notified", async (t) => {
  const { directory, states, outcome } = await open(t);
  states.set(A, "stopped by system");
  t.equal((await directory.find(A, ADA, NEVER))?.availability.kind, "asleep");
  states.set(A, "started");
  t.equal((await directory.find(A, BOB, NEVER))?.availability.kind, "awake");
  const result = outcome(A);
  directory.wake(A, ADA, NEVER).catch(() => undefined);
  t.equal(await result, "awake");
});
