import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { startWatchdog, superviseChild } from "../../processes/supervise-process.ts";
import { startBerth } from "../fixtures/berth.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A watchdog on time that stands still; `answers`: whether the process answers. */
function watched() {
  const clock = createStillClock();
  const state = { answers: true, hung: [] as number[] };
  const ping = () => (state.answers ? Promise.resolve() : new Promise<void>(() => {}));
  const watchdog = startWatchdog({ everyMs: 5_000, limit: () => 3, ping, hung: (silentMs) => state.hung.push(silentMs), clock });
  return { clock, state, watchdog };
}

t.test("a process that answers is left alone, one that misses three checks is reported once with its silence", async (t) => {
  const { clock, state } = watched();
  await clock.advance(60_000);
  t.strictSame(state.hung, []);
  state.answers = false;
  await clock.advance(15_000);
  t.strictSame(state.hung, [], "the first of the three was sent 15 s ago at most");
  await clock.advance(5_000);
  t.strictSame(state.hung, [20_000]);
  await clock.advance(60_000);
  t.equal(state.hung.length, 1);
});

t.test("a check that comes late itself counts nothing: the whole machine was suspended", async (t) => {
  let now = 0;
  let due = { at: 0, task: () => {} };
  const still = createStillClock();
  const clock = {
    ...still,
    monotonic: () => now,
    after: (ms: number, task: () => void) => {
      due = { at: now + ms, task };
      return () => {};
    },
  };
  const hung: number[] = [];
  startWatchdog({ everyMs: 5_000, limit: () => 3, ping: () => new Promise(() => {}), hung: (silentMs) => hung.push(silentMs), clock });
  const check = (lateMs: number) => {
    now = due.at + lateMs;
    due.task();
  };
  check(0);
  check(0);
  check(600_000);
  check(2_600);
  check(0);
  check(0);
  t.strictSame(hung, [], "two checks that were on time after the last late one");
  check(0);
  t.equal(hung.length, 1);
});

t.test("a stopped watchdog reports nothing", async (t) => {
  const { clock, state, watchdog } = watched();
  state.answers = false;
  await clock.advance(10_000);
  watchdog.stop();
  await clock.advance(60_000);
  t.strictSame(state.hung, []);
  t.equal(clock.pending(), 0);
});

/** Answers pings by what the roles of berth answer them with; on SIGUSR2 its event loop never turns again. */
const ROLE = `
  import { appendFileSync } from "node:fs";
  import { findParent } from ${JSON.stringify(join(import.meta.dirname, "../../processes/parent.ts"))};
  const parent = findParent();
  parent.ready();
  process.on("SIGUSR2", () => { for (;;); });
  appendFileSync(process.env.PIDS, process.pid + "\\n");
`;

for (const [signal, what] of [
  ["SIGSTOP", "is stopped"],
  ["SIGUSR2", "does not get out of a loop"],
] as const) {
  t.test(`a process that ${what} is killed and replaced, and the log has how long it was silent`, async (t) => {
    const folder = t.testdir({ "role.ts": ROLE });
    const pids = join(folder, "pids");
    writeFileSync(pids, "");
    const logged: string[] = [];
    const write = (fields: Record<string, unknown>, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = {
      debug: write,
      info: write,
      warn: write,
      error: write,
      child: (of) => ({ ...log, error: (fields, message) => write({ ...of, ...fields }, message) }),
    };
    const child = superviseChild({
      role: "gateway",
      script: join(folder, "role.ts"),
      env: { PIDS: pids },
      watchdogMs: 1_500,
      clock: systemClock(),
      log,
    });
    t.teardown(() => child.stop(0));
    const started = (count: number) =>
      eventually(`start ${count}`, async () => readFileSync(pids, "utf8").split("\n").filter(Boolean).map(Number)[count - 1]);
    const first = await started(1);
    process.kill(first, signal);
    await started(2);
    t.notOk(isAlive(first));
    t.match(
      logged.find((line) => line.includes(`"pid":${first}`)),
      /process does not answer and is killed \{"role":"gateway","pid":\d+,"silentMs":\d+\}/,
    );
  });
}

t.test("a stopped control and a stopped gateway are replaced, and berth serves again", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", BERTH_WATCHDOG_SECONDS: "3" } });
  t.teardown(() => berth.stop());
  const victims = ["control", "gateway"].map((role) => rolesBelow(berth.pid)[role]?.[0] ?? 0);
  for (const pid of victims) process.kill(pid, "SIGSTOP");
  await eventually("both to be gone", async () => (victims.some(isAlive) ? undefined : true));
  await eventually("the API to answer", async () => {
    const answer = await berth.call("/users/current", { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
    return answer?.status === 200 ? true : undefined;
  });
  t.match(berth.output(), /process does not answer and is killed/);
});
