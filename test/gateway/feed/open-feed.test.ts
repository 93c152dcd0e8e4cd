import { rm } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import type { Fault } from "../../../lib/fault.ts";
import {
  type ContainerView,
  type Availability,
  type Caller,
  FEED_SILENCE_MS,
  type FeedLine,
  type OpenExchangesReply,
  type UseReport,
  type OpenExchangeList,
  type WakeRequest,
  WIRE_VERSION,
  viewOnWire,
} from "../../../gateway/contract.ts";
import { localControl } from "../../../gateway/feed/control-client.ts";
import { openFeed } from "../../../gateway/feed/open-feed.ts";
import { type Log, openLog } from "../../../lib/log.ts";
import { ADA } from "../../fixtures/directory.ts";
import { createStillClock, pause } from "../../fixtures/clock.ts";
import { ID, shortFolder } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const linkTo = (feedSocket: string) => localControl({ feedSocket, apiSocket: "/nowhere" });
const NEVER = new AbortController().signal;
const CALLER: Caller = { ...ADA, token: "token" };
const view = (availability: Availability): ContainerView => ({ id: ID, name: "demo", availability });
const COMING = view({ kind: "coming" });
const ASLEEP = view({ kind: "asleep" });

type Control = {
  feeds: ServerResponse[];
  /** The requests to the feed. */
  requests: string[];
  say(...lines: FeedLine[]): void;
  wakes: WakeRequest[];
  reports: UseReport[];
  opened: OpenExchangesReply[];
  questions: string[];
  /** Answers `/who` only when called. */
  answerWho: (() => void)[] | undefined;
  /** Answers `/wake` only when called. */
  answerWake: (() => void)[] | undefined;
  /** Accepts requests for the feed, and sends nothing. */
  deaf: boolean;
  close(): Promise<void>;
};

/** Control's side of the wire, as small as it can be. */
async function openControl(
  t: Test,
  socketPath: string,
  greeting: FeedLine[] = [
    { kind: "hello", gateway: "g" },
    { kind: "all", containers: [viewOnWire(ASLEEP)], seq: 7 },
  ],
): Promise<Control> {
  const sockets = new Set<Socket>();
  const control: Control = {
    feeds: [],
    requests: [],
    wakes: [],
    reports: [],
    opened: [],
    questions: [],
    answerWho: undefined,
    answerWake: undefined,
    deaf: false,
    say: (...lines) => {
      for (const line of lines) for (const feed of control.feeds) feed.write(`${JSON.stringify(line)}\n`);
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => void server.close(resolve));
      await rm(socketPath, { force: true });
    },
  };
  const server = createServer(async (request, response) => {
    if (request.url?.split("?")[0] === "/feed") {
      control.requests.push(request.url);
      if (control.deaf) return;
      control.feeds.push(response);
      response.writeHead(200);
      for (const line of greeting) response.write(`${JSON.stringify(line)}\n`);
      return;
    }
    let text = "";
    for await (const piece of request) text += String(piece);
    const query = JSON.parse(text);
    if (request.url === "/use") control.reports.push(query);
    else if (request.url === "/open") control.opened.push(query);
    else if (request.url === "/wake" && query.id === "refused") {
      response.writeHead(400);
      return response.end(JSON.stringify({ code: "CONTAINER_STOPPED", message: "no" }));
    } else if (request.url === "/wake") {
      control.wakes.push(query);
      await new Promise<void>((resolve) => (control.answerWake === undefined ? resolve() : void control.answerWake.push(resolve)));
    } else {
      control.questions.push(...query.tokens);
      await new Promise<void>((resolve) => (control.answerWho === undefined ? resolve() : void control.answerWho.push(resolve)));
      return response.end(JSON.stringify({ callers: query.tokens.map((token: string) => (token === "token" ? ADA : null)) }));
    }
    response.writeHead(204);
    return response.end();
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => void server.listen(socketPath, resolve));
  t.teardown(() => control.close());
  return control;
}

async function openBoth(t: Test, clock = systemClock(), openExchanges?: (id: string) => OpenExchangeList) {
  const socketPath = join(await shortFolder(t), "feed.sock");
  const control = await openControl(t, socketPath);
  const feed = openFeed({
    link: linkTo(socketPath),
    version: "1.2.3",
    ...(openExchanges && { openExchanges }),
    clock,
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => feed.close());
  return { socketPath, control, feed };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "no fault",
    (fault: Fault) => fault.code,
  );

t.test("before anything is known, control counts as away", async (t) => {
  const socketPath = join(await shortFolder(t), "feed.sock");
  const feed = openFeed({ link: linkTo(socketPath), version: "1.2.3", clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  t.teardown(() => feed.close());
  t.equal(await codeOf(feed.directory.find(ID, CALLER, NEVER)), "CONTROL_AWAY");
  t.equal(await codeOf(feed.directory.wake(ID, CALLER, NEVER)), "CONTROL_AWAY");
  t.equal(await codeOf(feed.identity.find("token", NEVER)), "CONTROL_AWAY");
  await openControl(t, socketPath);
  await feed.ready();
  t.match(await feed.directory.find(ID, CALLER, NEVER), ASLEEP, "and is found as soon as it is there");
});

t.test("watchers get changes, however their bytes are cut", async (t) => {
  const { control, feed } = await openBoth(t);
  await feed.ready();
  const names: (string | undefined)[] = [];
  const unwatch = feed.directory.watch(ID, (changed) => names.push(changed?.availability.kind));
  const bytes = Buffer.from(`${JSON.stringify({ kind: "changed", container: { ...viewOnWire(COMING), name: "dämö" }, seq: 8 })}\n`);
  for (const byte of bytes) control.feeds[0]?.write(Buffer.from([byte]));
  await eventually("the change", () => names.length === 1);
  t.equal((await feed.directory.find(ID, CALLER, NEVER))?.name, "dämö");
  control.say({ kind: "removed", id: ID, seq: 9 });
  await eventually("the removal", () => names.length === 2);
  t.same(names, ["coming", undefined]);
  t.equal(await feed.directory.find(ID, CALLER, NEVER), undefined);
  unwatch();
  control.say({ kind: "changed", container: viewOnWire(ASLEEP), seq: 10 }, { kind: "beat" });
  await eventually("it is known", () => control.reports.at(-1)?.seq === 10);
  t.equal(names.length, 2, "and to no other");
});

t.test("it answers a query for its open requests", async (t) => {
  const open = [{ kind: "http", login: "ada", since: 1, bytesIn: 2, bytesOut: 3, state: "held" }] as const;
  const { control, feed } = await openBoth(t, systemClock(), (id) => ({ count: id === ID ? 5 : 0, open: [...open] }));
  await feed.ready();
  control.say({ kind: "ask", ask: 3, id: ID });
  await eventually("the answer", () => control.opened.length === 1);
  t.same(control.opened, [{ gateway: "g", ask: 3, count: 5, open }]);
});

t.test("a wake reaches control, and its refusal comes back as it is", async (t) => {
  const { control, feed } = await openBoth(t);
  await feed.directory.wake(ID, CALLER, NEVER);
  t.same(control.wakes, [{ id: ID, userId: ADA.userId }], "without the token");
  t.equal(await codeOf(feed.directory.wake("refused", CALLER, NEVER)), "CONTAINER_STOPPED");
  const left = new AbortController();
  left.abort(new Error("left"));
  await t.rejects(feed.directory.wake(ID, CALLER, left.signal), { message: "left" });
});

t.test("a control that is there and slow is busy, not away; and a hundred wakes that wait for it keep no token waiting", async (t) => {
  const clock = createStillClock();
  const { control, feed } = await openBoth(t, clock);
  await feed.ready();
  control.answerWake = [];
  const wakes = Array.from({ length: 100 }, () => codeOf(feed.directory.wake(ID, CALLER, NEVER)));
  await eventually("as many are sent as may be", () => control.answerWake?.length === 4);
  t.equal((await feed.identity.find("token", NEVER))?.login, "ada");
  await clock.advance(3_000);
  control.say({ kind: "changed", container: viewOnWire(COMING), seq: 8 });
  await eventually("its event has arrived", () => feed.status()?.seq === 8);
  await clock.advance(2_000);
  t.same(new Set(await Promise.all(wakes)), new Set(["CONTROL_BUSY"]));
  control.answerWho = [];
  const who = feed.identity.find("another", NEVER);
  await eventually("it is sent", () => control.answerWho?.length === 1);
  control.say({ kind: "changed", container: viewOnWire(COMING), seq: 9 });
  await eventually("its event has arrived", () => feed.status()?.seq === 9);
  await clock.advance(5_000);
  await eventually("it is sent once more", () => control.answerWho?.length === 2);
  for (const answer of control.answerWho) answer();
  t.equal(await who, undefined, "late, and answered");
});

t.test("known containers are served while control is away, and missed changes arrive on return", async (t) => {
  const { socketPath, control, feed } = await openBoth(t);
  await feed.ready();
  t.ok(await feed.identity.find("token", NEVER));
  const names: (string | undefined)[] = [];
  feed.directory.watch(ID, (changed) => names.push(changed?.availability.kind));
  await control.close();
  await eventually("it is noticed", () => control.feeds[0]?.destroyed === true);
  t.match(await feed.directory.find(ID, CALLER, NEVER), ASLEEP);
  t.equal((await feed.identity.find("token", NEVER))?.login, "ada");
  t.equal(await codeOf(feed.directory.wake(ID, CALLER, NEVER)), "CONTROL_AWAY");
  t.equal(await codeOf(feed.identity.find("another", NEVER)), "CONTROL_AWAY");
  const back = await openControl(t, socketPath, [
    { kind: "hello", gateway: "g2" },
    { kind: "all", containers: [viewOnWire(COMING)], seq: 1 },
  ]);
  await eventually("what was missed", () => names.length > 0);
  t.same(names, ["coming"]);
  t.same(back.requests, ["/feed?was=g"], "under whose name it may still be known");
  await eventually("a report under the new name", () => back.reports.length > 0);
  t.match(back.reports[0], { gateway: "g2", seq: 1 });
  back.feeds[0]?.end();
  await eventually("it reconnects after an end as well", () => back.feeds.length === 2);
  await feed.directory.find(ID, CALLER, NEVER);
  t.same(names, ["coming"], "and nothing is sent twice");
});

t.test("what comes in several lines is known once the last is there, and a list that broke off is not taken for the whole", async (t) => {
  const socketPath = join(await shortFolder(t), "feed.sock");
  const other = { ...COMING, id: "another" };
  const [hello, first, last]: FeedLine[] = [
    { kind: "hello", gateway: "g" },
    { kind: "all", containers: [viewOnWire(ASLEEP)], seq: 7, more: true },
    { kind: "all", containers: [viewOnWire(other)], seq: 7 },
  ];
  const control = await openControl(t, socketPath, [hello, first] as FeedLine[]);
  const feed = openFeed({ link: linkTo(socketPath), version: "test", clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  t.teardown(() => feed.close());
  await eventually("it asks", () => control.feeds.length === 1);
  t.equal(await codeOf(feed.directory.find(ID, CALLER, NEVER)), "CONTROL_AWAY");
  control.feeds[0]?.end();
  await eventually("it asks again", () => control.feeds.length === 2);
  t.equal(await codeOf(feed.directory.find(ID, CALLER, NEVER)), "CONTROL_AWAY", "half of it is nothing");
  control.feeds[1]?.write(`${JSON.stringify(last)}\n`);
  await feed.ready();
  t.match([await feed.directory.find(ID, CALLER, NEVER), await feed.directory.find("another", CALLER, NEVER)], [ASLEEP, other]);
});

t.test("silence means that control is away, and the feed is opened anew", async (t) => {
  const clock = createStillClock();
  const { control, feed } = await openBoth(t, clock);
  await feed.ready();
  await clock.advance(FEED_SILENCE_MS - 1_000);
  control.say({ kind: "beat" });
  await pause(50);
  await clock.advance(FEED_SILENCE_MS - 1_000);
  t.equal(control.feeds.length, 1, "a beat is a sign of life");
  await clock.advance(1_100);
  await eventually("the old one is closed", () => control.feeds[0]?.destroyed === true);
  await clock.advance(100);
  await eventually("a new one", () => control.feeds.length === 2);
});

t.test("use is reported soon when a container falls out of use, else every second", async (t) => {
  const clock = createStillClock();
  const { control, feed } = await openBoth(t, clock);
  await feed.ready();
  await clock.advance(50);
  await eventually("the greeting is acknowledged", () => control.reports.length === 1);
  const use = (open: number, lastActive: number) => feed.directory.reportUse({ id: ID, open, streams: open, lastActive });
  for (let n = 1; n <= 10; n++) use(n, n);
  await clock.advance(999);
  t.equal(control.reports.length, 1, "busy is no news for a second");
  await clock.advance(1);
  await eventually("one report", () => control.reports.length === 2);
  t.same(control.reports[1], { gateway: "g", seq: 7, at: clock.now(), uses: [{ id: ID, open: 10, streams: 10, lastActive: 10 }] });
  await clock.advance(5_000);
  t.equal(control.reports.length, 2, "nothing changed");
  use(0, 11);
  await clock.advance(50);
  await eventually("idle is news", () => control.reports.length === 3);
  t.match(control.reports[2]?.uses, [{ open: 0, lastActive: 11 }]);
  control.say({ kind: "changed", container: viewOnWire(COMING), seq: 8 });
  await eventually("the change is there", () => clock.pending() > 1);
  await eventually("a change is acknowledged", () => (void clock.advance(50), control.reports.length === 4));
  t.match(control.reports[3], { gateway: "g", seq: 8, uses: { length: 0 } }, "and what is over is not reported again");
});

t.test("a report that control missed is made once it is back", async (t) => {
  const { socketPath, control, feed } = await openBoth(t);
  await feed.ready();
  await control.close();
  feed.directory.reportUse({ id: ID, open: 0, streams: 0, lastActive: 5 });
  await pause(150);
  const back = await openControl(t, socketPath);
  await eventually("it is reported", () => back.reports.some(({ uses }) => uses.some(({ lastActive }) => lastActive === 5)));
  t.pass("late, not lost");
});

t.test("a token is looked up once for any number of callers, and then remembered", async (t) => {
  const { control, feed } = await openBoth(t);
  await feed.ready();
  control.answerWho = [];
  const left = new AbortController();
  const first = feed.identity.find("token", left.signal);
  const others = Array.from({ length: 20 }, () => feed.identity.find("token", NEVER));
  await eventually("it is sent", () => control.answerWho?.length === 1);
  left.abort(new Error("left"));
  await t.rejects(first, { message: "left" });
  control.answerWho[0]?.();
  const callers = await Promise.all(others);
  t.same(callers[0], { ...ADA, token: "token" });
  t.ok(await feed.identity.find("token", NEVER));
  t.same(control.questions, ["token"]);
  control.answerWho = undefined;
  t.equal(await feed.identity.find("bad", NEVER), undefined);
  t.equal(await feed.identity.find("bad", NEVER), undefined);
  t.same(control.questions, ["token", "bad"], "an unknown token, too");
  await eventually("but only for two seconds", () => (void feed.identity.find("bad", NEVER), control.questions.length > 2));
  // Joins the question that is under way: left alone, it would fail when the feed is closed.
  await feed.identity.find("bad", NEVER);
});

t.test("a control plane that speaks another wire is refused, one of another version only remarked on", async (t) => {
  const snapshot = [{ kind: "all", containers: [viewOnWire(ASLEEP)], seq: 7 }] satisfies FeedLine[];
  for (const [hello, outcome, warnings] of [
    [{ wire: WIRE_VERSION, version: "1.2.3" }, "joined", 0],
    [{ wire: WIRE_VERSION, version: "9.9.9" }, "joined", 1],
    [{ wire: WIRE_VERSION + 1, version: "9.9.9" }, "GATEWAY_REFUSED", 0],
  ] as const) {
    const socketPath = join(await shortFolder(t), "feed.sock");
    await openControl(t, socketPath, [{ kind: "hello", gateway: "g", ...hello }, ...snapshot]);
    const warned: unknown[] = [];
    const silent = openLog({ level: "silent", name: "test" });
    const log: Log = { ...silent, info: () => undefined, warn: (...line: unknown[]) => void warned.push(line) };
    const feed = openFeed({ link: linkTo(socketPath), version: "1.2.3", clock: systemClock(), log });
    t.teardown(() => feed.close());
    const joined = feed.ready().then(() => "joined");
    t.equal(await Promise.race([joined, feed.refused().then(({ code }) => code)]), outcome);
    t.equal(warned.length, warnings);
  }
});

t.test("callers behind a broken network get an error without a wait, and known callers stay known", async (t) => {
  const clock = createStillClock();
  const { control, feed } = await openBoth(t, clock);
  await feed.ready();
  t.ok(await feed.identity.find("token", NEVER));
  control.answerWho = [];
  control.deaf = true;
  await clock.advance(FEED_SILENCE_MS - 1_000);
  let code = "";
  void codeOf(feed.identity.find("another", NEVER)).then((found) => (code = found));
  await eventually("it is sent", () => control.answerWho?.length === 1);
  // Nothing comes any more, and nothing is refused either.
  await clock.advance(2_000);
  await eventually("the query is aborted with it", () => code === "CONTROL_AWAY");
  const before = control.questions.length;
  await clock.advance(10_000);
  t.equal((await feed.identity.find("token", NEVER))?.login, "ada");
  t.equal(control.questions.length, before, "without a query that would get no answer");
});

t.test("where control wants to hear of a gateway now and then, it reports what has not changed, and that it ends", async (t) => {
  const clock = createStillClock();
  const socketPath = join(await shortFolder(t), "feed.sock");
  const control = await openControl(t, socketPath, [
    { kind: "hello", gateway: "g", reportMs: 2_000 },
    { kind: "all", containers: [viewOnWire(ASLEEP)], seq: 7 },
  ]);
  const feed = openFeed({ link: linkTo(socketPath), version: "1.2.3", clock, log: openLog({ level: "silent", name: "test" }) });
  await feed.ready();
  feed.directory.reportUse({ id: ID, open: 1, streams: 1, lastActive: 5 });
  for (let reports = 1; reports <= 2; reports++) {
    await clock.advance(2_000);
    await eventually("a report", () => control.reports.length >= reports);
  }
  t.match(control.reports.at(-1), { gateway: "g", uses: [{ id: ID, open: 1 }] });
  await feed.close();
  t.match(control.reports.at(-1), { last: true });
});

t.test("a gateway tells control which revision of its store it has seen, and its log has when control comes back with an older one", async (t) => {
  const socketPath = join(await shortFolder(t), "feed.sock");
  const all: FeedLine = { kind: "all", containers: [viewOnWire(ASLEEP)], seq: 7 };
  const first = await openControl(t, socketPath, [{ kind: "hello", gateway: "g", store: "s", revision: 10 }, all]);
  const logged: unknown[] = [];
  const write = (fields: Record<string, unknown>, message: string) => void logged.push([message, fields["seen"], fields["found"]]);
  const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: write, child: () => log };
  const feed = openFeed({ link: linkTo(socketPath), version: "0.0.0-test", clock: systemClock(), log });
  t.teardown(() => feed.close());
  await feed.ready();
  first.say({ kind: "beat", revision: 12 });
  first.say({ kind: "changed", container: viewOnWire(COMING), seq: 8 });
  await eventually("the change after the beat", () => feed.directory.cached(ID, CALLER)?.availability.kind === "coming");
  await first.close();
  const second = await openControl(t, socketPath, [{ kind: "hello", gateway: "h", store: "s", revision: 11 }, all]);
  await eventually("control's state", () => feed.directory.cached(ID, CALLER)?.availability.kind === "asleep");
  t.strictSame(second.requests, ["/feed?was=g&store=s&revision=12"]);
  t.strictSame(logged, [["control came back with an older store: changes are lost", 12, 11]]);
});
