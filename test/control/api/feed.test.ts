import { randomUUID } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openFeed } from "../../../control/api/feed.ts";
import { type ContainerView, type FeedLine, viewOffWire } from "../../../gateway/contract.ts";
import { Fault } from "../../../lib/fault.ts";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import { openLog } from "../../../lib/log.ts";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import { newContainer, openLifecycleFixture, type LifecycleFixture, USER } from "../lifecycle/lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const ADA = { userId: USER, login: "ada", admin: false };

/** `looked`: called whenever some of the list was read, before it is sent. */
async function openTestFeed(
  t: Test,
  looked: (stand: LifecycleFixture) => void = () => {},
  storeWentBack: (revisions: { seen: number; found: number }) => void = () => {},
  /** Called before the store's revision is read. */
  readRevision: () => Promise<void> = async () => {},
) {
  const stand = await openLifecycleFixture(t);
  // A socket's path may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "berth-feed-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, "feed.sock");
  const who = async (token: string) => (token === "good" ? ADA : undefined);
  const identity = createIdentity({ store: stand.store(), clock: stand.clock });
  const left: string[] = [];
  const gatewayLeft = (gateway: string) => {
    stand.lifecycle().gatewayLeft(gateway);
    left.push(gateway);
  };
  const open = () =>
    openFeed({
      watchSignOuts: identity.watchSignOuts,
      socketPath,
      lifecycle: { ...stand.lifecycle(), gatewayLeft },
      storeWentBack,
      store: {
        ...stand.store(),
        revision: async () => {
          await readRevision();
          return stand.store().revision();
        },
        containers: {
          ...stand.store().containers,
          toView: (after, most) => {
            process.nextTick(looked, stand);
            return stand.store().containers.toView(after, most);
          },
        },
      },
      who,
      version: "0.0.0-test",
      clock: stand.clock,
      log: openLog({ level: "silent", name: "test" }),
    });
  const feed = await open();
  t.teardown(() => feed.close());
  return { stand, feed, socketPath, open, left, identity };
}

/** Opens the feed as a gateway does, and keeps what it receives. */
function listen(
  t: Test,
  socketPath: string,
  onLine: (line: FeedLine) => void = () => {},
  query = "",
): { lines: FeedLine[]; close(): void; ended: () => boolean } {
  const lines: FeedLine[] = [];
  let ended = false;
  const request = httpRequest({ socketPath, path: `/feed${query}` }, (response: IncomingMessage) => {
    let rest = "";
    response.setEncoding("utf8");
    response.on("data", (piece: string) => {
      const pieces = (rest + piece).split("\n");
      rest = pieces.pop() ?? "";
      for (const part of pieces) {
        const line = JSON.parse(part) as FeedLine;
        lines.push(line);
        onLine(line);
      }
    });
    response.on("close", () => (ended = true));
    response.on("error", () => {});
  });
  request.on("error", () => {});
  request.end();
  t.teardown(() => request.destroy());
  return { lines, close: () => request.destroy(), ended: () => ended };
}

function post(socketPath: string, path: string, body: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ socketPath, path, method: "POST", headers: { "content-type": "application/json" } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => (text += piece));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text === "" ? undefined : (JSON.parse(text) as unknown) }));
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}
const ask = (socketPath: string, path: string, question: unknown) => post(socketPath, path, JSON.stringify(question));

function lastView(lines: FeedLine[], id: string): unknown {
  return lines.findLast((line) => line.kind === "changed" && line.container.id === id);
}

type AskLine = Extract<FeedLine, { kind: "ask" }>;
const asksIn = (lines: FeedLine[]) => lines.filter((line): line is AskLine => line.kind === "ask");

async function gatewayOf(lines: FeedLine[]): Promise<string> {
  await eventually("hello and all", () => lines.length >= 2);
  return lines[0]?.kind === "hello" ? lines[0].gateway : "";
}

t.test("a gateway receives its name, every container, then each change in order", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { id } = await stand.publish({ config: { onDemand: true } });
  const { lines } = listen(t, socketPath);
  t.ok(await gatewayOf(lines));
  t.match(lines.slice(0, 2), [{ kind: "hello" }, { kind: "all", containers: [{ id, name: "web", standing: { kind: "asleep" } }] }]);

  t.equal((await ask(socketPath, "/wake", { id, userId: USER })).status, 204);
  await eventually("awake", () => lines.some((line) => line.kind === "changed" && line.container.standing.kind === "awake"));
  t.match(lastView(lines, id), {
    container: {
      standing: { addresses: [{ host: "127.0.0.1", port: stand.row(id).addresses[0]?.port }] },
      start: { create: Number, boot: Number, queue: Number },
    },
  });
  t.equal((await ask(socketPath, "/reached", { id, connectMs: 3 })).status, 204);
  t.match(await stand.store().wakes.of(id), [{ startReason: "request", byUser: USER, connectMs: 3 }]);
  const numbers = lines.flatMap((line) => ("seq" in line && line.seq !== undefined ? [line.seq] : []));
  t.same(
    numbers,
    numbers.toSorted((one, other) => one - other),
  );

  await stand.lifecycle().remove(id);
  await eventually("removed", () => lines.some((line) => line.kind === "removed" && line.id === id));
});

t.test("a wake is written when it is answered", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  stand.world.away = true;
  const { id } = await stand.publish({ config: { onDemand: true } });
  t.equal((await ask(socketPath, "/wake", { id, userId: USER })).status, 204);
  await stand.restart();
  t.equal(stand.row(id).desiredInstances, 1, "also for the berth that comes after a kill");
});

t.test("a wake that may not be is refused with the cause", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { id } = await stand.publish();
  t.match(await ask(socketPath, "/wake", { id, userId: USER }), { status: 400, body: { code: "CONTAINER_STOPPED" } });
  t.match(await ask(socketPath, "/wake", { id: USER, userId: USER }), { status: 404, body: { code: "CONTAINER_NOT_FOUND" } });
});

t.test("the owner of a token, and an unknown token", async (t) => {
  const { socketPath } = await openTestFeed(t);
  t.same(await ask(socketPath, "/who", { tokens: ["good", "bad", "good"] }), { status: 200, body: { callers: [ADA, null, ADA] } });
  t.same(await ask(socketPath, "/who", { tokens: [] }), { status: 200, body: { callers: [] } });
});

t.test("what a gateway has open keeps a container awake, until the gateway is gone", async (t) => {
  const { stand, socketPath, left } = await openTestFeed(t);
  const { id } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1 } });
  await stand.wake(id);
  const { lines, close } = listen(t, socketPath);
  const gateway = await gatewayOf(lines);
  const uses = [{ id, open: 1, streams: 1, lastActive: stand.clock.now() }];
  t.equal((await ask(socketPath, "/use", { gateway, seq: stand.lifecycle().seq(), uses })).status, 204);
  await passed(stand, 180_000);
  t.equal(stand.row(id).state, "STARTED");
  close();
  await eventually("it has left", () => left.includes(gateway));
  await passed(stand, 70_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("a report counts by the clock of its gateway", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { id } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1 } });
  await stand.wake(id);
  const gateway = await gatewayOf(listen(t, socketPath).lines);
  await passed(stand, 50_000);
  const at = stand.clock.now() - 3_600_000;
  const uses = [{ id, open: 0, streams: 0, lastActive: at - 100 }];
  t.equal((await ask(socketPath, "/use", { gateway, seq: stand.lifecycle().seq(), at, uses })).status, 204);
  await passed(stand, 50_000);
  t.equal(stand.row(id).state, "STARTED");
});

t.test("a stop that a gateway may not have received yet waits until the gateway confirms its state", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { id } = await stand.publish({ config: { onDemand: true } });
  await stand.wake(id);
  const first = await gatewayOf(listen(t, socketPath).lines);
  const use = (open: 0 | 1) => [{ id, open, streams: open, lastActive: stand.clock.now() }];
  await ask(socketPath, "/use", { gateway: first, seq: stand.lifecycle().seq(), uses: use(1) });
  await stand.lifecycle().requestStop(id, USER);
  // One that comes back, and still believes what it knew before.
  const second = await gatewayOf(listen(t, socketPath).lines);
  await ask(socketPath, "/use", { gateway: first, seq: stand.lifecycle().seq(), uses: use(0) });
  await stand.clock.advance(100);
  t.equal(stand.row(id).state, "PENDING_USER_STOP");
  await ask(socketPath, "/use", { gateway: second, seq: stand.lifecycle().seq(), uses: [] });
  await stand.reaches(id, "USER_STOPPED");
});

async function passed(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) await stand.clock.advance(1_000);
}

t.test("gateways are queried for open requests only on demand, and a slow one delays no caller for long", async (t) => {
  const { stand, feed, socketPath } = await openTestFeed(t);
  t.same(await feed.openRequests(USER), [], "no gateway is there");
  const [quick, mute, gone] = [listen(t, socketPath), listen(t, socketPath), listen(t, socketPath)];
  const [one, other, third] = [await gatewayOf(quick.lines), await gatewayOf(mute.lines), await gatewayOf(gone.lines)];
  t.same(asksIn(quick.lines), []);
  const answers = Promise.all([feed.openRequests(USER), feed.openRequests(USER)]);
  await eventually("all are queried", () => [quick, mute, gone].every(({ lines }) => asksIn(lines).length > 0));
  t.match(asksIn(quick.lines), [{ id: USER }], "once for all who want to know the same");
  const open = [{ kind: "http", login: "ada", since: 1, bytesIn: 2, bytesOut: 3, state: "held" }];
  const number = asksIn(quick.lines)[0]?.ask;
  t.equal((await ask(socketPath, "/open", { gateway: one, ask: number, count: 1, open })).status, 204);
  gone.close();
  await eventually("it has left", () => gone.ended());
  await stand.clock.advance(1_000);
  const [first, second] = await answers;
  t.same(
    new Set(first),
    new Set([
      { gateway: one, answer: { count: 1, open } },
      { gateway: third, answer: { count: 0, open: [] } },
      { gateway: other, answer: undefined },
    ]),
  );
  t.equal(second, first);
  t.equal((await ask(socketPath, "/open", { gateway: other, ask: number, count: 0, open: [] })).status, 204, "too late, and no harm");
  t.match(await ask(socketPath, "/open", { gateway: other, ask: "x" }), { status: 400 });

  const many = Array.from({ length: 40 }, (_, at) =>
    feed.openRequests(`id-${at}`).then(
      () => "replied",
      ({ code }: { code: string }) => code,
    ),
  );
  await stand.clock.advance(1_000);
  t.same(new Set(await Promise.all(many)), new Set(["replied", "GATEWAYS_BUSY"]));
});

t.test("silence is broken by a beat at least every two seconds", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { lines } = listen(t, socketPath);
  await gatewayOf(lines);
  for (let beats = 1; beats <= 3; beats++) {
    await stand.clock.advance(2_000);
    await eventually("a beat", () => lines.filter(({ kind }) => kind === "beat").length >= beats);
  }
});

t.test("who pushes first to a repository without an owner has it from then on", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const store = stand.store();
  for (const login of ["bob", "eve"]) await store.users.insert({ id: `u-${login}`, login, friendlyName: login, admin: false, createdOn: 0 });
  const pushed = (repository: string, by?: string) => ask(socketPath, "/pushed", { repository, reference: "1", ...(by === undefined ? {} : { by }) });
  for (const by of ["bob", "eve"]) t.equal((await pushed("datagrok/shared-worker", by)).status, 204);
  for (const repository of ["library/debian", "datagrok/a/b"]) await pushed(repository, "eve");
  await pushed("datagrok/unknown");
  await pushed("datagrok/gone", "unknown");
  t.match(await store.repositories.find("sharedworker"), { userId: "u-bob", name: "datagrok/shared-worker" });
  for (const key of ["librarydebian", "debian", "ab", "unknown", "gone"]) t.equal(await store.repositories.find(key), undefined, key);
});

t.test("what is no question is refused, and harms nothing", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  t.match(await post(socketPath, "/wake", "{"), { status: 400, body: { code: "REQUEST_INVALID" } });
  t.match(await ask(socketPath, "/wake", { id: 7 }), { status: 400, body: { code: "REQUEST_INVALID" } });
  t.match(await ask(socketPath, "/use", { gateway: "g", seq: 1, uses: [{ id: "x", open: -1, streams: 0, lastActive: 0 }] }), { status: 400 });
  t.match(await ask(socketPath, "/nothing", {}), { status: 404, body: { code: "ROUTE_NOT_FOUND" } });
  t.match(await ask(socketPath, "/who", null), { status: 400 });
  t.match(await ask(socketPath, "/who", { tokens: ["good", 7] }), { status: 400 });
  t.match(await ask(socketPath, "/reached", { id: USER, connectMs: -1 }), { status: 400 });
  t.ok(await stand.store().containers.all());
});

t.test("the socket is for its user only, and one that a dead process left is replaced", async (t) => {
  const { socketPath, open } = await openTestFeed(t);
  t.equal(statSync(socketPath).mode & 0o777, 0o600);
  const second = await open();
  t.teardown(() => second.close());
  t.equal((await ask(socketPath, "/who", { tokens: ["good"] })).status, 200);
});

t.test("a gateway that does not read is cut off before it costs much memory", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { id } = await stand.publish({ config: { onDemand: true } });
  const deaf = createConnection(socketPath);
  deaf.on("error", () => {});
  deaf.write("GET /feed HTTP/1.1\r\nhost: berth\r\n\r\n");
  deaf.pause();
  const before = process.memoryUsage().rss;
  await stand.store().containers.update(id, { name: "n".repeat(500_000) });
  for (let change = 0; change < 200 && !deaf.destroyed; change++) {
    await stand.lifecycle().definitionChanged(id);
    await stand.clock.advance(0);
  }
  deaf.resume();
  await eventually("cut off", () => deaf.destroyed);
  t.ok(process.memoryUsage().rss - before < 100 * 1_048_576);
});

t.test("gateways are notified at once when a session ends before its time", async (t) => {
  const { socketPath, identity } = await openTestFeed(t);
  const feed = listen(t, socketPath);
  await eventually("the feed is open", () => feed.lines.length > 1);
  await identity.ensureAdmin("a-developer-key");
  await identity.endSession(await identity.signIn("a-developer-key"));
  await eventually("the sign-out is sent", () => feed.lines.some(({ kind }) => kind === "signedOut"));
  t.equal(feed.lines.filter(({ kind }) => kind === "signedOut").length, 1);
});

t.test("a user who signs in and out all the time causes two look-ups of callers a second at most", async (t) => {
  const { stand, socketPath, identity } = await openTestFeed(t);
  const feed = listen(t, socketPath);
  const signOuts = () => feed.lines.filter(({ kind }) => kind === "signedOut").length;
  await eventually("the feed is open", () => feed.lines.length > 1);
  await identity.ensureAdmin("a-developer-key");
  for (let time = 0; time < 100; time++) await identity.endSession(await identity.signIn("a-developer-key"));
  await eventually("the first is sent at once", () => signOuts() === 1);
  await stand.clock.advance(500);
  await eventually("the others are sent together", () => signOuts() === 2);
  await stand.clock.advance(5_000);
  const container = await stand.publish({});
  await eventually("the feed goes on", () => feed.lines.some((line) => line.kind === "changed" && line.container.id === container.id));
  t.equal(signOuts(), 2, "and nothing more");
  await identity.endSession(await identity.signIn("a-developer-key"));
  await eventually("a later one is sent at once", () => signOuts() === 3);
});

t.test("a crash with endless last lines costs no gateway its feed", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { lines, ended } = listen(t, socketPath);
  await gatewayOf(lines);
  const long = "x".repeat(1_048_576);
  const { id } = await stand.publish({
    app: {
      exposed: [5353],
      run: ({ say, exit }) => {
        for (let line = 0; line < 20; line++) say(long);
        exit(7);
      },
    },
  });
  await stand.lifecycle().requestStart(id, USER);
  const row = await stand.reaches(id, "ERROR");
  t.ok(row.lastLogs.length <= 65_536, "nor does the store keep it all");
  await eventually("the failure", () => JSON.stringify(lastView(lines, id) ?? "").includes("failed"));
  t.notOk(ended());
});

t.test("a report of a hundred thousand containers in use at once is taken", async (t) => {
  const { stand, socketPath } = await openTestFeed(t);
  const { lines } = listen(t, socketPath);
  const gateway = await gatewayOf(lines);
  const uses = Array.from({ length: 100_000 }, () => ({ id: randomUUID(), open: 1, streams: 1, lastActive: stand.clock.now() }));
  t.equal((await ask(socketPath, "/use", { gateway, seq: stand.lifecycle().seq(), uses })).status, 204);
});

t.test("a gateway is given a long list whole, however much that is, in lines of some hundreds, and what changes meanwhile after it", async (t) => {
  // One that is sent already, and two that are not.
  const { stand, socketPath } = await openTestFeed(t, async ({ store, lifecycle }) => {
    const ids = await store().containers.toView("", 2_000);
    for (const at of [0, -1]) await lifecycle().remove(ids.at(at)?.id ?? "");
    await lifecycle().requestStop(ids.at(-2)?.id ?? "", USER);
  });
  const { id: first } = await stand.publish({ config: { onDemand: true } });
  const { imageId, config } = stand.row(first);
  await stand.store().transaction(async () => {
    for (let number = 1; number < 1_200; number++) {
      const row = newContainer(stand.image(imageId), config, stand.clock.now());
      await stand.store().containers.insert({ ...row, folder: `web${number}`, name: `web${number}`, service: `web${number}` });
    }
  });
  const coming: ContainerView[] = [];
  let left = new Map<string, ContainerView>();
  const { lines, ended } = listen(t, socketPath, (line) => {
    if (line.kind === "changed") left.set(line.container.id, viewOffWire(line.container));
    if (line.kind === "removed") left.delete(line.id);
    if (line.kind !== "all") return;
    coming.push(...line.containers.map(viewOffWire));
    // As gateways do: the list replaces all that was sent before.
    if (!line.more) left = new Map(coming.map((view) => [view.id, view]));
  });
  const all = () => lines.flatMap((line) => (line.kind === "all" ? [line] : []));
  await eventually("the last of all", () => ended() || all().some(({ more }) => !more));
  const held = () => JSON.stringify([...left.values()].toSorted((one, other) => (one.id < other.id ? -1 : 1)));
  const kept = async () => JSON.stringify((await stand.store().containers.toView("", 2_000)).map(viewOf));
  await eventually("what changed meanwhile", () => ended() || lines.filter(({ kind }) => kind === "removed").length === 6);
  t.ok(held() === (await kept()), "what was sent is the state");
  t.ok(all().length >= 3 && all().every(({ containers }) => containers.length <= 500));
  t.equal(all().filter(({ more }) => !more).length, 1, "and only the last says that it is");
});

t.test("a gateway that connects while the store cannot be read is refused, and control goes on", async (t) => {
  let isAway = true;
  const readRevision = async () => {
    if (isAway) throw new Fault("STORE_UNAVAILABLE", "The database does not answer.");
  };
  const { socketPath } = await openTestFeed(t, undefined, undefined, readRevision);
  const status = await new Promise<number | undefined>((resolve, reject) => {
    httpRequest({ socketPath, path: "/feed" }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on("error", reject)
      .end();
  });
  t.equal(status, 503);
  isAway = false;
  const { lines } = listen(t, socketPath);
  await eventually("the gateway has everything", () => lines.some(({ kind }) => kind === "all"));
});

t.test("a store that is older than what a gateway has seen of it is reported, and the gateway gets its state", async (t) => {
  const reported: { seen: number; found: number }[] = [];
  const { stand, socketPath } = await openTestFeed(t, undefined, (revisions) => reported.push(revisions));
  await stand.publish({ config: { onDemand: true } });
  const { id } = stand.store();
  const revision = await stand.store().revision();
  t.ok(revision > 0);
  const join = async (query: string) => {
    const { lines } = listen(t, socketPath, undefined, query);
    await gatewayOf(lines);
    return lines;
  };
  await join("");
  await join(`?was=g&store=${id}&revision=${revision}`);
  await join(`?was=g&store=${randomUUID()}&revision=1000`);
  t.strictSame(reported, [], "what it knew, or knew of another store");
  const lines = await join(`?was=g&store=${id}&revision=1000`);
  t.match(lines, [{ kind: "hello", store: id, revision: reported[0]?.found }, { kind: "all" }]);
  t.match(reported, [{ seen: 1_000 }]);
  await stand.publish({ config: { onDemand: true } });
  await stand.clock.advance(2_000);
  await eventually("a beat", () => lines.some((line) => line.kind === "beat" && (line.revision ?? 0) > revision));
});
