import { PassThrough } from "node:stream";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { EntityChange } from "../lifecycle/changes.ts";
import { mayStillManage } from "../identity/rights.ts";
import { createContainerToJson, imageToJson, findLiveContainer } from "./entities.ts";
import { addRoutes, route, type RouteDeps } from "./route.ts";

/** A client with a larger backlog is disconnected. It reconnects and receives what it missed. */
const LONGEST_BACKLOG = 1_048_576;
/** When a disconnected client reconnects, in milliseconds. */
const RETRY_MS = 2_000;

const HEADERS = Type.Object({
  "last-event-id": Type.Optional(Type.String({ description: "the `id` of the last received event: the stream begins with the events after it" })),
});
const QUERY = Type.Object({ include: Type.Optional(Type.String({ description: "`short`: entities without long texts and variables" })) });
const EVENTS = Type.Unsafe<string>({
  description:
    "`container` and `image` with the entity as other routes return it to the caller, `removed` with the `#type` and `id` of a deleted entity, `beat` every " +
    "5 s. `resync` comes first, unless the stream continues where it ended: lists that the client reads after it are not older than the stream. " +
    "A change of `lastActive` alone sends no event.",
  content: { "text/event-stream": { schema: { type: "string" } } },
});

/** Changes of containers and images as server-sent events. */
export function addEventRoutes(app: FastifyInstance, { store, lifecycle, changes, clock, authorization, streams }: RouteDeps): void {
  const containerToJson = createContainerToJson(lifecycle);
  const recent = createRecentChanges(changes.seq());
  const unwatch = changes.watch(recent.add);
  app.addHook("onClose", async () => unwatch());

  const events = route({
    method: "GET",
    path: "/docker/events",
    authorize: "session",
    schema: {
      tags: ["docker containers"],
      summary: "Sends changes of containers and images as they happen",
      querystring: QUERY,
      headers: HEADERS,
      produces: ["text/event-stream"],
      response: EVENTS,
    },
    handle: (request, reply) => {
      const caller = authorization.caller(request);
      const detail = request.query.include === "short" ? "short" : "whole";
      const stream = new PassThrough();
      const send = (name: string, data: object, seq?: number) => {
        if (stream.destroyed) return;
        stream.write(`event: ${name}\n${seq === undefined ? "" : `id: ${seq}\n`}data: ${JSON.stringify(data)}\n\n`);
        if (stream.writableLength + stream.readableLength > LONGEST_BACKLOG) reply.raw.destroy();
      };
      const sendChange = async (change: EntityChange) => {
        if ("removed" in change) return send("removed", { "#type": "DockerContainer", id: change.removed }, change.seq);
        if ("image" in change)
          return send(
            "image",
            imageToJson(change.image, await mayStillManage(store, caller, change.image.packageId), detail, lifecycle.disabled?.message),
            change.seq,
          );
        // The current container with its current image: a later change at most repeats it.
        const live = await findLiveContainer(store, change.container.id);
        if (live) send("container", containerToJson(live, await mayStillManage(store, caller, live.container.packageId), detail), change.seq);
      };
      let sent: Promise<void> = Promise.resolve();
      /** One after the other, in the order of the changes. A client that misses one reconnects, and continues after the last that it has. */
      const sendNext = (change: EntityChange) => {
        sent = sent.then(() => sendChange(change)).catch(() => void reply.raw.destroy());
      };
      const signal = streams.open(request, reply, () => send("beat", { time: new Date(clock.now()).toISOString() }));
      stream.write(`retry: ${RETRY_MS}\n\n`);
      const missed = recent.since(Number(request.headers["last-event-id"] ?? Number.NaN));
      // In the same turn as `watch`: no change falls in between.
      if (missed) for (const change of missed) sendNext(change);
      else send("resync", {}, changes.seq());
      const stop = changes.watch(sendNext);
      signal.addEventListener("abort", () => {
        stop();
        stream.end();
      });
      if (signal.aborted) stop();
      return reply.type("text/event-stream; charset=utf-8").header("x-accel-buffering", "no").send(stream);
    },
  });
  addRoutes(app, [events]);
}

/** The latest changes: a client that reconnects soon receives only what it missed. */
type RecentChanges = {
  add(change: EntityChange): void;
  /** The newest change of each container and image after `seq`, oldest first; undefined: `seq` is too old, or not a number. */
  since(seq: number): EntityChange[] | undefined;
};

/** More than these cost more than reading the lists again. */
const MOST_CHANGES = 200;

/** `first`: the newest change before the first call of `add`. */
function createRecentChanges(first: number): RecentChanges {
  const changes: EntityChange[] = [];
  let oldestSeq = first;
  return {
    add: (change) => {
      changes.push(change);
      if (changes.length > MOST_CHANGES) oldestSeq = changes.shift()?.seq ?? oldestSeq;
    },
    since: (seq) => {
      const newest = changes.at(-1)?.seq ?? first;
      if (!(seq >= oldestSeq && seq <= newest)) return undefined;
      const last = new Map(changes.filter((change) => change.seq > seq).map((change) => [keyOf(change), change]));
      return [...last.values()].toSorted((one, other) => one.seq - other.seq);
    },
  };
}

function keyOf(change: EntityChange): string {
  if ("removed" in change) return change.removed;
  return "container" in change ? change.container.id : change.image.id;
}
