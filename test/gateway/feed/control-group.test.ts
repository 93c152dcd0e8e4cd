import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import t, { type Test } from "tap";
import { createStandbyAnswer } from "../../../control/api/standby.ts";
import { createHold } from "../../../gateway/containers/hold.ts";
import { type Caller, type ContainerView, type FeedLine, viewOnWire } from "../../../gateway/contract.ts";
import { type ControlGroup, type ControlLink, openControlClient, remoteControl } from "../../../gateway/feed/control-client.ts";
import { controlGroup, NOT_LEADING, requestLeader } from "../../../gateway/feed/control-group.ts";
import { followLeader } from "../../../gateway/feed/follow-leader.ts";
import { openFeed } from "../../../gateway/feed/open-feed.ts";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { ADA } from "../../fixtures/directory.ts";
import { eventually, PATIENCE_MS } from "../../fixtures/eventually.ts";
import { ID } from "../stand.ts";

const NEVER = new AbortController().signal;
const CALLER: Caller = { ...ADA, token: "token" };
const ASLEEP: ContainerView = { id: ID, name: "demo", availability: { kind: "asleep" } };
const AWAKE: ContainerView = { id: ID, name: "demo", availability: { kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] } };

/** One control process on a port: a leader with an epoch, or a standby with the real answer of one. */
async function openMember(t: Test, { host = "127.0.0.1", port = 0 } = {}) {
  const sockets = new Set<Socket>();
  const feeds = new Set<ServerResponse>();
  let epoch: number | undefined;
  let leader: string | undefined;
  let problem: string | undefined;
  const asStandby = createStandbyAnswer(() => ({ url: leader, epoch: 0, problem }));
  const member = {
    port: 0,
    url: "",
    requests: 0,
    wakes: [] as string[],
    /** It ends the connections of wakes without an answer. */
    breaksWakes: false,
    lead: (next: number) => (epoch = next),
    /** Stops leading, and ends its feeds. */
    stepDown: (to?: string, why?: string) => {
      epoch = undefined;
      leader = to;
      problem = why;
      for (const feed of feeds) feed.destroy();
    },
    send: (line: FeedLine) => {
      for (const feed of feeds) feed.write(`${JSON.stringify(line)}\n`);
    },
    kill: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
  const server = createServer(async (request, response) => {
    member.requests++;
    if (epoch === undefined) return asStandby(request, response);
    if (request.url?.startsWith("/feed")) {
      feeds.add(response);
      response.once("close", () => feeds.delete(response));
      const lines: FeedLine[] = [
        // One that is alone has no epoch.
        { kind: "hello", gateway: `g${epoch}`, ...(epoch === 0 ? {} : { epoch }) },
        { kind: "all", containers: [viewOnWire(ASLEEP)], seq: 1 },
      ];
      response.writeHead(200);
      return lines.forEach((line) => response.write(`${JSON.stringify(line)}\n`));
    }
    let text = "";
    for await (const piece of request) text += String(piece);
    if (request.url === "/wake" && member.breaksWakes) return void request.socket.destroy();
    if (request.url === "/wake") member.wakes.push(JSON.parse(text).id);
    if (request.url === "/who") return response.end(JSON.stringify({ callers: [ADA] }));
    return response.writeHead(204).end();
  });
  server.on("connection", (socket) => sockets.add(socket.once("close", () => sockets.delete(socket))));
  await new Promise<void>((resolve) => void server.listen(port, host, resolve));
  member.port = (server.address() as AddressInfo).port;
  member.url = `http://${host}:${member.port}`;
  t.teardown(() => server.listening && member.kill());
  return member;
}

const linkTo = (port: number) => (address: string | undefined) =>
  remoteControl({ host: address ?? "127.0.0.1", port, secured: undefined, token: () => "x" });
const groupOf = (...ports: number[]) =>
  controlGroup(
    ports.map((port) => ({ name: undefined, linkTo: linkTo(port) })),
    systemClock(),
  );

function follow(t: Test, link: ControlLink) {
  const feed = openFeed({ link, version: "1.2.3", clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  t.teardown(() => feed.close());
  return feed;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "no fault",
    (fault: Fault) => fault.code,
  );

t.test("a gateway passes over standbys to the leader that they name", async (t) => {
  const [first, second, third] = [await openMember(t), await openMember(t), await openMember(t)];
  third.lead(1);
  first.stepDown(third.url);
  const feed = follow(t, groupOf(first.port, second.port, third.port));
  await feed.ready();
  t.ok(feed.status()?.connected);
  t.equal(second.requests, 0, "the standby named the leader");
  await feed.directory.wake(ID, CALLER, NEVER);
  t.same(third.wakes, [ID]);
});

t.test("a leader that no list has is found by trying each", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  second.lead(1);
  first.stepDown("https://berth.internal:8443");
  const feed = follow(t, groupOf(first.port, second.port));
  await feed.ready();
});

t.test("a wake, an unknown caller and an API request wait through a failover", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  const link = groupOf(first.port, second.port);
  const feed = follow(t, link);
  await feed.ready();
  await first.kill();
  await eventually("the feed to be lost", () => feed.status()?.connected === false);
  const woken = feed.directory.wake(ID, CALLER, NEVER);
  const caller = feed.identity.find("another", NEVER);
  const target = Promise.resolve(link.api.leader?.());
  t.ok(feed.directory.cached(ID, CALLER), "what is known stays");
  await eventually("the standby to be tried", () => second.requests > 2);
  t.equal(second.wakes.length, 0);
  second.lead(2);
  await woken;
  t.same(second.wakes, [ID]);
  t.match(await caller, { login: ADA.login });
  t.match(await target, { port: second.port });
});

t.test("a held request waits while none leads, and its time limit names the reason", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  const feed = follow(t, groupOf(first.port, second.port));
  await feed.ready();
  first.stepDown();
  await eventually("the feed to be lost", () => feed.status()?.connected === false);
  const clock = systemClock();
  const ofUser = { ofContainer: 10, ofAll: 10 };
  const hold = createHold({ directory: feed.directory, clock, limit: 10, timeoutMs: 3_000, ofUser });
  const wait = (ms: number) => hold.wait({ view: ASLEEP, caller: CALLER, until: clock.monotonic() + ms, signal: NEVER });
  const long = wait(60_000);
  const fault: Fault = await wait(3_000).then(
    () => t.fail("it was not released"),
    (error) => error,
  );
  t.match([fault.code, fault.message], ["HOLD_TIMED_OUT", /No control process leads at the moment/]);
  second.lead(2);
  await eventually("the wake to arrive", () => second.wakes.length > 0);
  second.send({ kind: "changed", container: viewOnWire(AWAKE), seq: 2 });
  t.match(await long, { addresses: [{ port: 1 }], held: true });
});

t.test("the reason that a standby reports counts more than one that refuses connections", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  const link = groupOf(first.port, second.port);
  const feed = follow(t, link);
  await feed.ready();
  await second.kill();
  first.stepDown(undefined, "The database berth cannot be used");
  await eventually("the feed to be lost", () => feed.status()?.connected === false);
  const reason = () =>
    link.group?.leader(5).then(
      () => "one leads",
      (fault: Fault) => fault.message,
    );
  await eventually("the reason to be known", async () => /The database berth/.test(String(await reason())));
  const before = first.requests;
  while (first.requests < before + 4)
    t.match(await reason(), /No control process leads at the moment \(127\.0\.0\.1:\d+: The database berth cannot be used\)/);
  first.lead(2);
  await eventually("one to lead", () => feed.status()?.connected);
});

t.test("a held request waits on while a leader takes no wakes, for longer than one wake waits", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  first.breaksWakes = true;
  const feed = follow(t, groupOf(first.port, second.port));
  await feed.ready();
  t.equal(await codeOf(feed.directory.wake(ID, CALLER, NEVER)), "CONTROL_NO_LEADER", "its waiters wait on");
});

t.test("a leader that was deposed is not believed", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  second.lead(7);
  const feed = follow(t, groupOf(second.port, first.port));
  await feed.ready();
  second.send({ kind: "changed", container: viewOnWire(AWAKE), seq: 2 });
  await eventually("the change", () => feed.directory.cached(ID, CALLER)?.availability.kind === "awake");
  first.lead(6);
  await second.kill();
  await eventually("the old leader to be tried often", () => first.requests > 3);
  t.equal(feed.status()?.connected, false);
  t.equal(feed.directory.cached(ID, CALLER)?.availability.kind, "awake", "its list is not taken");
  first.stepDown();
  first.lead(8);
  await eventually("it leads again", () => feed.status()?.connected === true);
  t.equal(feed.directory.cached(ID, CALLER)?.availability.kind, "asleep");
});

t.test("a name with several addresses is several control processes", async (t) => {
  const first = await openMember(t, { host: "127.0.0.1" });
  const second = await openMember(t, { host: "127.0.0.2", port: first.port });
  second.lead(1);
  const resolve = async () => ["127.0.0.1", "127.0.0.2"];
  const link = controlGroup([{ name: "berth.internal", linkTo: linkTo(first.port) }], systemClock(), resolve);
  const feed = follow(t, link);
  await feed.ready();
  second.stepDown();
  first.lead(2);
  const woken = feed.directory.wake(ID, CALLER, NEVER);
  await woken;
  t.same([...first.wakes, ...second.wakes], [ID]);
});

t.test("a process without containers follows the leader, and what it sends waits through a failover", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  const link = groupOf(first.port, second.port);
  const follower = followLeader({ link, clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  t.teardown(follower.close);
  await link.group?.leader(PATIENCE_MS);
  const { target } = link.api;
  await first.kill();
  const refused = Promise.resolve(link.api.leader?.(target));
  const control = openControlClient({ link, clock: systemClock() });
  t.teardown(control.close);
  const isFailover = ({ code }: Fault) => NOT_LEADING.has(code);
  const sent = requestLeader({ group: link.group, clock: systemClock() }, { longestMs: PATIENCE_MS, isFailover }, () =>
    control.post("/wake", { id: ID }, NEVER),
  );
  await eventually("the standby to be tried", () => second.requests > 2);
  second.lead(2);
  t.match(await refused, { port: second.port });
  await sent;
  t.same(second.wakes, [ID]);
});

t.test("an API request whose client has left waits for no leader", async (t) => {
  const [first, second] = [await openMember(t), await openMember(t)];
  first.lead(1);
  const clock = createStillClock();
  const links = [first, second].map(({ port }) => remoteControl({ host: "127.0.0.1", port, secured: undefined, token: () => "t" }));
  const link = controlGroup(
    links.map((one) => ({ name: undefined, linkTo: () => one })),
    clock,
  );
  const left = new Fault("INTERNAL", "The client has left.");
  const wait = (lost?: ControlLink["api"]["target"]) => {
    const client = new AbortController();
    return { client, target: Promise.resolve(link.api.leader?.(lost, client)) };
  };
  for (const isConnected of [false, true]) {
    if (isConnected) link.group?.connected(1);
    const { client, target } = wait(isConnected ? link.api.target : undefined);
    // Its reason is the one of the request, not that none leads.
    const rejected = t.rejects(target, left);
    if (isConnected) link.group?.disconnected("it ended");
    client.abort(left);
    await rejected;
  }
  t.equal(clock.pending(), 0, "nothing of it is left");
});

t.test("the leader at another of its addresses is the same one, and calls that it has go on", async (t) => {
  const links = [1, 2].map((port) => remoteControl({ host: "127.0.0.1", port, secured: undefined, token: () => "t" }));
  const link = controlGroup(
    links.map((one) => ({ name: undefined, linkTo: () => one })),
    systemClock(),
  );
  const leaders: (number | string | undefined)[] = [];
  link.api.watchLeader?.((leader) => void leaders.push("port" in leader ? leader.port : undefined));
  link.group?.connected(7);
  link.group?.disconnected("it is silent");
  link.group?.moveOn();
  link.group?.connected(7);
  t.same(leaders, [1]);
  link.group?.connected(8);
  t.same(leaders, [1, 2]);
});

t.test("the pause before a request is repeated ends when its sender gives up", async (t) => {
  const clock = createStillClock();
  const stop = new AbortController();
  const given = new Fault("INTERNAL", "The sender has ended.");
  const group: ControlGroup = { ...(groupOf(1, 2).group as ControlGroup), leader: async () => undefined };
  let sends = 0;
  const options = { longestMs: PATIENCE_MS, signal: stop.signal, isFailover: () => true };
  const sent = requestLeader({ group, clock }, options, async () => {
    sends++;
    throw new Fault("CONTROL_AWAY", "It is away.");
  });
  await eventually("the pause", () => clock.pending() === 1);
  stop.abort(given);
  await t.rejects(sent, given);
  t.same([sends, clock.pending()], [1, 0]);
});

t.test("one control process alone: a wake while it is away fails at once, as before", async (t) => {
  const only = await openMember(t);
  only.lead(1);
  const feed = follow(t, remoteControl({ host: "127.0.0.1", port: only.port, secured: undefined, token: () => "x" }));
  await feed.ready();
  await only.kill();
  t.equal(await codeOf(feed.directory.wake(ID, CALLER, NEVER)), "CONTROL_AWAY");
});

t.test("a single control process that is replaced within seconds: a wake waits for it", async (t) => {
  const only = await openMember(t);
  only.lead(0);
  const resolve = async () => ["127.0.0.1"];
  const feed = follow(t, controlGroup([{ name: "berth.internal", linkTo: linkTo(only.port) }], systemClock(), resolve, true));
  await feed.ready();
  await only.kill();
  const woken = feed.directory.wake(ID, CALLER, NEVER);
  const next = await openMember(t, { port: only.port });
  next.lead(0);
  await woken;
  t.same([only.wakes, next.wakes], [[], [ID]]);
});
