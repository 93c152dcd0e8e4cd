import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import t from "tap";
import { Fault } from "../../../lib/fault.ts";
import type { Availability, ContainerView } from "../../../gateway/contract.ts";
import { createHold } from "../../../gateway/containers/hold.ts";
import { bodyOf, ID, openContainer, openStand, PATH } from "../stand.ts";
import { ADA, openTestDirectory } from "../../fixtures/directory.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { createStillClock, pause } from "../../fixtures/clock.ts";

const SIGNED_IN = { headers: { authorization: "token" } };

t.test("a hundred requests wake a container once and are all answered", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 50 } });
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => stand.set(ID, { kind: "coming" }));
  const answers = Array.from({ length: 100 }, () => fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text()));
  await eventually("all wait", () => stand.uses.get(ID)?.open === 100);
  t.equal(stand.watchers(ID), 1, "they share one watch");
  t.match([stand.openAt(ID).count, stand.openAt(ID).open.length], [100, 100]);
  t.equal(stand.uses.get(ID)?.streams, 0, "a stop need not wait for who waits for its end");
  stand.set(ID, { kind: "awake", address });
  t.same(
    await Promise.all(answers),
    Array.from({ length: 100 }, () => "awake"),
  );
  t.same(stand.wakes, [ID]);
  await eventually("the queue is empty, and no connection could be used again", () => stand.watchers(ID) === 0);
  await eventually("all are counted out", () => stand.uses.get(ID)?.open === 0);
  t.same(stand.openAt(ID), { count: 0, open: [] });
});

t.test("a request leaves its queue as soon as its container is awake, and a change from before the wake sends no other one", async (t) => {
  const { directory, set, onWake, wakes, watchers } = openTestDirectory();
  const clock = createStillClock();
  const hold = createHold({ directory, clock, limit: 4, timeoutMs: 1_000, ofUser: { ofContainer: 2, ofAll: 2 } });
  const caller = { token: "token", ...ADA };
  onWake(() => {
    set(ID, { kind: "asleep" });
    set(ID, { kind: "coming" });
  });
  for (let round = 1; round <= 2; round++) {
    set(ID, { kind: "asleep" });
    const wait = () => hold.wait({ view: directory.cached(ID, caller) as ContainerView, caller, until: 1_000, signal: new AbortController().signal });
    const waiting = [wait(), wait()];
    await t.rejects(wait(), { code: "HOLD_FULL" });
    set(ID, { kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] });
    t.match(await Promise.all(waiting), [{ held: true }, { held: true }]);
    t.same([watchers(ID), clock.pending(), wakes.length], [0, 0, round], "no watch and no time limit is left");
  }
});

t.test("a start that one caller may not request is requested for the next caller who waits", async (t) => {
  const { directory, set, onWake, wakes } = openTestDirectory();
  const hold = createHold({ directory, clock: createStillClock(), limit: 4, timeoutMs: 1_000, ofUser: { ofContainer: 2, ofAll: 2 } });
  set(ID, { kind: "asleep" });
  onWake(() => {
    if (wakes.length === 1) throw new Fault("NOT_PERMITTED", "not yours");
    set(ID, { kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] });
  });
  const wait = (token: string) => {
    const caller = { ...ADA, token, userId: token };
    return hold.wait({ view: directory.cached(ID, caller) as ContainerView, caller, until: 1_000, signal: new AbortController().signal });
  };
  const refused = t.rejects(wait("another user's"), { code: "NOT_PERMITTED" });
  t.match(await wait("the author's"), { held: true });
  await refused;
  t.same(wakes, [ID, ID]);
});

t.test("a failed start answers everybody who waited, and the next request at once", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  const answers = Array.from({ length: 10 }, () => fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.status));
  await eventually("all wait", () => stand.uses.get(ID)?.open === 10);
  stand.set(ID, { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "It crashed" }, wakeable: true, retryAt: Date.now() + 60_000 });
  t.same(new Set(await Promise.all(answers)), new Set([500]));
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 500);
  t.same(stand.wakes, [ID], "one start, not eleven");
});

t.test("a failure of a control whose clock is ahead holds up requests no longer than its longest delay", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "It crashed" }, wakeable: true, retryAt: Date.now() + 3_600_000 });
  stand.onWake(() => stand.set(ID, { kind: "awake", address }));
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 200);
  t.same(stand.wakes, [ID]);
});

t.test("a control plane that is too busy to take a wake gets it again, and its waiters go on waiting", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "asleep" });
  // Busy, then silent for so long that it counts as away, then there again.
  const troubles = ["CONTROL_BUSY", "CONTROL_AWAY", "CONTROL_BUSY"] as const;
  stand.onWake(() => {
    const code = troubles[stand.wakes.length - 1];
    if (code !== undefined) throw new Fault(code, "no answer");
    stand.set(ID, { kind: "awake", address });
  });
  const answers = Array.from({ length: 20 }, () => fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text()));
  t.same(
    await Promise.all(answers),
    Array.from({ length: 20 }, () => "awake"),
  );
  t.equal(stand.wakes.length, 4);
});

t.test("a request that waits for a control plane that stays busy ends at its own limit, and no wake is sent after that", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 700 } });
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => {
    throw new Fault("CONTROL_BUSY", "no answer");
  });
  const answer = await fetch(stand.base + PATH, SIGNED_IN);
  t.equal(answer.status, 504);
  t.match(await answer.text(), /no answer/);
  await eventually("the queue is empty", () => stand.watchers(ID) === 0);
});

t.test("a request whose time limit passes gets the progress of the start, and the start continues", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 400 } });
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => stand.set(ID, { kind: "coming", step: "start" }));
  stand.onStatus(() => pause(100));
  stand.statuses.set(ID, { text: "It has been starting for 1 s. The start continues: try again.", logs: ["loading the model"] });
  const answers = await Promise.all(Array.from({ length: 5 }, () => fetch(stand.base + PATH, SIGNED_IN)));
  for (const answer of answers) {
    t.match([answer.status, answer.statusText], [504, "Container not ready in time"]);
    const { "datagrok-error": error } = (await answer.json()) as Record<string, string>;
    t.equal(
      error,
      "demo was not ready within 0.4 s. It has been starting for 1 s. The start continues: try again. Last log lines:\nloading the model",
    );
  }
  t.ok(stand.statusReads.length < 5, "waiters whose limits pass at the same moment share a question");
  t.equal(stand.watchers(ID), 0, "none is left in the queue");
  const next = fetch(stand.base + PATH, SIGNED_IN).then((answer) => answer.text());
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.set(ID, { kind: "awake", address });
  t.equal(await next, "awake");
  t.same(stand.wakes, [ID], "it was started once");
});

t.test("a status that does not come in time does not delay the response for long", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 100 } });
  stand.set(ID, { kind: "coming" });
  stand.onStatus(() => new Promise(() => undefined));
  const answer = await fetch(stand.base + PATH, SIGNED_IN);
  t.equal(answer.status, 504);
  t.match(await answer.text(), /demo was not ready within 0\.1 s\. Try again\./);
});

t.test("a control plane that is away is reported at once", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => {
    throw new Fault("CONTROL_AWAY", "away");
  });
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 503);
  t.equal(stand.wakes.length, 1);
});

t.test("a failed container is woken again once its back-off is over", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "It crashed" }, wakeable: true, retryAt: Date.now() - 1 });
  stand.onWake(() => void setImmediate(() => stand.set(ID, { kind: "awake", address })));
  t.equal(await (await fetch(stand.base + PATH, SIGNED_IN)).text(), "awake");
  t.same(stand.wakes, [ID]);
});

t.test("a start that fails without any back-off still answers instead of starting for ever", async (t) => {
  const stand = await openStand(t);
  const failed: Availability = { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "It crashed" }, wakeable: true, retryAt: 0 };
  stand.set(ID, failed);
  stand.onWake(() => void setTimeout(() => stand.set(ID, failed), 10));
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).status, 500);
  t.same(stand.wakes, [ID]);
});

t.test("a container that falls asleep while a request waits is woken again", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "coming" });
  const answer = fetch(stand.base + PATH, SIGNED_IN);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.onWake(() => stand.set(ID, { kind: "awake", address }));
  stand.set(ID, { kind: "asleep" });
  t.equal(await (await answer).text(), "awake");
});

t.test("a request that waits for a container gets an error when it is removed or stopped", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const stopped = fetch(stand.base + PATH, SIGNED_IN);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.set(ID, { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "A user stopped it" } });
  t.equal((await stopped).status, 400);
  stand.set(ID, { kind: "coming" });
  const removed = fetch(stand.base + PATH, SIGNED_IN);
  await eventually("it waits", () => stand.watchers(ID) === 1);
  stand.remove(ID);
  t.equal((await removed).status, 404);
});

t.test("a client that leaves gives its place in the queue back at once", async (t) => {
  const stand = await openStand(t, { limits: { holdLimit: 1 } });
  stand.set(ID, { kind: "coming" });
  for (let n = 0; n < 3; n++) {
    const left = new AbortController();
    const answer = fetch(stand.base + PATH, { ...SIGNED_IN, signal: left.signal }).then(
      ({ status }) => status,
      () => "left",
    );
    await eventually("it waits", () => stand.watchers(ID) === 1);
    left.abort();
    t.equal(await answer, "left");
    await eventually("its place is free", () => stand.watchers(ID) === 0 && stand.uses.get(ID)?.open === 0);
  }
});

t.test("one user fills neither a container's queue nor the places of other users", async (t) => {
  const stand = await openStand(t, { limits: { holdLimit: 20, holdUserTotal: 12 } });
  const other = "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d12";
  stand.tokens.set("mallory", { userId: "22222222-2222-4222-8222-222222222222", login: "mallory", admin: false });
  stand.set(ID, { kind: "coming" });
  stand.set(other, { kind: "coming" });
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  const ask = (authorization: string, id = ID) => fetch(stand.base + PATH.replace(ID, id), { headers: { authorization } });
  const mallory = Array.from({ length: 30 }, () => ask("mallory"));
  await eventually("half of the queue is hers", () => stand.openAt(ID).count === 10);
  const bob = Array.from({ length: 10 }, () => ask("token"));
  await eventually("the other half is his", () => stand.openAt(ID).count === 20);
  const elsewhere = Array.from({ length: 5 }, () => ask("mallory", other));
  await eventually("she waits for two more elsewhere", () => stand.openAt(other).count === 2);
  const statuses = async (answers: Promise<Response>[]) => (await Promise.all(answers)).map(({ status }) => String(status)).toSorted();
  stand.set(ID, { kind: "awake", address });
  stand.set(other, { kind: "awake", address });
  t.same(
    await statuses(bob),
    Array.from({ length: 10 }, () => "200"),
  );
  const refused = (await Promise.all(mallory)).filter(({ status }) => status === 503);
  t.equal(refused.length, 20);
  t.ok(refused.every(({ headers }) => headers.get("retry-after") !== null));
  t.same(await statuses(elsewhere), ["200", "200", "503", "503", "503"]);
  stand.set(ID, { kind: "coming" });
  const again = Array.from({ length: 10 }, () => ask("mallory"));
  await eventually("her places were given back", () => stand.openAt(ID).count === 10);
  stand.set(ID, { kind: "awake", address });
  t.same(
    await statuses(again),
    Array.from({ length: 10 }, () => "200"),
  );
});

t.test("a body is not read while its request is held, and arrives whole afterwards", async (t) => {
  const stand = await openStand(t);
  let received = 0;
  const { address } = await openContainer(t, (request, response) => {
    request.on("data", (chunk: Buffer) => (received += chunk.length));
    request.once("end", () => response.end("thanks"));
  });
  stand.set(ID, { kind: "coming" });
  const size = 200 * 1_048_576;
  const socket = connect(stand.port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  socket.write(`POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: ${size}\r\n\r\n`);
  const chunk = Buffer.alloc(1_048_576);
  let written = 0;
  const push = () => {
    while (written < size) {
      written += chunk.length;
      if (!socket.write(chunk)) return void socket.once("drain", push);
    }
  };
  push();
  await eventually("it waits", () => stand.watchers(ID) === 1);
  const before = process.memoryUsage().arrayBuffers;
  // Until no byte has moved for a while: then the pressure has come back to the client.
  for (let last = -1, same = 0; same < 20; same = socket.bytesWritten === last ? same + 1 : 0, last = socket.bytesWritten) await pause(5);
  t.ok(written < size / 4, `${written} bytes left the client`);
  t.ok(process.memoryUsage().arrayBuffers - before < 32 * 1_048_576);
  stand.set(ID, { kind: "awake", address });
  await new Promise<void>((resolve) => socket.on("data", (text: Buffer) => text.includes("thanks") && resolve()));
  t.equal(received, size);
});

t.test("who only looks in neither wakes a container, nor waits for it, nor keeps it awake", async (t) => {
  const stand = await openStand(t, { limits: { noWake: ["x-berth-no-wake", "user-agent:Probe"] } });
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  const ask = (headers: Record<string, string>) => fetch(stand.base + PATH, { headers: { authorization: "token", ...headers } });
  const probes = [{ "x-berth-no-wake": "1" }, { "user-agent": "kube-probe/1.2" }];
  for (const availability of [
    { kind: "asleep" },
    { kind: "coming" },
    { kind: "failed", fault: { code: "CONTAINER_CRASHED", message: "It crashed" }, wakeable: true, retryAt: 0 },
  ] as const) {
    stand.set(ID, availability);
    for (const headers of probes) {
      const answer = await ask(headers);
      t.equal(answer.status, 503, availability.kind);
      t.equal(answer.headers.get("retry-after"), "60");
      t.match(await answer.json(), { "datagrok-error": /asleep/ });
    }
  }
  stand.set(ID, { kind: "awake", address });
  for (const headers of probes) t.equal(await (await ask(headers)).text(), "awake");
  t.same(stand.wakes, []);
  await eventually("all are counted out", () => stand.uses.get(ID)?.streams === 0);
  t.match(stand.uses.get(ID), { open: 0, lastActive: 0 });
  t.ok(stand.reports.every(({ open }) => open === 0));

  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port: 1 } });
  t.equal((await ask({ "x-berth-no-wake": "" })).status, 503, "it is gone, and no start is requested");
  t.same(stand.wakes, []);
  t.equal((await ask({ "user-agent": "a browser" })).status, 502);
  t.same(stand.wakes, [ID], "every other request starts it");
});

t.test("a woken response says where the time went, one from a container that was awake does not", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("awake"));
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => stand.set(ID, { kind: "awake", address }, { queue: 1.25, pull: 200, create: 30, boot: 400 }));
  const woken = await fetch(stand.base + PATH, SIGNED_IN);
  t.match(woken.headers.get("server-timing"), /^queue;dur=1\.3, pull;dur=200\.0, create;dur=30\.0, boot;dur=400\.0, connect;dur=[\d.]+$/);
  t.equal((await fetch(stand.base + PATH, SIGNED_IN)).headers.get("server-timing"), null);
  t.same(stand.reached, [ID], "the first of those who waited tells that it was reached");
});

t.test("a container that refuses the connection is requested once more", async (t) => {
  const stand = await openStand(t, { limits: { suspectAddressMs: 2_000 } });
  const { address } = await openContainer(t, async (request, response) => void response.end(await bodyOf(request)));
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port: 1 } });
  stand.onWake(() => {
    stand.onWake(() => stand.set(ID, { kind: "awake", address }));
    stand.set(ID, { kind: "asleep" });
  });
  const answer = await fetch(stand.base + PATH, { ...SIGNED_IN, method: "POST", body: "not lost" });
  t.equal(await answer.text(), "not lost", "with its body");
});

t.test("requests and streams are counted, and bytes are activity", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.write("x"));
  stand.set(ID, { kind: "awake", address });
  const request = httpRequest({ port: stand.port, path: PATH, headers: SIGNED_IN.headers });
  request.end();
  request.on("error", () => undefined);
  await eventually("it is open", () => stand.uses.get(ID)?.open === 1);
  t.match(stand.uses.get(ID), { open: 1, streams: 1 });
  t.ok((stand.uses.get(ID)?.lastActive ?? 0) > Date.now() - 5_000);
  request.destroy();
  await eventually("it is over", () => stand.uses.get(ID)?.streams === 0);
  t.match(stand.uses.get(ID), { open: 0, streams: 0 });
});
