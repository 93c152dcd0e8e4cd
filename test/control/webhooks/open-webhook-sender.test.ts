import { randomUUID } from "node:crypto";
import { createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { EventType } from "../../../control/model/webhooks.ts";
import { WEBHOOK_LIMITS } from "../../../control/model/webhooks.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault, webhookContext } from "../../../control/packages/credentials/open-vault.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { isWebhookSecret, newWebhookSecret, openWebhookSender, parseWebhookUrl } from "../../../control/webhooks/open-webhook-sender.ts";
import type { Log } from "../../../lib/log.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { type StoreDatabase, storeKinds } from "../../fixtures/store-kinds.ts";
import { openReceiver } from "./fixtures/open-receiver.ts";

const USER = "22222222-2222-4222-8222-222222222222";
const PACKAGE = "33333333-3333-4333-8333-333333333333";
const DAY_MS = 24 * 3_600_000;

async function openOutbox(t: Test, database: StoreDatabase = { postgres: undefined }) {
  // As real as the receiver's check of the timestamp.
  const clock = createStillClock(Date.now());
  const folder = join(t.testdir(), "data");
  const store = await openStore({ folder, clock, ...database });
  const lines: string[] = [];
  const write: Log["info"] = (fields, message) => void lines.push(JSON.stringify([fields, message]));
  const log: Log = { debug: write, info: write, warn: write, error: write, child: () => log };
  const vault = await openVault({ store, keyFile: openKeyFile(folder), given: [], log });
  const metrics = openMetrics();
  const open = () => openWebhookSender({ store, vault, metrics, clock, log, random: () => 0 });
  let sender = open();
  t.teardown(async () => {
    await sender.close();
    await store.close();
  });
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const secret = newWebhookSecret();
  return {
    clock,
    store,
    vault,
    secret,
    lines,
    metric: async (name: string) => (await metrics.snapshot()).find((one) => one.name === name)?.values.map(({ value }) => value) ?? [],
    sender: () => sender,
    /** Another process leads: this one's requests are aborted. */
    replace: async () => {
      await sender.close();
      sender = open();
      sender.start();
    },
    add: async (
      url: string,
      { eventTypes = [], packageName, isPaused = false }: { eventTypes?: string[]; packageName?: string; isPaused?: boolean } = {},
    ) => {
      const id = randomUUID();
      const sealed = await vault.seal(webhookContext(id), JSON.stringify({ url, secret }));
      const stopped = isPaused ? ({ stoppedOn: 1, stopReason: "failures" } as const) : { stoppedOn: undefined, stopReason: undefined };
      const counters = { failures: 0, dropped: 0, ...stopped };
      await store.webhooks.insert({ ...sealed, ...counters, id, url: url.split("?", 1)[0] ?? "", eventTypes, packageName, createdOn: clock.now() });
      return id;
    },
    /** `packageId`: null for a change without a package. */
    change: (subject: string, { type, packageId, n = 0 }: { type?: EventType; packageId?: null; n?: number } = {}) =>
      store.transaction(() =>
        store.webhooks.record({
          type: type ?? "container.started",
          subject,
          at: clock.now(),
          packageId: packageId === null ? undefined : PACKAGE,
          data: (name) => ({ n, package: name }),
        }),
      ),
    latest: (id: string) => store.webhooks.latest(id, 1_000),
    waiting: async (id: string) => (await store.webhooks.waiting()).get(id) ?? 0,
  };
}

for (const kind of storeKinds(t)) {
  t.test(`${kind.name}: an event is sent, signed, with the type, subject and package of the change`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(`${receiver.url}?token=hush`);
    outbox.sender().start();
    await outbox.change("containers/a", { n: 7 });
    await receiver.count(1);
    const [{ event, headers } = t.fail() as never] = receiver.received;
    t.equal(headers["content-type"], "application/cloudevents+json; charset=utf-8");
    t.equal(event.type, "ai.datagrok.berth.container.started");
    t.equal(event.source, `urn:uuid:${outbox.store.id}`);
    t.equal(event.subject, "containers/a");
    t.equal(headers["webhook-id"], event.id);
    t.strictSame(event.data, { n: 7, package: "demo" });
    receiver.verify(outbox.secret);
    const delivery = await eventually("delivered", async () => (await outbox.latest(id)).find(({ result }) => result === "delivered"));
    t.match(delivery, { attempts: 1, status: 204, failure: undefined });
    t.equal(await outbox.waiting(id), 0);
    t.strictSame(await outbox.metric("berth_webhook_attempts_total"), [1]);
  });

  t.test(`${kind.name}: an event of a change that is undone is not sent`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url);
    await t.rejects(() =>
      outbox.store.transaction(async () => {
        await outbox.change("containers/undone");
        throw new Error("undone");
      }),
    );
    outbox.sender().start();
    await outbox.change("containers/done");
    await receiver.count(1);
    t.strictSame(
      (await outbox.latest(id)).map(({ subject }) => subject),
      ["containers/done"],
    );
  });

  t.test(`${kind.name}: what was not acknowledged is sent again by the next leader, with the same id`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url);
    receiver.answers(() => undefined);
    outbox.sender().start();
    await outbox.change("containers/a");
    await receiver.count(1);
    receiver.answers((response) => void response.writeHead(200).end());
    await outbox.replace();
    await receiver.count(2);
    const [first, second] = receiver.received;
    t.equal(first?.event.id, second?.event.id);
    await eventually("delivered", async () => (await outbox.waiting(id)) === 0);
  });

  t.test(`${kind.name}: a failed event is tried again with growing delays, and those of its container wait for it, others not`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    await outbox.add(receiver.url);
    let left = 2;
    receiver.answers((response) => {
      const subject = receiver.received.at(-1)?.event.subject;
      response.writeHead(subject === "containers/a" && left-- > 0 ? 500 : 200).end();
    });
    outbox.sender().start();
    await outbox.change("containers/a", { n: 1 });
    await receiver.count(1);
    await outbox.change("containers/a", { n: 2 });
    await outbox.change("containers/b", { n: 3 });
    await receiver.count(2);
    t.equal(receiver.received[1]?.event.data?.["n"], 3);
    for (const count of [3, 5]) {
      const from = outbox.clock.now();
      await eventually("sent", async () => {
        if (receiver.received.length < count) await outbox.clock.advance(1_000);
        return receiver.received.length >= count;
      });
      t.ok(outbox.clock.now() - from >= 5_000, "after a delay");
    }
    t.strictSame(
      receiver.received.map(({ event }) => event.data?.["n"]),
      [1, 3, 1, 1, 2],
    );
    receiver.verify(outbox.secret);
  });

  t.test(`${kind.name}: a receiver that answers 410 is disabled, and its waiting events are dropped and counted`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url);
    receiver.answers((response) => void response.writeHead(410).end());
    for (const n of [1, 2, 3]) await outbox.change("containers/a", { n });
    outbox.sender().start();
    await eventually("disabled", async () => (await outbox.store.webhooks.find(id))?.stopReason === "gone");
    t.equal((await outbox.store.webhooks.find(id))?.dropped, 2);
    t.equal(await outbox.waiting(id), 0);
    await outbox.change("containers/a", { n: 4 });
    t.equal((await outbox.latest(id)).length, 1);
    t.strictSame(await outbox.metric("berth_webhook_dropped_total"), [2]);
  });

  t.test(`${kind.name}: what one webhook does not take is bounded, and what is dropped is counted`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const id = await outbox.add("http://127.0.0.1:9/");
    await outbox.store.transaction(async () => {
      for (let n = 0; n < WEBHOOK_LIMITS.waiting; n++) await outbox.change(`containers/${n}`);
    });
    await outbox.change("containers/more");
    await outbox.change("containers/more");
    t.equal(await outbox.waiting(id), WEBHOOK_LIMITS.waiting);
    t.equal((await outbox.store.webhooks.find(id))?.dropped, 2);
  });

  t.test(`${kind.name}: events of a paused webhook are dropped after a day and counted; resumed, it gets the younger ones`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url, { isPaused: true });
    outbox.sender().start();
    await outbox.change("containers/a", { n: 1 });
    await outbox.change("containers/b", { n: 2 });
    await outbox.clock.advance(DAY_MS / 2);
    await outbox.change("containers/a", { n: 3 });
    await eventually("the older ones are dropped", async () => {
      await outbox.clock.advance(DAY_MS / 16);
      return (await outbox.waiting(id)) === 1;
    });
    t.equal((await outbox.store.webhooks.find(id))?.dropped, 2);
    t.strictSame(await outbox.metric("berth_webhook_dropped_total"), [2]);
    await outbox.store.webhooks.resume(id);
    await receiver.count(1);
    t.equal(receiver.received[0]?.event.data?.["n"], 3);
  });

  t.test(`${kind.name}: webhooks whose events wait do not take the place of another's`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const most = WEBHOOK_LIMITS.waitingInAll / WEBHOOK_LIMITS.waiting;
    for (let n = 0; n < most; n++) await outbox.add("http://127.0.0.1:9/", { isPaused: true });
    await outbox.store.transaction(async () => {
      for (let n = 0; n < WEBHOOK_LIMITS.waiting; n++) await outbox.change(`containers/${n}`);
    });
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url);
    outbox.sender().start();
    await outbox.change("containers/a", { n: 7 });
    await receiver.count(1);
    t.equal(receiver.received[0]?.event.data?.["n"], 7);
    t.equal((await outbox.store.webhooks.find(id))?.dropped, 0);
    const waiting = [...(await outbox.store.webhooks.waiting()).values()].reduce((sum, count) => sum + count, 0);
    t.ok(waiting <= WEBHOOK_LIMITS.waitingInAll + 1, `${waiting}`);
  });

  t.test(`${kind.name}: events are filtered by type and package`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    await outbox.add(receiver.url, { eventTypes: ["container.*", "image.pushed"], packageName: "demo" });
    outbox.sender().start();
    await outbox.change("images/x", { type: "image.failed" });
    await outbox.change("repositories/y", { type: "image.pushed", packageId: null });
    await outbox.change("containers/a", { type: "container.failed" });
    await outbox.change("repositories/y", { type: "image.pushed" });
    await receiver.count(2);
    t.strictSame(receiver.types().toSorted(), ["container.failed", "image.pushed"]);
  });

  t.test(`${kind.name}: only the last events that ended are kept, and one of them is sent again with its id`, async (t) => {
    const outbox = await openOutbox(t, await kind.fresh());
    const receiver = await openReceiver(t);
    const id = await outbox.add(receiver.url);
    outbox.sender().start();
    const many = WEBHOOK_LIMITS.ended + 5;
    for (let n = 0; n < many; n++) await outbox.change(`containers/${n}`, { n });
    await receiver.count(many);
    await eventually("all ended", async () => (await outbox.waiting(id)) === 0);
    const kept = await outbox.latest(id);
    t.equal(kept.length, WEBHOOK_LIMITS.ended);
    const [newest = t.fail() as never] = kept;
    await outbox.store.webhooks.redeliver(newest.id, outbox.clock.now());
    await receiver.count(many + 1);
    t.equal(receiver.received.at(-1)?.event.id, newest.eventId);
  });
}

t.test("without a webhook, a change writes nothing and builds nothing", async (t) => {
  const { store, clock } = await openOutbox(t);
  await store.webhooks.record({
    type: "container.started",
    subject: "containers/a",
    at: clock.now(),
    packageId: PACKAGE,
    data: () => t.fail("built") as never,
  });
  t.strictSame(await store.webhooks.inMemory(), []);
});

t.test("a receiver that does not answer takes its time, and does not delay others; 10 s is its limit", async (t) => {
  const outbox = await openOutbox(t);
  const [slow, quick] = [await openReceiver(t), await openReceiver(t)];
  const id = await outbox.add(slow.url);
  await outbox.add(quick.url);
  slow.answers(() => undefined);
  outbox.sender().start();
  for (let n = 0; n < 12; n++) await outbox.change(`containers/${n}`);
  await quick.count(12);
  await slow.count(WEBHOOK_LIMITS.concurrency);
  await turns(20);
  t.equal(slow.mostOpen(), WEBHOOK_LIMITS.concurrency);
  await outbox.clock.advance(10_000);
  const failed = await eventually("failed", async () => (await outbox.latest(id)).find(({ attempts }) => attempts === 1));
  t.match(failed, { status: undefined, failure: /within 10 s/ });
});

t.test("each way in which a receiver fails is a failure with its reason", async (t) => {
  const elsewhere = await openReceiver(t);
  const cases: Record<string, { answer: Parameters<Awaited<ReturnType<typeof openReceiver>>["answers"]>[0]; failure: RegExp }> = {
    "a redirect": { answer: (response) => void response.writeHead(302, { location: elsewhere.url }).end(), failure: /follows no redirect/ },
    "a reset": { answer: (_response, request) => void request.socket.resetAndDestroy(), failure: /ECONNRESET/ },
    "an error": { answer: (response) => void response.writeHead(503).end(), failure: /answered 503/ },
    "no HTTP": { answer: (_response, request) => void request.socket.end("hello\r\n\r\n"), failure: /HPE_/ },
  };
  for (const [name, { answer, failure }] of Object.entries(cases))
    await t.test(name, async (t) => {
      const outbox = await openOutbox(t);
      const receiver = await openReceiver(t);
      const id = await outbox.add(receiver.url);
      receiver.answers(answer);
      outbox.sender().start();
      await outbox.change("containers/a");
      const row = await eventually("tried", async () => (await outbox.latest(id)).find(({ attempts }) => attempts === 1));
      t.match(row.failure, failure);
      t.equal(row.result, undefined, "it is tried again");
    });
  t.equal(elsewhere.received.length, 0);
});

t.test("of a huge response no more than the limit is read, and its status counts", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(receiver.url);
  let sent = 0;
  const closed = Promise.withResolvers<void>();
  receiver.answers((response) => {
    response.once("close", closed.resolve);
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
      if (!response.destroyed) response.once("drain", more);
    };
    more();
  });
  outbox.sender().start();
  await outbox.change("containers/a");
  await closed.promise;
  t.ok(sent < 32 * 1_048_576, `${sent} bytes`);
  await eventually("delivered", async () => (await outbox.latest(id))[0]?.result === "delivered");
});

t.test("many failures in a row are sent one at a time with growing delays, then pause the webhook with a reason; resumed, it goes on", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(receiver.url);
  receiver.answers((response) => void response.writeHead(500).end());
  outbox.sender().start();
  const began = outbox.clock.now();
  for (let n = 0; n < 40; n++) await outbox.change(`containers/${n}`);
  const row = () => outbox.store.webhooks.find(id);
  await eventually("paused", async () => {
    if ((await row())?.stopReason === "failures") return true;
    await outbox.clock.advance(900_000);
    return false;
  });
  const hours = (outbox.clock.now() - began) / 3_600_000;
  t.ok(hours > 5 && hours < 24, `${hours} h`);
  t.ok(receiver.received.length < WEBHOOK_LIMITS.failuresUntilPause + 5, `${receiver.received.length} requests`);
  await outbox.change("containers/later");
  const waiting = await outbox.waiting(id);
  t.ok(waiting > 0, "events wait while it is paused");
  const before = receiver.received.length;
  await outbox.clock.advance(3_600_000);
  t.equal(receiver.received.length, before);
  receiver.answers((response) => void response.writeHead(200).end());
  await outbox.store.webhooks.resume(id);
  await eventually("all sent", async () => {
    await outbox.clock.advance(900_000);
    return (await outbox.waiting(id)) === 0;
  });
});

t.test("a clock that is set back delays no attempt, neither of an event nor of a webhook that fails again and again", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(receiver.url);
  receiver.answers((response) => void response.writeHead(500).end());
  outbox.sender().start();
  await outbox.change("containers/a");
  let attempts = 0;
  const untilTried = () =>
    eventually("an attempt", async () => {
      const [row] = await outbox.latest(id);
      return row && row.attempts > attempts ? (attempts = row.attempts) : undefined;
    });
  await untilTried();
  for (const again of [2, 3, 4]) {
    outbox.clock.jump(-2 * DAY_MS);
    await outbox.clock.advance(WEBHOOK_LIMITS.retry.firstMs * 2 ** again);
    await untilTried();
  }
  receiver.answers((response) => void response.writeHead(204).end());
  outbox.clock.jump(-2 * DAY_MS);
  await outbox.replace();
  await eventually("delivered", async () => (await outbox.latest(id)).some(({ result }) => result === "delivered"));
});

t.test("an event is given up after its attempts or a day, and the next of its container follows", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(receiver.url);
  receiver.answers((response) => void response.writeHead(receiver.received.at(-1)?.event.data?.["n"] === 1 ? 400 : 200).end());
  outbox.sender().start();
  await outbox.change("containers/a", { n: 1 });
  await outbox.change("containers/a", { n: 2 });
  // Others succeed: the webhook is not paused.
  let n = 10;
  await eventually("given up", async () => {
    await outbox.change(`containers/${n}`, { n: n++ });
    await outbox.clock.advance(1_800_000);
    return receiver.received.some(({ event }) => event.data?.["n"] === 2);
  });
  const given = (await outbox.latest(id)).find(({ result }) => result === "failed");
  t.ok(given === undefined || given.attempts <= WEBHOOK_LIMITS.attempts);
  t.ok(receiver.received.filter(({ event }) => event.data?.["n"] === 1).length <= WEBHOOK_LIMITS.attempts);
  t.equal((await outbox.store.webhooks.find(id))?.stopReason, undefined);
});

t.test("an event that waited longer than a day is not sent", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(receiver.url);
  await outbox.change("containers/a", { n: 1 });
  await outbox.clock.advance(DAY_MS + 60_000);
  await outbox.change("containers/a", { n: 2 });
  outbox.sender().start();
  // The receiver's own clock is a day behind: it verifies nothing here.
  await receiver.count(1);
  t.equal(receiver.received[0]?.event.data?.["n"], 2);
  await eventually("ended", async () => (await outbox.waiting(id)) === 0);
  t.match((await outbox.latest(id)).at(-1), { result: "failed", attempts: 0, failure: "not sent in time" });
});

t.test("link-local and metadata addresses are refused, also behind a name; private ones are not", async (t) => {
  const outbox = await openOutbox(t);
  for (const url of [
    "http://169.254.169.254/latest",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.1.1]/",
    "http://metadata/",
  ]) {
    t.throws(() => parseWebhookUrl(url), { code: "REQUEST_INVALID" }, url);
    const id = await outbox.add(url);
    const { failure, result } = await outbox.sender().test(id);
    t.equal(result, "failed");
    t.match(failure, /link-local or of a metadata server/, url);
  }
  for (const url of ["ftp://example.org/", "http://user:hush@example.org/", "nothing"])
    t.throws(() => parseWebhookUrl(url), { code: "REQUEST_INVALID" }, url);
  for (const url of ["http://10.0.0.1/", "http://192.168.1.1:8080/a", "https://example.org/a?b=c"]) t.equal(parseWebhookUrl(url).href, url);
});

t.test("neither the secret nor the query of the URL is in the log, a delivery or a row", async (t) => {
  const outbox = await openOutbox(t);
  const receiver = await openReceiver(t);
  const id = await outbox.add(`${receiver.url}?token=hush-hush`);
  receiver.answers((_response, request) => void request.socket.destroy());
  outbox.sender().start();
  await outbox.change("containers/a");
  await eventually("failed", async () => (await outbox.store.webhooks.find(id))?.failures === 1);
  const closedServer = createTcpServer().listen(0);
  const { port } = closedServer.address() as { port: number };
  await new Promise((resolve) => closedServer.close(resolve));
  const dead = await outbox.add(`http://127.0.0.1:${port}/?token=hush-hush`);
  t.match(await outbox.sender().test(dead), { failure: "ECONNREFUSED" });
  const everything = JSON.stringify([await outbox.store.webhooks.all(), await outbox.latest(id), await outbox.latest(dead), outbox.lines]);
  t.notMatch(everything, /hush-hush/);
  t.notOk(everything.includes(outbox.secret.slice(6)));
  t.ok(outbox.lines.some((line) => line.includes("webhook attempt failed")));
});

t.test("a secret is whsec_ and 24 to 64 bytes", async (t) => {
  t.ok(isWebhookSecret(newWebhookSecret()));
  for (const [bytes, is] of [
    [23, false],
    [24, true],
    [64, true],
    [65, false],
  ] as const)
    t.equal(isWebhookSecret(`whsec_${Buffer.alloc(bytes).toString("base64")}`), is);
  t.notOk(isWebhookSecret("hush"));
});
