import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type ListenerTls, openGatewayListener } from "../../../control/api/control-listener.ts";
import { openFeed } from "../../../control/api/feed.ts";
import { createLeaderWait, createStandbyAnswer } from "../../../control/api/standby.ts";
import type { KnownLeader } from "../../../control/leadership/open-leadership.ts";
import { openSecured } from "../../../gateway/connections/dial.ts";
import { ENDED_GATEWAY_MS, type FeedLine, GATEWAY_SILENCE_MS, LOST_GATEWAY_MS, REPORT_MS } from "../../../gateway/contract.ts";
import { type TlsPeer } from "../../../gateway/decision.ts";
import { remoteControl } from "../../../gateway/feed/control-client.ts";
import { openFeed as openGatewaysFeed } from "../../../gateway/feed/open-feed.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openListeningHandle } from "../../../processes/listeners.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { type LifecycleFixture, openLifecycleFixture } from "../lifecycle/lifecycle-fixture.ts";

const TOKEN = "the-token";
const IDLE_MS = 60_000;

async function openEntrance(t: Test, more: { tls?: ListenerTls; accepts?: (shown: string) => boolean } = {}) {
  const stand = await openLifecycleFixture(t);
  const log = openLog({ level: "silent", name: "test" });
  const lifecycle = stand.lifecycle();
  const left = new Set<string>();
  const gatewayLeft = (gateway: string, lostMs?: number) => {
    lifecycle.gatewayLeft(gateway, lostMs);
    left.add(gateway);
  };
  const feed = await openFeed({
    socketPath: join(tempFolder(t), "feed.sock"),
    lifecycle: { ...lifecycle, gatewayLeft },
    store: stand.store(),
    watchSignOuts: () => () => undefined,
    who: async () => undefined,
    version: "1.2.3",
    clock: stand.clock,
    log,
  });
  const { handle, port } = await openListeningHandle({ host: "127.0.0.1", port: 0 }, systemClock());
  const entrance = await openGatewayListener({
    handle,
    tls: more.tls,
    tokens: { accepts: more.accepts ?? ((shown) => shown === TOKEN) },
    feed: feed.answer,
    api: (request, response) => void response.end(JSON.stringify({ api: request.url, shown: request.headers["x-berth-gateway"] ?? null })),
    clock: systemClock(),
    log,
  });
  t.teardown(async () => {
    await entrance.close();
    await feed.close();
  });

  const ask = (method: string, path: string, shown: string | string[] | undefined, body = "") =>
    new Promise<{ status: number; body: unknown }>((resolve, reject) => {
      const headers = shown === undefined ? {} : { "x-berth-gateway": shown };
      const outgoing = httpRequest({ port, path, method, headers, agent: false }, (response) => {
        let text = "";
        response.on("data", (piece: Buffer) => (text += piece.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text === "" ? undefined : (JSON.parse(text) as unknown) }));
      });
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  /** Joins as a gateway does. */
  const enter = async (was?: string) => {
    const lines: FeedLine[] = [];
    let over = false;
    const outgoing = httpRequest(
      { port, path: was === undefined ? "/feed" : `/feed?was=${was}`, headers: { "x-berth-gateway": `feed ${TOKEN}` }, agent: false },
      (response: IncomingMessage) => {
        response.on("data", (piece: Buffer) => {
          for (const line of piece.toString().split("\n").filter(Boolean)) lines.push(JSON.parse(line) as FeedLine);
        });
        response.on("close", () => (over = true));
        response.on("error", () => undefined);
      },
    );
    outgoing.on("error", () => undefined);
    outgoing.end();
    t.teardown(() => outgoing.destroy());
    await eventually("hello and all", () => lines.length >= 2);
    const gateway = lines[0]?.kind === "hello" ? lines[0].gateway : "";
    const report = (open: number, of: string, more: object = {}) =>
      ask(
        "POST",
        "/use",
        `feed ${TOKEN}`,
        JSON.stringify({ gateway, seq: stand.lifecycle().seq(), uses: open === 0 ? [] : [useOf(stand, of, open)], ...more }),
      );
    const leave = async () => {
      outgoing.destroy();
      await eventually("control notices that the gateway has left", () => left.has(gateway));
    };
    return { gateway, lines, report, ended: () => over, leave };
  };
  /** A container that runs. */
  const started = async (idleMs = IDLE_MS) => {
    const { id } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: idleMs / 60_000 } });
    await stand.wake(id);
    return id;
  };
  return { stand, port, ask, join: enter, started };
}

const useOf = (stand: LifecycleFixture, id: string, open: number) => ({ id, open, streams: open, lastActive: stand.clock.now() });

async function passed(stand: LifecycleFixture, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) await stand.clock.advance(1_000);
}

t.test("who shows no token gets to neither, and who shows one to what it says it wants", async (t) => {
  const { ask } = await openEntrance(t);
  const refused = { status: 503, body: { code: "GATEWAY_REFUSED" } };
  for (const shown of [undefined, "", TOKEN, `feed ${TOKEN}x`, "feed ", `admin ${TOKEN}`, [`api ${TOKEN}`, `feed ${TOKEN}`]])
    for (const path of ["/feed", "/who", "/api/users"]) t.match(await ask("POST", path, shown, "{}"), refused, `${path} with ${String(shown)}`);
  t.same(await ask("POST", "/who", `feed ${TOKEN}`, '{"tokens":[]}'), { status: 200, body: { callers: [] } });
  t.same(
    await ask("GET", "/feed", `api ${TOKEN}`),
    { status: 200, body: { api: "/feed", shown: null } },
    "a client's request gets to no feed, and the token no further",
  );
});

t.test("a gateway elsewhere receives control's name and its heartbeat interval", async (t) => {
  const { join } = await openEntrance(t);
  const { lines } = await join();
  t.match(lines[0], { kind: "hello", version: "1.2.3", wire: 1, reportMs: REPORT_MS });
});

t.test("one that falls silent is let go, and what it had open counts for a minute more, not for ever", async (t) => {
  const { stand, join, started } = await openEntrance(t);
  const id = await started();
  const { report, ended } = await join();
  await report(1, id);
  for (let nth = 0; nth < 3; nth++) {
    await passed(stand, GATEWAY_SILENCE_MS - 1_000);
    await report(1, id);
  }
  t.notOk(ended(), "with heartbeats it stays");
  await passed(stand, GATEWAY_SILENCE_MS);
  await eventually("it is let go", ended);
  await passed(stand, LOST_GATEWAY_MS + IDLE_MS - 5_000);
  t.equal(stand.row(id).state, "STARTED", "its request counts as open for a minute, and then the container is idle for another one");
  await passed(stand, 10_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("while a lost gateway may be using it, no container is put to sleep that control knows to be idle", async (t) => {
  const { stand, join, started } = await openEntrance(t);
  const id = await started();
  const { report } = await join();
  for (let nth = 0; nth < 9; nth++) {
    await passed(stand, 5_000);
    await report(0, id);
  }
  // Idle for 45 s, it would sleep in 15: the silence is noticed before.
  await passed(stand, GATEWAY_SILENCE_MS + LOST_GATEWAY_MS - 2_000);
  t.equal(stand.row(id).state, "STARTED");
  await passed(stand, IDLE_MS);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("one that says it ends is gone at once", async (t) => {
  const { stand, join, started } = await openEntrance(t);
  const id = await started();
  const { report, leave } = await join();
  await report(1, id);
  await report(0, id);
  // Half of its time is over: a gateway that was only lost would keep it awake beyond the other half.
  for (let nth = 0; nth < 6; nth++) {
    await passed(stand, IDLE_MS / 12);
    await report(0, id, nth === 5 ? { last: true } : {});
  }
  await leave();
  await passed(stand, IDLE_MS / 2 + 5_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("one whose connection ends has ten seconds to be back", async (t) => {
  const { stand, join, started } = await openEntrance(t);
  const id = await started(6_000);
  const { report, leave } = await join();
  await report(1, id);
  await leave();
  await passed(stand, ENDED_GATEWAY_MS + 4_000);
  t.equal(stand.row(id).state, "STARTED", "its request counts as open until then, and then the container is idle");
  await passed(stand, 4_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("one that joins again goes on under another name, with what it had open until it says what it has", async (t) => {
  const { stand, join, started } = await openEntrance(t);
  const id = await started(6_000);
  const before = await join();
  await before.report(1, id);
  const again = await join(before.gateway);
  await eventually("its line before is closed", before.ended);
  t.not(again.gateway, before.gateway);
  await passed(stand, GATEWAY_SILENCE_MS - 1_000);
  t.equal(stand.row(id).state, "STARTED", "it has not reported its state yet");
  await again.report(1, id);
  await passed(stand, GATEWAY_SILENCE_MS - 1_000);
  t.equal(stand.row(id).state, "STARTED");
  await again.report(0, id);
  await passed(stand, GATEWAY_SILENCE_MS - 1_000);
  // It has received the stop.
  await again.report(0, id);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("a gateway sends its token only to the intended control plane", async (t) => {
  const folder = tempFolder(t);
  const { cert: ca, key } = makeCertificate(folder, "entrance");
  const { fingerprint256 } = new X509Certificate(ca);
  const fingerprint = fingerprint256.replaceAll(":", "").toLowerCase();
  const shown: string[] = [];
  const tls = { current: () => ({ cert: ca, key }), keep: () => undefined };
  const { port } = await openEntrance(t, { tls, accepts: (token) => shown.push(token) > 0 });
  const rows: [what: string, secured: TlsPeer, outcome: string][] = [
    ["signed by a trusted issuer", { servername: "localhost", ca }, "joined"],
    ["an address, signed for it", { servername: "", ca }, "joined"],
    ["the very certificate", { servername: "", fingerprint }, "joined"],
    ["the very certificate, whatever it is for", { servername: "berth.internal", fingerprint }, "joined"],
    ["signed by an unknown issuer", { servername: "localhost" }, "CONTROL_UNTRUSTED"],
    ["signed for another name", { servername: "berth.internal", ca }, "CONTROL_UNTRUSTED"],
    [
      "another certificate",
      { servername: "localhost", fingerprint: fingerprint.replace(/^../, fingerprint.startsWith("00") ? "01" : "00") },
      "CONTROL_UNTRUSTED",
    ],
  ];
  for (const [what, secured, outcome] of rows) {
    shown.length = 0;
    const link = remoteControl({ host: "127.0.0.1", port, secured, token: () => TOKEN });
    const feed = openGatewaysFeed({ link, version: "1.2.3", clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
    const joined = feed.ready().then(() => "joined");
    t.equal(await Promise.race([joined, feed.refused().then(({ code }) => code)]), outcome, what);
    // The same connection as forwarded requests of clients take.
    if (outcome !== "joined") {
      const socket = openSecured({ host: "127.0.0.1", port }, secured);
      socket.write(`GET / HTTP/1.1\r\nHost: x\r\nx-berth-gateway: api ${TOKEN}\r\n\r\n`);
      await once(socket, "error");
      t.same(shown, [], "not a byte of it");
    }
    await feed.close();
  }
});

t.test("a gateway that lost its leader waits at a standby for a later one", async (t) => {
  const { handle, port } = await openListeningHandle({ host: "127.0.0.1", port: 0 }, systemClock());
  let leader: KnownLeader = { url: "http://old.internal", epoch: 1, problem: undefined };
  let leads = false;
  const clock = createStillClock();
  const wait = createLeaderWait({ leader: () => leader, isLeading: () => leads, selfUrl: "http://self.internal", clock });
  const answer = createStandbyAnswer(() => leader);
  const asStandby = { answer, api: answer, laterThan: wait.laterThan };
  const entrance = await openGatewayListener({
    handle,
    tls: undefined,
    tokens: { accepts: (shown) => shown === TOKEN },
    feed: (_request, response) => void response.end('{"feed":true}'),
    api: (_request, response) => void response.end(),
    standby: () => (leads ? undefined : asStandby),
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => entrance.close());
  const replies: string[] = [];
  const ask = async (path: string, token = `feed ${TOKEN}`) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { "x-berth-gateway": token } });
    const text = await response.text();
    replies.push(text);
    return { status: response.status, ...(JSON.parse(text) as { leader?: string; feed?: boolean }) };
  };
  t.match(await ask("/feed"), { status: 503, leader: "http://old.internal" }, "it had none before");
  t.match(await ask("/feed?epoch=0"), { status: 503, leader: "http://old.internal" }, "there is a later one");
  t.match(await ask("/feed?epoch=1", "feed wrong"), { status: 503 }, "without a token nothing waits");
  t.match(await ask("/users?epoch=1", `api ${TOKEN}`), { status: 503 });
  const before = replies.length;
  const [first, second] = [ask("/feed?epoch=1"), ask("/feed?was=g&epoch=1")];
  await eventually("both to wait", () => clock.pending() === 2);
  leader = { url: "http://new.internal", epoch: 2, problem: undefined };
  t.equal(replies.length, before);
  wait.changed();
  for (const reply of await Promise.all([first, second])) t.match(reply, { status: 503, leader: "http://new.internal" });
  const third = ask("/feed?epoch=2");
  await eventually("it to wait", () => clock.pending() === 1);
  leader = { url: "http://self.internal", epoch: 3, problem: undefined };
  wait.changed();
  t.equal(clock.pending(), 1, "it was elected, and serves nothing yet");
  leads = true;
  wait.changed();
  t.match(await third, { status: 200, feed: true }, "it leads now");
  leads = false;
  const last = ask("/feed?epoch=3");
  await eventually("it to wait", () => clock.pending() === 1);
  await clock.advance(1_000);
  t.match(await last, { status: 503 }, "not for longer than a second");
});
