import { PassThrough } from "node:stream";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { CallerReply } from "../../gateway/contract.ts";
import type { EntityChange } from "../lifecycle/changes.ts";
import { mayStillManage } from "../identity/rights.ts";
import { createContainerToJson, type EntityDetail, imageToJson, findLiveContainer, type LiveContainer } from "./entities.ts";
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
  const shareChange = createSharing({ store, lifecycle });
  const recent = createRecentChanges(changes.seq());
  const open = new Set<(shared: SharedChange) => void>();
  const unwatch = changes.watch((change) => {
    recent.add(change);
    if (open.size === 0) return;
    const shared = shareChange(change);
    for (const add of open) add(shared);
  });
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
      const send = (name: string, data: string, seq?: number) => {
        if (stream.destroyed) return;
        stream.write(`event: ${name}\n${seq === undefined ? "" : `id: ${seq}\n`}data: ${data}\n\n`);
        if (stream.writableLength + stream.readableLength > LONGEST_BACKLOG) reply.raw.destroy();
      };
      /** The newest change of each entity, in the order of the changes. */
      const waiting = new Map<string, SharedChange>();
      let isSending = false;
      const sendAll = async () => {
        for (const [key, shared] of waiting) {
          waiting.delete(key);
          const text = await shared.textFor(caller, detail);
          if (text !== undefined) send(shared.name, text, shared.seq);
          // Hundreds of streams have each of hundreds of changes to send, and other requests are answered in between.
          await new Promise(setImmediate);
          if (stream.destroyed) return;
        }
        isSending = false;
      };
      /** A client that misses one reconnects, and continues after the last that it has. */
      const add = (shared: SharedChange) => {
        waiting.delete(shared.key);
        waiting.set(shared.key, shared);
        if (isSending) return;
        isSending = true;
        sendAll().catch(() => void reply.raw.destroy());
      };
      const signal = streams.open(request, reply, () => send("beat", JSON.stringify({ time: new Date(clock.now()).toISOString() })));
      stream.write(`retry: ${RETRY_MS}\n\n`);
      const missed = recent.since(Number(request.headers["last-event-id"] ?? Number.NaN));
      // In the same turn as `open.add`: no change falls in between.
      if (missed) for (const change of missed) add(shareChange(change));
      else send("resync", "{}", changes.seq());
      if (!signal.aborted) open.add(add);
      signal.addEventListener("abort", () => {
        open.delete(add);
        stream.end();
      });
      return reply.type("text/event-stream; charset=utf-8").header("x-accel-buffering", "no").send(stream);
    },
  });
  addRoutes(app, [events]);
}

/** A change as streams send it: what it costs is shared by those that send it at the same time. */
type SharedChange = {
  name: "container" | "image" | "removed";
  /** Its entity. */
  key: string;
  seq: number;
  /** As JSON, for the rights that the caller has now; undefined: there is nothing to send. */
  textFor(caller: StreamCaller, detail: EntityDetail): Promise<string | undefined>;
};

type StreamCaller = Pick<CallerReply, "userId" | "admin">;

function createSharing({ store, lifecycle }: Pick<RouteDeps, "store" | "lifecycle">): (change: EntityChange) => SharedChange {
  const containerToJson = createContainerToJson(lifecycle);
  return (change) => {
    const key = keyOf(change);
    const { seq } = change;
    if ("removed" in change) {
      const text = JSON.stringify({ "#type": "DockerContainer", id: change.removed });
      return { name: "removed", key, seq, textFor: async () => text };
    }
    const rights = new Map<string, Promise<boolean>>();
    const mayManage = (caller: StreamCaller, packageId: string) => {
      const by = `${caller.userId} ${caller.admin}`;
      const may = rights.get(by) ?? mayStillManage(store, caller, packageId);
      rights.set(by, may);
      return may;
    };
    const texts = new Map<string, string>();
    const textOf = (inside: boolean, detail: EntityDetail, render: () => object) => {
      const as = `${inside} ${detail}`;
      const text = texts.get(as) ?? JSON.stringify(render());
      texts.set(as, text);
      return text;
    };
    if ("image" in change) {
      const { image } = change;
      const textFor: SharedChange["textFor"] = async (caller, detail) => {
        const inside = await mayManage(caller, image.packageId);
        return textOf(inside, detail, () => imageToJson(image, inside, detail, lifecycle.disabled?.message));
      };
      return { name: "image", key, seq, textFor };
    }
    let loading: Promise<LiveContainer | undefined> | undefined;
    const textFor: SharedChange["textFor"] = async (caller, detail) => {
      // The current container with its current image: a later change at most repeats it.
      const live = await (loading ??= findLiveContainer(store, change.container.id));
      if (!live) return undefined;
      const inside = await mayManage(caller, live.container.packageId);
      return textOf(inside, detail, () => containerToJson(live, inside, detail));
    };
    return { name: "container", key, seq, textFor };
  };
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
