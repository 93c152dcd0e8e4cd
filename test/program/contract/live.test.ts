import t from "tap";

import { eventReader, type StreamEvent } from "../../fixtures/event-stream.ts";
import { type Json, openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Answers at once, never, or on release; prints a line for each request. */
const SERVER = `let waiting;
require("node:http").createServer((request, response) => {
  console.log("request " + request.url);
  if (request.url.startsWith("/hang")) return void (waiting = response.write("begun") && response);
  if (request.url === "/release") waiting.end();
  response.end("ok");
}).listen(Number(process.env.PORT), "127.0.0.1");`;

t.test("a wake, who holds it awake, its lines and its changes are seen as they happen, through the gateway", async (t) => {
  const stand = await openStand(t);
  const container = '{"on_demand":true,"shutdown_timeout":5}';
  await stand.published("live", {
    "dockerfiles/app/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    "dockerfiles/app/server.cjs": SERVER,
    "dockerfiles/app/container.json": container,
  });
  const { id } = await stand.container("live-app");
  const left = new AbortController();
  t.teardown(() => left.abort());
  const follow = async (path: string, take: (piece: Uint8Array) => void) => {
    const { body, status } = await stand.call(path, { signal: left.signal });
    t.equal(status, 200, path);
    void (async () => {
      for await (const piece of body ?? []) take(piece as Uint8Array);
    })().catch(() => undefined);
  };
  const events: StreamEvent[] = [];
  await follow(
    "/docker/events",
    eventReader((event) => events.push(event)),
  );
  await eventually("the first event", async () => events[0]);

  const hanging = stand.call(`/docker/containers/proxy/${id}/hang?secret=1`);
  await eventually("it to be started", async () => events.find(({ data }) => data.id === id && data.status === "started"));
  const woken = await hanging;
  t.equal(woken.status, 200);
  const [gateway] = await stand.json(`/docker/containers/${id}/open`);
  t.match(gateway, { answered: true, count: 1, open: [{ kind: "http", login: "admin", state: "streaming", bytesOut: Number }] });
  t.match(await stand.json(`/docker/containers/${id}/explain`), { status: "started", awake: [{ kind: "requests" }], engine: { running: true } });

  let lines = "";
  await follow(`/docker/containers/${id}/logs?follow=true`, (piece) => (lines += Buffer.from(piece).toString()));
  await eventually("the first line", async () => lines.includes("/hang"));
  t.equal((await stand.call(`/docker/containers/proxy/${id}/release`)).status, 200);
  await eventually("the line that came since", async () => lines.includes("request /release"));
  await woken.text();
  await eventually("nothing to be open", async () => (await stand.json(`/docker/containers/${id}/open`))[0].count === 0);

  const wake = await eventually("the connect to be reported", async () => {
    const [newest] = await stand.json(`/docker/containers/${id}/wakes`);
    return newest.phases.some(({ name }: Json) => name === "connect") ? newest : undefined;
  });
  t.match(wake, { for: "request", by: "admin", outcome: "answered", cause: null });
  t.same(
    wake.phases.map(({ name }: Json) => name),
    ["queue", "create", "boot", "connect"],
  );
});
