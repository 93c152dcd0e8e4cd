import t from "tap";
import { type ContainerAction, type ContainerSituation, decide } from "../../../control/lifecycle/decide.ts";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import type { Container, Image } from "../../../control/model/entities.ts";
import { CONTAINER_TABLE, type ContainerState, nextState } from "../../../control/model/states.ts";
import { nextWarm, warmUntil } from "../../../control/model/warm-hours.ts";
import type { Observed } from "../../../drivers/driver.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { type LifecycleFixture, newContainer, newImage, openLifecycleFixture } from "./lifecycle-fixture.ts";

const NOW = 1_000_000;
const CONFIG: Container["config"] = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 0, storageGb: 1, onDemand: true };
const LIMITS = { ...LIFECYCLE_LIMITS, pausedMs: 60_000 };

type Options = {
  row?: Partial<Container>;
  image?: Partial<Image>;
  observed?: Partial<Observed> | "none";
  usage?: Partial<ContainerSituation["usage"]>;
};

function situationOf(state: ContainerState, { row = {}, image = {}, observed, usage = {} }: Options = {}): ContainerSituation {
  const itsImage: Image = { ...newImage("web", NOW - 1_000), state: "READY", mutable: false, ...image };
  const desired = state === "USER_STOPPED" || state === "SYSTEM_STOPPED" ? 0 : 1;
  const container: Container = { ...newContainer(itsImage, CONFIG, NOW - 500), state, desiredInstances: desired, since: NOW - 500, ...row };
  const labels = { store: "store", environment: "test", container: container.id, generation: container.generation };
  return {
    row: container,
    image: itsImage,
    dependencies: [],
    observed:
      observed === undefined
        ? "unknown"
        : observed === "none"
          ? undefined
          : { service: container.service, labels, running: true, addresses: [], ...observed },
    now: NOW,
    epoch: 0,
    usage: { open: 0, reached: false, sockets: 0, joiningMs: 0, drained: true, measuredMsAgo: 0, lastActive: 0, uncertainUntil: 0, ...usage },
    outageExplains: false,
    turns: undefined,
  };
}

const RUNNING = {} satisfies Partial<Observed>;
const ENDED = { running: false } satisfies Partial<Observed>;
const PAUSED = { running: false, paused: true } satisfies Partial<Observed>;
const address = { host: "10.0.0.1", port: 80 };
const other = { host: "10.0.0.2", port: 80 };

const CASES: Record<string, [ContainerState, Options, Partial<ContainerAction>]> = {
  "a start whose request was cancelled is stopped": ["PENDING_START", { row: { desiredInstances: 0 } }, { kind: "move", event: "stopWished" }],
  "a container whose definition was removed is left to its removal": [
    "STARTED",
    { row: { desiredInstances: 0, stopFor: "user" }, image: { state: "DELETED", since: NOW - 1_000 }, observed: RUNNING },
    { kind: "wait", ms: 14_000 },
  ],
  "where the removal does not come, it is stopped": [
    "STARTED",
    { row: { desiredInstances: 0, stopFor: "user" }, image: { state: "DELETED", since: NOW - 15_000 }, observed: RUNNING },
    { kind: "move", event: "stopWished", patch: { stopFor: "user" } },
  ],
  "a start begins when its image is ready": ["PENDING_START", {}, { kind: "beginStart" }],
  "a start waits for an image in validation": ["PENDING_START", { image: { state: "VALIDATING" } }, { kind: "awaitImage" }],
  "a start waits for its back-off": ["PENDING_START", { row: { notBefore: NOW + 70 } }, { kind: "wait", ms: 70 }],
  "a start resolves a mutable tag again": ["PENDING_START", { image: { mutable: true } }, { kind: "revalidateImage" }],
  "a start fails with its image": [
    "PENDING_START",
    { image: { state: "ERROR", since: NOW, fault: { code: "IMAGE_NOT_FOUND", message: "" } } },
    { kind: "failStart", fault: { code: "IMAGE_NOT_FOUND", message: "" } },
  ],
  "a start fails without an image": ["PENDING_START", { image: { state: "DELETED" } }, { kind: "failStart" }],
  "a start is deployed": ["STARTING", {}, { kind: "deploy" }],
  "a start is given up for a newer definition": ["STARTING", { image: { state: "VALIDATING" } }, { kind: "move", event: "redefined" }],
  "what runs is observed first": ["STARTED", {}, { kind: "observe" }],
  "what runs stays": ["STARTED", { observed: RUNNING }, { kind: "settle" }],
  "what runs is stopped when it was idle for long enough": [
    "STARTED",
    { row: { config: { ...CONFIG, shutdownTimeoutMinutes: 0.001 } }, observed: RUNNING },
    { kind: "move", event: "idled" },
  ],
  "an open request is use": [
    "STARTED",
    { row: { config: { ...CONFIG, shutdownTimeoutMinutes: 0.001 } }, observed: RUNNING, usage: { open: 1 } },
    { kind: "settle" },
  ],
  "what ended is lost": ["STARTED", { observed: ENDED }, { kind: "markLost" }],
  "what is gone is lost": ["STARTED", { observed: "none" }, { kind: "markLost" }],
  "what another program paused is checked": ["STARTED", { observed: PAUSED }, { kind: "suspectAddress" }],
  "what has lost one of its addresses stays in use at the other": [
    "STARTED",
    { row: { addresses: [address, other] }, observed: { addresses: [other] } },
    { kind: "updateAddresses" },
  ],
  "what has one more address stays in use at the first": [
    "STARTED",
    { row: { addresses: [address] }, observed: { addresses: [other, address] } },
    { kind: "updateAddresses" },
  ],
  "the order of several addresses means nothing": [
    "STARTED",
    { row: { addresses: [address, other] }, observed: { addresses: [other, address, other] } },
    { kind: "settle" },
  ],
  "what another instance has at all its addresses is checked": [
    "STARTED",
    { row: { addresses: [address, other].map((one) => ({ ...one, instance: "one" })) }, observed: { instance: "two", addresses: [address, other] } },
    { kind: "suspectAddress" },
  ],
  "what is at another address is checked": [
    "STARTED",
    { row: { addresses: [address] }, observed: { addresses: [{ host: "10.0.0.2", port: 80 }] } },
    { kind: "suspectAddress" },
  ],
  "an older definition is replaced": [
    "STARTED",
    { row: { generation: 7 }, observed: { labels: { store: "", environment: "", container: "", generation: 6 } } },
    { kind: "move", event: "redefined" },
  ],
  "an older definition goes on while the newer one has no image": [
    "STARTED",
    { row: { generation: 7 }, image: { state: "ERROR" }, observed: { labels: { store: "", environment: "", container: "", generation: 6 } } },
    { kind: "settle" },
  ],
  "a suspect address is verified": ["CHECKING", { observed: RUNNING }, { kind: "verifyAddress" }],
  "a suspect address of an older definition is confirmed without a deploy": [
    "CHECKING",
    { row: { generation: 7 }, image: { state: "ERROR" }, observed: { labels: { store: "", environment: "", container: "", generation: 6 } } },
    { kind: "confirmAddress" },
  ],
  "a suspect address without a container is a loss": ["CHECKING", { observed: "none" }, { kind: "markLost" }],
  "a stop waits for open requests": [
    "PENDING_USER_STOP",
    { row: { runningGeneration: 1, since: NOW }, usage: { drained: false } },
    { kind: "drain", ms: LIMITS.userDrainMs },
  ],
  "a stop begins when nothing is open": ["PENDING_USER_STOP", { row: { runningGeneration: 1 } }, { kind: "move", event: "stopBegan" }],
  "an idle stop is undone by a request": [
    "PENDING_SYSTEM_STOP",
    { row: { desiredInstances: 0, stopFor: "system", addresses: [address] }, usage: { reached: true } },
    { kind: "move", event: "usedAfterAll" },
  ],
  "a stop is executed": ["STOPPING", {}, { kind: "stop" }],
  "what is stopped and desired to run starts": ["SYSTEM_STOPPED", { row: { desiredInstances: 1 } }, { kind: "move", event: "startWished" }],
  "what is stopped stays so": ["USER_STOPPED", { observed: "none" }, { kind: "settle" }],
  "what is stopped and runs is stopped again": ["USER_STOPPED", { observed: RUNNING }, { kind: "move", event: "foundRunning" }],
  "what is paused for no reason is ended": ["USER_STOPPED", { observed: PAUSED }, { kind: "endPaused" }],
  "what is paused may stay so for a while": ["SYSTEM_STOPPED", { row: { pausedOn: NOW - 1 }, observed: PAUSED }, { kind: "settle" }],
  "a failed stop is tried again": ["ERROR", { row: { desiredInstances: 0 } }, { kind: "move", event: "stopWished" }],
  "an error ends when the container runs": ["ERROR", { observed: RUNNING }, { kind: "recover" }],
  "an error of an on-demand container waits for a request": ["ERROR", { observed: "none" }, { kind: "settle" }],
  "an error of the engine is retried": [
    "ERROR",
    { row: { config: { ...CONFIG, onDemand: false }, fault: { code: "ENGINE_UNREACHABLE", message: "" } }, observed: "none" },
    { kind: "move", event: "startWished" },
  ],
};

t.test("each situation has one action, and moves go along the table", async (t) => {
  for (const [name, [state, options, expected]] of Object.entries(CASES)) {
    const action = decide(situationOf(state, options), LIMITS);
    t.match(action, expected, name);
    if (action.kind === "move") t.ok(nextState(CONTAINER_TABLE, state, action.event), `${name}: the state allows ${action.event}`);
  }
});

t.test("every state has a case", async (t) => {
  const tested = new Set(Object.values(CASES).map(([state]) => state));
  t.same([...tested].toSorted(), Object.keys(CONTAINER_TABLE).toSorted());
});

const MINUTE = 60_000;
const at = (iso: string) => Date.parse(iso);
const shown = (moment: number | undefined) => moment && new Date(moment).toISOString().slice(0, 16);

t.test("hours begin and end as clocks on the wall have it, over midnight, a weekend and a change of the clocks", async (t) => {
  for (const [lines, now, ends, next] of [
    // 2023-11-14 is a Tuesday.
    [["Mon-Fri 08:00-18:00"], "2023-11-14T07:59:59Z", undefined, "2023-11-14T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-14T08:00:00Z", "2023-11-14T18:00", "2023-11-15T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-14T17:59:59Z", "2023-11-14T18:00", "2023-11-15T08:00"],
    [["Mon-Fri 08:00-18:00"], "2023-11-17T18:00:00Z", undefined, "2023-11-20T08:00"],
    [["mon-fri 08:00-18:00 Europe/Berlin"], "2023-11-14T07:00:00Z", "2023-11-14T17:00", "2023-11-15T07:00"],
    [["Sat,Sun 22:00-02:00"], "2023-11-20T01:00:00Z", "2023-11-20T02:00", "2023-11-25T22:00"],
    [["Fri-Mon 00:00-24:00"], "2023-11-19T12:00:00Z", "2023-11-20T00:00", "2023-11-20T00:00"],
    [["Mon 08:00-10:00", "Mon 09:00-12:00"], "2023-11-20T09:30:00Z", "2023-11-20T12:00", "2023-11-27T08:00"],
    // On 2024-03-31 the clocks of Berlin go from 2:00 to 3:00.
    [["Sun 08:00-18:00 Europe/Berlin"], "2024-03-31T00:00:00Z", undefined, "2024-03-31T06:00"],
    [["Sun 00:00-18:00 Europe/Berlin"], "2024-03-31T00:00:00Z", "2024-03-31T16:00", "2024-04-06T22:00"],
    [["Sun 00:00-18:00 Europe/Berlin"], "2024-10-27T00:30:00Z", "2024-10-27T17:00", "2024-11-02T23:00"],
  ] as const) {
    t.equal(shown(warmUntil(lines, at(now))), ends, `${lines.join()} at ${now}: until`);
    t.equal(shown(nextWarm(lines, at(now))), next, `${lines.join()} at ${now}: next`);
  }
});

// Time stands still at 22:13:20 on a Tuesday.
const HOURS = ["Tue 22:15-22:45"];

async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 5_000) await stand.clock.advance(Math.min(left, 5_000));
}

t.test("it is started when its hours come, stays awake within them, and sleeps after them", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1, keepWarm: HOURS } });
  await eventually("its image is there", () => stand.image(stand.row(id).imageId).state === "READY");
  const begins = at("2023-11-14T22:15:00Z");
  t.match((await stand.lifecycle().explain(id, new AbortController().signal)).timers, [{ kind: "warmHours", at: begins }]);
  await pass(stand, MINUTE);
  t.equal(stand.row(id).state, "SYSTEM_STOPPED");
  await stand.restart();
  await pass(stand, MINUTE);
  t.match(await stand.reaches(id, "STARTED"), { requestedFor: "keepWarm", desiredInstances: 1 });
  await pass(stand, 20 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
  t.match((await stand.lifecycle().explain(id, new AbortController().signal)).awake, [{ kind: "warmHours" }]);
  await pass(stand, 11 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.match(await stand.store().wakes.of(id), [{ startReason: "keepWarm", byUser: undefined, outcome: "answered" }]);
});

t.test("a user's stop counts for more than its hours, until a request wakes it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true, keepWarm: HOURS } });
  await pass(stand, 2 * MINUTE);
  await stand.reaches(id, "STARTED");
  await stand.stop(id);
  await pass(stand, 5 * MINUTE);
  t.equal(stand.row(id).state, "USER_STOPPED");
  await stand.wake(id);
});

t.test("one that crashes within its hours is started again, more and more slowly", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config: { onDemand: true, keepWarm: HOURS } });
  await pass(stand, 2 * MINUTE);
  await stand.reaches(id, "STARTED");
  for (let seconds = 0; seconds < 60; seconds++) {
    await stand.world.kill(service);
    await stand.clock.advance(1_000);
  }
  const deploys = stand.world.callCount(`deploy ${service}`);
  t.ok(deploys >= 4 && deploys <= 10, `${deploys} starts in a minute`);
  await pass(stand, 2 * MINUTE);
  t.equal(stand.row(id).state, "STARTED");
});
