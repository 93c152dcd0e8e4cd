import t from "tap";
import { createHold } from "../../../gateway/containers/hold.ts";
import { createLeases } from "../../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../../gateway/containers/open-exchanges.ts";
import type { Caller, ContainerView } from "../../../gateway/contract.ts";
import type { Fault } from "../../../lib/fault.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { openTestDirectory } from "../../fixtures/directory.ts";

const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
const OTHER = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d12";
const CALLER: Caller = { token: "token", userId: "u", login: "ada", admin: false };
const at = (port: number) => ({ kind: "awake", addresses: [{ host: "127.0.0.1", port }] }) as const;

for (const isCounted of [true, false]) {
  t.test(`a target is that of the current view, ${isCounted ? "which the count of changes shows" : "which is looked up"}`, async (t) => {
    const { directory: counting, set, remove } = openTestDirectory();
    const { changes: _, ...looking } = counting;
    const directory = isCounted ? counting : looking;
    const clock = createStillClock();
    const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
    const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 0, holdMs: 1_000 });
    const open = (until: number | undefined) => {
      const view = directory.cached(ID, CALLER) as ContainerView;
      return leases.open({ view, caller: CALLER, kind: "http", isProbe: false, until, request: { signal: new AbortController().signal } });
    };
    for (const until of [undefined, clock.monotonic() + 1_000]) {
      set(ID, at(1));
      const lease = open(until);
      t.match(lease.target(), { port: 1 });
      set(OTHER, at(9));
      t.match(lease.target(), { port: 1 }, "another container does not matter");
      set(ID, at(2));
      t.match(lease.target(), { port: 2 });
      remove(ID);
      t.match(lease.target(), { port: 1 }, "a container that is not cached keeps the view of the decision");
      lease.release();
    }
  });
}

t.test("a container with a limit gets no more requests at once, and a free place goes to the user who has the fewest", async (t) => {
  const { directory, set } = openTestDirectory();
  const clock = createStillClock();
  const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
  const exchanges = createOpenExchanges();
  const leases = createLeases({ directory, hold, exchanges, clock, suspectAddressMs: 0, holdMs: 1_000 });
  set(ID, at(1));
  const open = (userId: string, kind: "http" | "tcp" = "http") => {
    const view = { ...(directory.cached(ID, CALLER) as ContainerView), maxConcurrency: 2 };
    const lease = leases.open({
      view,
      caller: { ...CALLER, userId },
      kind,
      isProbe: false,
      until: undefined,
      request: { signal: new AbortController().signal },
    });
    const state = { lease, has: false, fault: undefined as unknown };
    void Promise.resolve(lease.target()).then(
      () => (state.has = true),
      (error: unknown) => (state.fault = error),
    );
    return state;
  };
  const greedy = Array.from({ length: 4 }, () => open("mallory"));
  const other = open("ada");
  await turns();
  t.same(
    [...greedy, other].map(({ has }) => has),
    [true, true, false, false, false],
  );
  t.same(
    exchanges.at(ID).open.map(({ state }) => state),
    ["streaming", "streaming", "held", "held", "held"],
  );
  const tcp = open("ada", "tcp");
  await turns();
  t.ok(tcp.has, "TCP connections have no limit");
  tcp.lease.release();
  greedy[0]?.lease.release();
  await turns();
  t.same(
    [...greedy, other].map(({ has }) => has),
    [true, true, false, false, true],
    "who came last has none yet",
  );
  greedy[2]?.lease.release();
  greedy[1]?.lease.release();
  await turns();
  t.same(
    [...greedy, other].map(({ has }) => has),
    [true, true, false, true, true],
    "who left does not take the place",
  );
  const both = [open("ada"), open("ada")];
  await turns();
  other.lease.release();
  both[0]?.lease.release();
  await turns();
  t.ok(both[1]?.has, "nor does one that leaves at the moment in which it gets the place");
  const late = open("eve");
  await clock.advance(1_000);
  t.match(late.fault, { code: "CONTAINER_BUSY", message: /takes 2 requests at once, and none of them ended within 1 s/ });
  const crowd = Array.from({ length: 501 }, () => open("mallory"));
  await turns();
  t.same(
    crowd.filter(({ fault }) => fault !== undefined).map(({ fault }) => (fault as Fault).code),
    ["CONTAINER_BUSY"],
    "and of one user only so many wait",
  );
  t.match(crowd[500]?.fault, { message: /500 requests of yours already wait/, retryAfterMs: 1_000 });
});

t.test("a raised limit serves those who wait already", async (t) => {
  const { directory, set } = openTestDirectory();
  const clock = createStillClock();
  const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
  const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 0, holdMs: 1_000 });
  set(ID, at(1));
  let entered = 0;
  const open = (limit: object) => {
    const view = { ...(directory.cached(ID, CALLER) as ContainerView), ...limit };
    const request = { signal: new AbortController().signal };
    const lease = leases.open({ view, caller: CALLER, kind: "http", isProbe: false, until: undefined, request });
    void Promise.resolve(lease.target()).then(() => entered++);
    return lease;
  };
  for (let request = 0; request < 4; request++) open({ maxConcurrency: 1 });
  await turns();
  t.equal(entered, 1);
  open({ maxConcurrency: 3 });
  await turns();
  t.equal(entered, 3, "the first of those who wait, not the one who came last");
  open({});
  await turns();
  t.equal(entered, 6, "without a limit none waits");
});

t.test("while several users send requests, one place stays free for another user, and after that none does", async (t) => {
  const { directory, set } = openTestDirectory();
  const clock = createStillClock();
  const hold = createHold({ directory, clock, limit: 10, timeoutMs: 60_000, ofUser: { ofContainer: 10, ofAll: 10 } });
  const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 0, holdMs: 60_000 });
  set(ID, at(1));
  const open = (userId: string) => {
    const view = { ...(directory.cached(ID, CALLER) as ContainerView), maxConcurrency: 3 };
    const request = { signal: new AbortController().signal };
    const lease = leases.open({ view, caller: { ...CALLER, userId }, kind: "http", isProbe: false, until: undefined, request });
    const state = { lease, has: false };
    void Promise.resolve(lease.target()).then(() => (state.has = true));
    return state;
  };
  open("ada").lease.release();
  const greedy = Array.from({ length: 3 }, () => open("mallory"));
  await turns();
  t.same(
    greedy.map(({ has }) => has),
    [true, true, false],
  );
  const other = open("ada");
  await turns();
  t.ok(other.has, "at once");
  other.lease.release();
  await clock.advance(11_000);
  const late = open("mallory");
  await turns();
  t.ok(greedy[2]?.has, "alone again, a user gets all places, in the order of the requests");
  t.notOk(late.has);
});
