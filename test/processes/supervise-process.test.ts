import type { ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { type ListeningHandle, openListeningHandle } from "../../processes/listeners.ts";
import { type StartedProcess, superviseChild, type SupervisedProcess, superviseProcess } from "../../processes/supervise-process.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";

/** Writes down its process id, says that it is ready, or why it is not, and stays until it gets a stop signal. */
const SCRIPT = `
  const { appendFileSync } = require("node:fs");
  appendFileSync(process.env.PIDS, process.pid + "\\n");
  if (process.env.DIES) process.kill(process.pid, "SIGKILL");
  if (process.env.FAULT) process.send({ kind: "fault", fault: { code: "STORE_FULL", message: "no space" } }, () => process.exit(1));
  else process.send({ kind: "ready" });
  process.on("message", ({ kind }) => { if (kind === "end") process.exit(0); });
`;

type Kept = SupervisedProcess & { env: NodeJS.ProcessEnv; pids(): number[]; output: string[] };

function keep(t: Test, more: NodeJS.ProcessEnv = {}): Kept {
  const folder = t.testdir({ "role.cjs": SCRIPT, pids: "" });
  const pids = join(folder, "pids");
  writeFileSync(pids, "");
  const output: string[] = [];
  const write = (fields: Record<string, unknown>, sentence: string) => void output.push(`${sentence} ${JSON.stringify(fields)}`);
  const log: Log = { debug: write, info: write, warn: write, error: write, child: () => log };
  const env: NodeJS.ProcessEnv = { PIDS: pids, ...more };
  const child = superviseChild({ role: "role", script: join(folder, "role.cjs"), env, clock: systemClock(), log });
  t.teardown(() => child.stop(1_000));
  return { ...child, env, output, pids: () => readFileSync(pids, "utf8").split("\n").filter(Boolean).map(Number) };
}

const started = (kept: Kept, count: number) => eventually(`start ${count}`, async () => kept.pids()[count - 1]);
const says = (kept: Kept, pattern: RegExp) => eventually(String(pattern), async () => kept.output.find((line) => pattern.test(line)));

t.test("a process that dies is started again, also where the machine could not start one at first", async (t) => {
  const kept = keep(t);
  await kept.ready;
  // Too large for any process: the start itself fails, as it does where there is no memory or no process left.
  kept.env["TOO_LARGE"] = "x".repeat(1_000_000);
  process.kill(await started(kept, 1), "SIGKILL");
  await says(kept, /cannot be started/);
  delete kept.env["TOO_LARGE"];
  const second = await started(kept, 2);
  const { execPath } = process;
  process.execPath = "/nowhere/node";
  t.teardown(() => (process.execPath = execPath));
  const before = kept.output.length;
  process.kill(second, "SIGKILL");
  await eventually("it fails again", async () => kept.output.slice(before).find((line) => /cannot be started/.test(line)));
  process.execPath = execPath;
  t.ok(await started(kept, 3));
});

t.test("the reason why a process cannot start again is logged", async (t) => {
  const kept = keep(t);
  await kept.ready;
  kept.env["FAULT"] = "yes";
  process.kill(await started(kept, 1), "SIGKILL");
  t.match(await says(kept, /STORE_FULL/), /no space/);
});

t.test("a process that the machine cannot start the first time is a fault, and there is nothing to stop", async (t) => {
  const { execPath } = process;
  process.execPath = "/nowhere/node";
  t.teardown(() => (process.execPath = execPath));
  const kept = keep(t);
  process.execPath = execPath;
  await t.rejects(kept.ready, { code: "INTERNAL" });
  await kept.stop(100);
});

t.test("a process that is killed while it starts the first time is started again", async (t) => {
  const kept = keep(t, { DIES: "yes" });
  await started(kept, 1);
  delete kept.env["DIES"];
  await kept.ready;
  t.match(await says(kept, /a process died and is started again/), /SIGKILL/);
});

t.test("the first wait for a process that never gets ready is given up, while it is tried again", async (t) => {
  const kept = keep(t, { DIES: "yes" });
  await t.rejects(kept.ready, { code: "INTERNAL", message: /SIGKILL before it was ready/ });
  t.ok(await started(kept, 6));
});

t.test("a process that reports why it cannot start the first time is not tried again", async (t) => {
  const kept = keep(t, { FAULT: "yes" });
  await t.rejects(kept.ready, { code: "STORE_FULL" });
  await kept.stop(100);
  t.equal(kept.pids().length, 1);
});

t.test("a process that was ready for a while is started again at once, however often it died before", async (t) => {
  const clock = createStillClock();
  const delays: unknown[] = [];
  const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: ({ restartInMs }) => void delays.push(restartInMs), child: () => log };
  let current: EventEmitter | undefined;
  const launch = ({ ready }: StartedProcess) => {
    ready();
    return Object.assign((current = new EventEmitter()), { pid: 1 }) as unknown as ChildProcess;
  };
  superviseProcess({ name: "role", launch, clock, log });
  const die = async (afterMs: number) => {
    await clock.advance(afterMs);
    current?.emit("exit", null, "SIGKILL");
    await clock.advance(Number(delays.at(-1)));
  };
  for (let death = 0; death < 5; death++) await die(1);
  t.strictSame(delays, [100, 200, 400, 800, 1_600], "a crash loop");
  for (let death = 0; death < 12; death++) await die(11_000);
  t.ok(delays.slice(5).every((delay) => delay === 100));
});

/** Notes when it runs, and when it has its socket, by what the roles of berth hear their parent with. */
const LISTENER = `
  import { appendFileSync } from "node:fs";
  import { findParent } from ${JSON.stringify(join(import.meta.dirname, "../../processes/parent.ts"))};
  const parent = findParent();
  parent.ready();
  appendFileSync(process.env.NOTES, "runs\\n");
  await parent.handle();
  appendFileSync(process.env.NOTES, "listens\\n");
  await parent.stopRequested();
  appendFileSync(process.env.NOTES, "stop\\n");
  process.exit(0);
`;

t.test("a process runs before its socket is available, and ends at once after an earlier stop signal", async (t) => {
  const folder = t.testdir({ "role.ts": LISTENER, early: "", late: "" });
  const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
  const { handle } = await openListeningHandle({ host: "127.0.0.1", port: 0 }, systemClock());
  t.teardown(() => handle.close());
  const open = (name: string, given: Promise<ListeningHandle>) => {
    const notes = join(folder, name);
    const child = superviseChild({ role: "role", script: join(folder, "role.ts"), env: { NOTES: notes }, handle: given, clock: systemClock(), log });
    t.teardown(() => child.stop(1));
    return { ...child, noted: (note: string) => eventually(note, async () => readFileSync(notes, "utf8").includes(note)) };
  };
  const never = open("early", new Promise(() => {}));
  await never.noted("runs");
  // Longer than a test may take: nothing ends it by force.
  await never.stop(600_000);
  t.equal(readFileSync(join(folder, "early"), "utf8"), "runs\n");

  const given = Promise.withResolvers<ListeningHandle>();
  const late = open("late", given.promise);
  await late.noted("runs");
  given.resolve(handle);
  await late.noted("listens");
  await late.stop(600_000);
  t.equal(readFileSync(join(folder, "late"), "utf8"), "runs\nlistens\nstop\n", "and then it finishes what it does");
});
