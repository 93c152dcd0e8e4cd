import { randomUUID } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import { FEED_BEAT_MS, type FeedLine, type WhoAnswer, type WhoAnswers } from "../../gateway/wire.ts";
import type { Log } from "../../log.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import { viewOf } from "../lifecycle/view-of.ts";
import type { Store } from "../store/open-store.ts";
import { readPushedAsk, readQuestion, readUseReport, readWakeAsk, readWhoAsk } from "./feed-questions.ts";

export type FeedParts = {
  socketPath: string;
  lifecycle: Pick<Lifecycle, "watch" | "seq" | "wake" | "used" | "gatewayJoined" | "gatewayLeft" | "pushed">;
  store: Pick<Store, "containers">;
  /** Tells when sessions ended before their time. */
  watchSignOuts(listener: () => void): () => void;
  /** Who holds this token; undefined: nobody. */
  who(token: string): Promise<WhoAnswer | undefined>;
  clock: Clock;
  log: Log;
};

/**
 * So many containers are told in one line and one turn: with 100 000 in one, control would stand still for seconds, which gateways take for its end,
 * and the line would be longer than any that they read.
 */
const AT_ONCE = 500;

/** A gateway that reads so slowly that this much waits for it is cut off; it comes back and is given everything anew. */
const LONGEST_BACKLOG = 8 * 1_048_576;

/**
 * Control's side of `gateway/wire.ts`. The socket is for this user only: whoever can open it is a gateway. The caller holds the
 * data folder's lock, so a socket that lies there is a dead process's. Faults: DATA_FOLDER_UNUSABLE.
 */
export async function openFeed(parts: FeedParts): Promise<{ close(): Promise<void> }> {
  const { socketPath, log } = parts;
  const questions: Record<string, (question: unknown) => Promise<object | undefined>> = {
    "/wake": async (question) => {
      const { id, userId } = readWakeAsk(question);
      parts.lifecycle.wake(id, userId);
      return undefined;
    },
    "/use": async (question) => {
      parts.lifecycle.used(readUseReport(question));
      return undefined;
    },
    "/pushed": async (question) => {
      parts.lifecycle.pushed(readPushedAsk(question));
      return undefined;
    },
    "/who": async (question) => {
      const callers = await Promise.all(readWhoAsk(question).tokens.map(async (token) => (await parts.who(token)) ?? null));
      return { callers } satisfies WhoAnswers;
    },
  };

  const server = createServer((request, response) => {
    if (request.method === "GET" && request.url === "/feed") return tellChanges(parts, response);
    const answer = request.method === "POST" ? questions[request.url ?? ""] : undefined;
    const said = answer ? readQuestion(request).then(answer) : Promise.reject(new Fault("ROUTE_NOT_FOUND", "The feed has no such route."));
    said.then(
      (found) => send(response, found ? 200 : 204, found),
      (error: unknown) => {
        if (!(error instanceof Fault)) log.error({ err: error, url: request.url }, "unexpected error");
        const fault = error instanceof Fault ? error : new Fault("INTERNAL", "An internal error occurred.");
        send(response, fault.status, fault.toJSON());
      },
    );
  });

  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(new Fault("DATA_FOLDER_UNUSABLE", `The feed's socket ${socketPath} cannot be opened.`, { cause })));
    // Made for this user only from the first moment on, not only from `chmod` on.
    const mask = process.umask(0o177);
    server.listen(socketPath, resolve);
    process.umask(mask);
  });
  chmodSync(socketPath, 0o600);
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** One gateway's line to us, for as long as it lives. */
function tellChanges({ lifecycle, store, watchSignOuts, clock, log }: FeedParts, response: ServerResponse): void {
  const gateway = randomUUID();
  let cancelBeat = () => {};
  let allowed = LONGEST_BACKLOG;
  const say = (line: FeedLine, whenGone?: () => void) => {
    if (response.destroyed) return;
    const text = `${JSON.stringify(line)}\n`;
    // However long the list is, it is what the gateway came for: cutting it off would only have it come again.
    if (line.kind === "all") allowed = LONGEST_BACKLOG + Buffer.byteLength(text);
    response.write(text, whenGone);
    if (response.writableLength > allowed) {
      log.warn({ gateway, backlog: response.writableLength }, "a gateway reads too slowly and is cut off");
      response.destroy();
    }
  };
  const beat = () => {
    say({ kind: "beat" });
    cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  };
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  say({ kind: "hello", gateway });
  const joinedAt = lifecycle.seq();
  // What it knew before may be old until it has all of the list: until it has said so, nothing is stopped on its word.
  lifecycle.gatewayJoined(gateway, 0);
  // What changes while the list is told comes after it: of each container the newest, in their order.
  let meanwhile: Map<string, FeedLine> | undefined = new Map();
  const unwatch = lifecycle.watch((change) => {
    const id = "removed" in change ? change.removed : change.container.id;
    const line: FeedLine =
      "removed" in change ? { kind: "removed", id, seq: change.seq } : { kind: "changed", container: viewOf(change.container), seq: change.seq };
    if (meanwhile === undefined) return say(line);
    meanwhile.delete(id);
    meanwhile.set(id, line);
  });
  const listNext = (after: string) => {
    try {
      list(after);
    } catch (err) {
      // It asks again, and hears why where it can be said.
      log.error({ err, gateway }, "containers cannot be told");
      response.destroy();
    }
  };
  const list = (after: string) => {
    if (response.destroyed) return;
    const rows = store.containers.toView(after, AT_ONCE);
    const last = rows.length < AT_ONCE ? undefined : rows.at(-1)?.id;
    const line = { kind: "all", containers: rows.map(viewOf), seq: joinedAt } as const;
    // Written or not, others have their turn before the next: what is written at once calls back within this one.
    if (last !== undefined) return say({ ...line, more: true }, () => setImmediate(listNext, last));
    say(line);
    const changed = meanwhile ?? new Map<string, FeedLine>();
    meanwhile = undefined;
    for (const one of changed.values()) say(one);
  };
  list("");
  const unwatchSignOuts = watchSignOuts(() => say({ kind: "signedOut" }));
  cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  response.once("close", () => {
    cancelBeat();
    unwatch();
    unwatchSignOuts();
    lifecycle.gatewayLeft(gateway);
  });
}

function send(response: ServerResponse, status: number, body?: object): void {
  if (response.destroyed) return;
  if (!body) return void response.writeHead(status).end();
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}
