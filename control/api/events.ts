import { PassThrough } from "node:stream";
import type { FastifyInstance } from "fastify";
import type { Change } from "../lifecycle/changes.ts";
import type { Authorization } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { findLiveContainer } from "./find-entities.ts";
import type { LiveStreams } from "./live-streams.ts";
import { mayStillManage } from "../identity/rights.ts";
import { containerToJson, imageToJson } from "./entity-json.ts";
import { API_ERROR } from "./schemas.ts";

/** A client that has not taken so much is cut off; it comes back and is told what it missed. */
const LONGEST_BACKLOG = 1_048_576;
/** When a client that was cut off comes back, in milliseconds. */
const RETRY_MS = 2_000;

const HEADERS = {
  type: "object",
  properties: { "last-event-id": { type: "string", description: "the `id` of the last event that was seen: what came since is told first" } },
};
const EVENTS = {
  description:
    "`container` and `image` with the entity as the other routes show it to the caller, `removed` with the `#type` and `id` of what is gone, `beat` every " +
    "5 s. `resync` comes first unless the stream could be taken up where it broke off: what is listed after it is not older than the stream. " +
    "`lastActive` alone is no change.",
  content: { "text/event-stream": { schema: { type: "string" } } },
};

/** What becomes of containers and images, as it happens (server-sent events). */
export function eventRoutes(
  app: FastifyInstance,
  { store, changes, clock }: ApiDeps,
  { admission, streams }: { admission: Authorization; streams: LiveStreams },
): void {
  const recent = recentChanges(changes.seq());
  const unwatch = changes.watch(recent.add);
  app.addHook("onClose", async () => unwatch());

  app.get<{ Headers: { "last-event-id"?: string } }>(
    "/docker/events",
    {
      schema: {
        tags: ["docker containers"],
        summary: "Changes of containers and images, as they happen",
        headers: HEADERS,
        produces: ["text/event-stream"],
        response: { 200: EVENTS, "4xx": API_ERROR, "5xx": API_ERROR },
      },
    },
    (request, reply) => {
      const caller = admission.caller(request);
      const stream = new PassThrough();
      const say = (name: string, data: object, seq?: number) => {
        if (stream.destroyed) return;
        stream.write(`event: ${name}\n${seq === undefined ? "" : `id: ${seq}\n`}data: ${JSON.stringify(data)}\n\n`);
        if (stream.writableLength + stream.readableLength > LONGEST_BACKLOG) reply.raw.destroy();
      };
      const tell = (change: Change) => {
        if ("removed" in change) return say("removed", { "#type": "DockerContainer", id: change.removed }, change.seq);
        if ("image" in change) return say("image", imageToJson(change.image, mayStillManage(store, caller, change.image.packageId)), change.seq);
        // As it is now, with the image as it is now: what comes later only tells the same again.
        const live = findLiveContainer(store, change.container.id);
        if (live) say("container", containerToJson(live.container, live.image, mayStillManage(store, caller, live.container.packageId)), change.seq);
      };
      const signal = streams.open(request, reply, () => say("beat", { time: new Date(clock.now()).toISOString() }));
      stream.write(`retry: ${RETRY_MS}\n\n`);
      const missed = recent.since(Number(request.headers["last-event-id"] ?? Number.NaN));
      // Within one turn with the watch: nothing falls in between.
      if (missed) for (const change of missed) tell(change);
      else say("resync", {}, changes.seq());
      const stop = changes.watch(tell);
      signal.addEventListener("abort", () => {
        stop();
        stream.end();
      });
      if (signal.aborted) stop();
      return reply.type("text/event-stream; charset=utf-8").header("x-accel-buffering", "no").send(stream);
    },
  );
}

/** What changed lately, so that whoever comes back after a short while is told of what was missed only. */
export type RecentChanges = {
  add(change: Change): void;
  /** The newest change of each container and image after `seq`, oldest first; undefined where that is too long ago to say, or no number. */
  since(seq: number): Change[] | undefined;
};

/** Telling more than this anew costs more than that the client reads its lists again. */
const KEPT = 200;

/** `first`: the newest change before it was opened. */
export function recentChanges(first: number): RecentChanges {
  const kept: Change[] = [];
  let known = first;
  return {
    add: (change) => {
      kept.push(change);
      if (kept.length > KEPT) known = kept.shift()?.seq ?? known;
    },
    since: (seq) => {
      const newest = kept.at(-1)?.seq ?? first;
      if (!(seq >= known && seq <= newest)) return undefined;
      const last = new Map(kept.filter((change) => change.seq > seq).map((change) => [keyOf(change), change]));
      return [...last.values()].toSorted((one, other) => one.seq - other.seq);
    },
  };
}

function keyOf(change: Change): string {
  if ("removed" in change) return change.removed;
  return "container" in change ? change.container.id : change.image.id;
}
