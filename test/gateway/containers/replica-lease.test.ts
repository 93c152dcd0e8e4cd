import t from "tap";
import { createHold } from "../../../gateway/containers/hold.ts";
import { createLeases } from "../../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../../gateway/containers/open-exchanges.ts";
import type { Caller, ContainerAddress, ContainerUse, ContainerView, LoadSource, OpenExchange } from "../../../gateway/contract.ts";
import type { ForwardTarget } from "../../../gateway/decision.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { openTestDirectory } from "../../fixtures/directory.ts";

const ID = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11";
const CALLER: Caller = { token: "token", userId: "u", login: "ada", admin: false };

/** Replica `number` at the port 8000 + `number`, or another one. */
const replica = (number: number, port = 8000 + number): ContainerAddress => ({
  host: "127.0.0.1",
  port,
  replica: number,
  ...(number === 1 ? {} : { owner: `row-${number}` }),
});

type ReplicatedUse = ContainerUse & { load: LoadSource };

type OpenRequest = { preferred?: number; kind?: OpenExchange["kind"] };

function openReplicaFixture() {
  const { directory, publish, reports, wakes, watchers } = openTestDirectory();
  const clock = createStillClock();
  const hold = createHold({ directory, clock, limit: 10, timeoutMs: 60_000, ofUser: { ofContainer: 10, ofAll: 10 } });
  const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 1_000, holdMs: 60_000 });
  return {
    clock,
    wakes,
    watchers: () => watchers(ID),
    /** `more`: further members of the view. */
    serve: (addresses: readonly ContainerAddress[], more: Partial<ContainerView> = {}) =>
      publish({ id: ID, name: "demo", availability: { kind: "awake", addresses }, replicas: {}, ...more }),
    sleep: (more: Partial<ContainerView> = {}) => publish({ id: ID, name: "demo", availability: { kind: "asleep" }, replicas: {}, ...more }),
    open: ({ preferred, kind = "http" }: OpenRequest = {}) => {
      const view = directory.cached(ID, CALLER) as ContainerView;
      const request = { signal: new AbortController().signal };
      const lease = leases.open({ view, caller: CALLER, kind, replica: preferred, isProbe: false, until: undefined, request });
      const exchange = { lease, target: undefined as ForwardTarget | undefined, stopReasons: [] as string[] };
      lease.setHolder?.({ revoke: () => undefined, onContainerStop: (reason) => void exchange.stopReasons.push(reason) });
      void Promise.resolve(lease.target()).then((target) => (exchange.target = target));
      return exchange;
    },
    /** The last report of a replica's use. */
    reported: (owner: string) => reports.findLast(({ id }) => id === owner),
  };
}

const replicasOf = (exchanges: readonly { lease: { replica: number | undefined } }[]) => exchanges.map(({ lease }) => lease.replica);

t.test("a request goes to the replica with the fewest open ones, and its use is reported with that replica", async (t) => {
  const { serve, open, reported, clock } = openReplicaFixture();
  serve([replica(1), replica(2)]);
  const requests = [open(), open(), open()];
  await turns();
  t.same(replicasOf(requests), [1, 2, 1]);
  t.match(requests[1]?.target, { port: 8002 });
  t.match(reported("row-2"), { open: 1, streams: 1 });
  requests[1]?.lease.release();
  t.match(reported("row-2"), { open: 0, streams: 0 });
  const socket = open({ kind: "websocket" });
  await turns();
  t.equal(socket.lease.replica, 2);
  t.match(reported("row-2"), { open: 0, streams: 1 }, "a WebSocket is a stream, and no open request");
  const { load } = reported(ID) as ReplicatedUse;
  load.take();
  await clock.advance(1_000);
  t.match(load.take(), { average: 3 });
  for (const { lease } of [...requests, socket]) lease.release();
  await clock.advance(1_000);
  t.match(load.take(), { average: 0 });
});

t.test("a replica that drains gets no new request, and its open ones count until they end", async (t) => {
  const { serve, open, reported } = openReplicaFixture();
  serve([replica(1), replica(2)]);
  const first = [open(), open()];
  await turns();
  serve([replica(1)]);
  const later = [open(), open(), open({ preferred: 2 })];
  await turns();
  t.same(replicasOf(later), [1, 1, 1]);
  t.match(reported("row-2"), { streams: 1 });
  for (const { lease } of first) lease.release();
  t.match(reported("row-2"), { streams: 0 });
});

t.test("a replica that refuses a connection is checked, and the request goes to another one", async (t) => {
  const { serve, open, reported, wakes } = openReplicaFixture();
  serve([replica(1), replica(2)]);
  const request = open({ preferred: 2 });
  await turns();
  const next = await request.lease.replaceTarget(request.target as ForwardTarget);
  t.match(next, { port: 8001 });
  t.same(wakes, ["row-2"]);
  t.equal(request.lease.replica, 1);
  t.match(reported("row-2"), { open: 0, streams: 0 });
});

t.test("a browser whose replica has no place for a request goes to another one", async (t) => {
  const { serve, open } = openReplicaFixture();
  const all = [1, 2, 3, 4].map((number) => replica(number));
  serve(all, { maxConcurrency: 4, replicas: { affinity: "cookie" } });
  const browser = [1, 2, 3, 4].map(() => open({ preferred: 2 }));
  await turns();
  t.same(new Set(replicasOf(browser)), new Set([1, 2, 3, 4]));
  t.equal(browser[0]?.lease.replica, 2);
  for (const { lease } of browser) lease.release();
  serve(all, { maxConcurrency: 8, replicas: { affinity: "cookie" } });
  const pair = [1, 2, 3].map(() => open({ preferred: 2 }));
  await turns();
  t.same(replicasOf(pair).slice(0, 2), [2, 2], "each has two places");
  t.not(pair[2]?.lease.replica, 2);
});

t.test("requests that wait for a place use new replicas, although no other request comes", async (t) => {
  const { serve, open, watchers } = openReplicaFixture();
  serve([replica(1)], { maxConcurrency: 1 });
  const batch = [1, 2, 3, 4].map(() => open());
  await turns();
  t.same(replicasOf(batch), [1, undefined, undefined, undefined]);
  serve([replica(1), replica(2), replica(3)], { maxConcurrency: 3 });
  await turns();
  t.same(new Set(replicasOf(batch).slice(0, 3)), new Set([1, 2, 3]));
  t.equal(batch[3]?.lease.replica, undefined);
  t.equal(watchers(), 1, "while one waits");
  batch[0]?.lease.release();
  await turns();
  t.equal(batch[3]?.lease.replica, 1);
  t.equal(watchers(), 0);
});

t.test("a batch that wakes its container is distributed over all replicas that start", async (t) => {
  const { serve, sleep, open } = openReplicaFixture();
  sleep({ maxConcurrency: 1 });
  const batch = [1, 2, 3].map(() => open());
  await turns();
  serve([replica(1)], { maxConcurrency: 1 });
  await turns();
  t.same(replicasOf(batch), [1, undefined, undefined]);
  serve([replica(1), replica(2), replica(3)], { maxConcurrency: 3 });
  await turns();
  t.same(new Set(replicasOf(batch)), new Set([1, 2, 3]));
});

t.test("a replica at a new address has one use, while an exchange is open at its old one", async (t) => {
  const { serve, open, reported } = openReplicaFixture();
  serve([replica(2)]);
  const before = open();
  await turns();
  serve([replica(2, 9002)]);
  const after = [open(), open()];
  await turns();
  t.match(reported("row-2"), { open: 3, streams: 3 });
  before.lease.release();
  t.match(reported("row-2"), { open: 2, streams: 2 });
  for (const { lease } of after) lease.release();
  t.match(reported("row-2"), { open: 0, streams: 0 });
});

t.test("the WebSockets of a replica that stops get its reason, and those of the others go on", async (t) => {
  const { serve, sleep, open, watchers } = openReplicaFixture();
  serve([replica(1), replica(2), replica(3)]);
  const sockets = [1, 2, 3].map(() => open({ kind: "websocket" }));
  const request = open({ preferred: 2 });
  await turns();
  for (const { lease } of sockets) lease.settle?.();
  t.same(replicasOf(sockets), [1, 2, 3]);
  serve([replica(1), replica(2)]);
  t.same(sockets[2]?.stopReasons, [], "one that is checked is not about to stop");
  serve([replica(1), replica(3)], { replicas: { stopping: [{ replica: 2, reason: "fewer" }] } });
  t.same(
    sockets.map(({ stopReasons }) => stopReasons),
    [[], ["fewer"], []],
  );
  t.same(request.stopReasons, [], "a request may end");
  serve([replica(1), replica(2), replica(3)]);
  const late = open({ kind: "websocket", preferred: 2 });
  await turns();
  serve([replica(1), replica(3)], { replicas: { stopping: [{ replica: 2, reason: "fewer" }] } });
  late.lease.settle?.();
  t.same(late.stopReasons, ["fewer"], "also one that connects meanwhile");
  sleep({ stopReason: "idle" });
  t.same(sockets[0]?.stopReasons, ["idle"], "all of a container that stops");
  for (const { lease } of [...sockets, late, request]) lease.release();
  t.equal(watchers(), 0, "none is left that would need the reason");
});

t.test("a request that its replica refuses, and that waits then, is no stream of that replica", async (t) => {
  const { serve, sleep, open, reported, clock } = openReplicaFixture();
  serve([replica(1), replica(2)]);
  const request = open({ preferred: 2 });
  await turns();
  t.match(reported("row-2"), { open: 1, streams: 1 });
  sleep();
  const waiting = request.lease.replaceTarget(request.target as ForwardTarget);
  await turns();
  t.match(reported("row-2"), { open: 0, streams: 0 });
  serve([replica(2)]);
  t.match(await waiting, { port: 8002 });
  t.match(reported("row-2"), { open: 1, streams: 1 });
  request.lease.release();
  t.match(reported("row-2"), { open: 0, streams: 0 });
  await clock.advance(1_000);
});

t.test("a request that ends at the moment in which its container wakes is at no replica", async (t) => {
  const { serve, sleep, open, reported } = openReplicaFixture();
  sleep();
  const requests = [open(), open()];
  await turns();
  serve([replica(1), replica(2)]);
  for (const { lease } of requests) lease.release();
  await turns();
  t.same([replicasOf(requests), reported("row-2")], [[undefined, undefined], undefined]);
});

t.test("a request that is over neither wakes its container nor waits for it", async (t) => {
  const { serve, sleep, open, wakes, watchers } = openReplicaFixture();
  serve([replica(1), replica(2)]);
  const request = open();
  await turns();
  sleep();
  request.lease.release();
  await t.rejects(request.lease.replaceTarget(request.target as ForwardTarget), { message: "The exchange is over" });
  t.same(wakes, []);
  t.equal(watchers(), 0);
});
