import { request, type IncomingMessage } from "node:http";
import type { Container, Image } from "../../../control/model/entities.ts";
import t, { type Test } from "tap";
import { Fault } from "../../../lib/fault.ts";
import { eventReader, type StreamEvent } from "../../fixtures/event-stream.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { openApiFixture, type ApiFixture } from "./fixtures/open-api-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const APP = { "dockerfiles/app/container.json": '{"image":"app:1","port":80,"env":{"PASSWORD":"hidden"}}' };

async function published(stand: ApiFixture, key?: string) {
  const { json } = await stand.publish("walk", APP, key === undefined ? {} : { key });
  return { id: json.containers[0].id as string, imageId: json.images[0].id as string };
}

/** Follows the events, or with another path anything else. */
async function follow(
  t: Test,
  stand: ApiFixture,
  { token = stand.token, last, path = "/docker/events" }: { token?: string; last?: string; path?: string } = {},
) {
  const events: StreamEvent[] = [];
  let ended = false;
  const headers = { host: "berth.example", authorization: token, ...(last === undefined ? {} : { "last-event-id": last }) };
  const call = request({ socketPath: stand.socketPath, path: `/api${path}`, headers });
  t.teardown(() => call.destroy());
  call.on("error", () => undefined);
  const response = await new Promise<IncomingMessage>((resolve) => {
    call.once("response", resolve);
    call.end();
  });
  response.once("close", () => (ended = true));
  response.on("error", () => undefined);
  response.on(
    "data",
    eventReader((event) => events.push(event)),
  );
  return { events, response, ended: () => ended, leave: () => call.destroy(), names: () => events.map(({ event }) => event) };
}

const row = async (stand: ApiFixture, id: string) => (await stand.store.containers.find(id)) as Container;

t.test("changes are sent as they happen, each entity as the other routes show it to that caller", async (t) => {
  const stand = await openApiFixture(t);
  const author = await stand.addUser("anna");
  const other = await stand.addUser("bert");
  const { id, imageId } = await published(stand, author.key);
  const [mine, theirs] = [await follow(t, stand, { token: author.token }), await follow(t, stand, { token: other.token })];
  t.match(mine.response.headers, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store" });
  await eventually("the events arrive", () => mine.events.length === 1 && theirs.events.length === 1);
  t.same(mine.names(), ["resync"]);
  stand.changes.publish(await row(stand, id));
  stand.changes.publishImage((await stand.store.images.find(imageId)) as Image);
  await eventually("the events arrive", () => mine.events.length === 3 && theirs.events.length === 3);
  t.same(mine.names(), ["resync", "container", "image"]);
  for (const [who, { events }, token] of [
    ["the author", mine, author.token],
    ["another user", theirs, other.token],
  ] as const) {
    t.same(events[1]?.data, (await stand.call(`/docker/containers/${id}`, { headers: { authorization: token } })).json, who);
    t.same(events[2]?.data, (await stand.call(`/docker/images/${imageId}`, { headers: { authorization: token } })).json, who);
  }
  stand.changes.publishRemoved(id);
  await eventually("the events arrive", () => mine.events.length === 4);
  t.match(mine.events[3], { event: "removed", data: { "#type": "DockerContainer", id } });
});

t.test("a returning client gets what it missed, once each; after too long it has to read anew", async (t) => {
  const stand = await openApiFixture(t);
  const { id } = await published(stand);
  const first = await follow(t, stand);
  await eventually("the events arrive", () => first.events.length === 1);
  const last = first.events[0]?.id ?? "";
  first.leave();
  for (let round = 0; round < 3; round++) stand.changes.publish(await row(stand, id));
  const back = await follow(t, stand, { last });
  await eventually("the events arrive", () => back.events.length === 1);
  t.same(back.names(), ["container"]);
  stand.changes.publish(await row(stand, id));
  await eventually("the events arrive", () => back.events.length === 2);
  t.ok(Number(back.events[1]?.id) > Number(back.events[0]?.id));

  for (let round = 0; round < 300; round++) stand.changes.publish(await row(stand, id));
  for (const unknown of [last, "nonsense", "99999999999999", ""]) {
    const late = await follow(t, stand, { last: unknown });
    await eventually("the events arrive", () => late.events.length === 1);
    t.same(late.names(), ["resync"], unknown);
  }
});

t.test("a change is read and written once for all streams, and of many changes of one container the newest is sent", async (t) => {
  const stand = await openApiFixture(t);
  const { id } = await published(stand);
  const streams = await Promise.all(Array.from({ length: 20 }, () => follow(t, stand)));
  await eventually("the streams are open", () => streams.every(({ events }) => events.length === 1));
  let reads = 0;
  const { find } = stand.store.containers;
  stand.store.containers.find = (key) => {
    reads++;
    return find(key);
  };
  const current = await row(stand, id);
  reads = 0;
  for (let round = 0; round < 50; round++) stand.changes.publish(current);
  const newest = String(stand.changes.seq());
  await eventually("each has the newest change", () => streams.every(({ events }) => events.at(-1)?.id === newest));
  t.ok(reads <= 4, `${reads} reads for 50 changes and 20 streams`);
  for (const { events } of streams) t.ok(events.length <= 4, `${events.length} events`);
});

t.test("a client that does not read is cut off before it costs much memory", async (t) => {
  const stand = await openApiFixture(t);
  const { id } = await published(stand);
  const deaf = await follow(t, stand);
  deaf.response.pause();
  await stand.store.containers.update(id, { lastLogs: "x".repeat(60_000) });
  const before = process.memoryUsage().rss;
  for (let round = 0; round < 1_000 && !deaf.ended(); round++) {
    stand.changes.publish(await row(stand, id));
    await new Promise(setImmediate);
  }
  deaf.response.resume();
  await eventually("the stream ends", deaf.ended);
  t.ok(process.memoryUsage().rss - before < 60 * 1_048_576);
});

t.test("silence is broken by a beat, and a session that ends takes its streams along", async (t) => {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const { id } = await published(stand);
  const token = await stand.identity.openSession(stand.admin.id, 12_000);
  const stream = await follow(t, stand, { token });
  const outlived = await follow(t, stand);
  await eventually("the events arrive", () => stream.events.length === 1 && outlived.events.length === 1);
  await clock.advance(5_000);
  await eventually("the events arrive", () => stream.events.length === 2);
  t.same(stream.names(), ["resync", "beat"]);
  await clock.advance(10_000);
  await eventually("the stream ends", stream.ended);
  t.equal(outlived.ended(), false);
  const logs = await follow(t, stand, { path: `/docker/containers/${id}/logs?follow=true` });
  await eventually("the stream ends", logs.ended);
  await stand.identity.endSession(stand.token);
  await eventually("the stream ends", outlived.ended);
});

t.test("who is no administrator any more sees no more than others from then on, and logs that are followed end", async (t) => {
  const clock = createStillClock();
  const stand = await openApiFixture(t, {}, clock);
  const { id } = await published(stand);
  const { user } = await stand.addUser("bert");
  await stand.store.users.update(user.id, { admin: true });
  const token = await stand.identity.openSession(user.id, undefined, "administration");
  stand.follows.set((await row(stand, id)).service, async function* (signal) {
    yield "first\n";
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  });
  const logs = await follow(t, stand, { token, path: `/docker/containers/${id}/logs?follow=true` });
  const { events } = await follow(t, stand, { token });
  for (const [at, admin] of [true, false].entries()) {
    await stand.store.users.update(user.id, { admin });
    stand.changes.publish(await row(stand, id));
    await eventually("the events arrive", () => events.length === at + 2);
    t.equal(JSON.stringify(events[at + 1]?.data).includes("hidden"), admin);
  }
  await clock.advance(5_000);
  await eventually("the stream ends", logs.ended);
});

t.test("followed logs go on until their container ends, or their reader leaves", async (t) => {
  const stand = await openApiFixture(t);
  const { id } = await published(stand);
  const { service } = await row(stand, id);
  const path = `/docker/containers/${id}/logs?follow=true`;
  await stand.store.containers.update(id, { lastLogs: "one\ntwo\n" });
  t.match(await stand.get(path), { status: 200, text: "one\ntwo\n", headers: { "content-type": "text/plain; charset=utf-8" } }, "nothing runs");

  let followed: AbortSignal | undefined;
  const more = Promise.withResolvers<void>();
  stand.follows.set(service, async function* (signal) {
    followed = signal;
    yield "first\n";
    await Promise.race([more.promise, new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)))]);
    yield "second\n";
  });
  const read = await follow(t, stand, { path });
  let text = "";
  read.response.on("data", (piece: Buffer) => (text += piece.toString()));
  await eventually("the first line arrives", () => text === "first\n");
  more.resolve();
  await eventually("the stream ends", read.ended);
  t.equal(text, "first\nsecond\n");

  stand.follows.set(service, async function* (signal) {
    followed = signal;
    yield "first\n";
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  });
  const left = await follow(t, stand, { path });
  await eventually("the logs are followed", () => followed !== undefined && !followed.aborted);
  left.leave();
  await eventually("the call is aborted", () => followed?.aborted === true);
});

t.test("one user follows a quarter of all streams at most; a place is free again when one leaves", async (t) => {
  const stand = await openApiFixture(t);
  const all = await Promise.all(Array.from({ length: 64 }, () => follow(t, stand)));
  t.match(await stand.get("/docker/events"), { status: 503, json: { code: "STREAMS_FULL" }, headers: { "retry-after": "5" } });
  const [first] = all;
  first?.leave();
  let status = 0;
  for (let round = 0; round < 100 && status !== 200; round++) status = (await follow(t, stand)).response.statusCode ?? 0;
  t.equal(status, 200);
});

t.test("four users who have all streams keep no fifth out: who has more than a fair share loses the oldest", async (t) => {
  const stand = await openApiFixture(t);
  const [last = "", ...rest] = await Promise.all(["anna", "bert", "cleo", "dora"].map(async (login) => (await stand.addUser(login)).token));
  const fill = (token: string) => Promise.all(Array.from({ length: 64 }, () => follow(t, stand, { token })));
  const mine = await fill(stand.token);
  for (const token of rest) await fill(token);
  for (let share = 0; share < 51; share++) t.equal((await follow(t, stand, { token: last })).response.statusCode, 200);
  t.match(
    await stand.call("/docker/events", { headers: { authorization: last } }),
    { status: 503, json: { code: "STREAMS_FULL" } },
    "a fair share, no more",
  );
  await eventually("the stream ends", () => mine.filter(({ ended }) => ended()).length >= 12);
});

t.test("the head of followed logs comes before the first line of a container that is silent, and a failure at once keeps its status", async (t) => {
  const stand = await openApiFixture(t);
  const { id } = await published(stand);
  const { service } = await row(stand, id);
  const path = `/docker/containers/${id}/logs?follow=true`;
  const line = Promise.withResolvers<string>();
  stand.follows.set(service, async function* () {
    yield await line.promise;
  });
  const read = await follow(t, stand, { path });
  t.match(read.response, { statusCode: 200, headers: { "content-type": "text/plain; charset=utf-8" } });
  let text = "";
  read.response.on("data", (piece: Buffer) => (text += piece.toString()));
  line.resolve("first\n");
  await eventually("the stream ends", read.ended);
  t.equal(text, "first\n");

  stand.follows.set(service, async function* () {
    yield await Promise.reject(new Fault("ENGINE_UNREACHABLE", "Away."));
  });
  t.equal((await stand.get(path)).status, 500);
});
