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
import { type AskGateways, openAskGateways } from "./ask-gateways.ts";
import { readOpenAnswer, readPushedAsk, readQuestion, readReachedReport, readUseReport, readWakeAsk, readWhoAsk } from "./feed-questions.ts";

export type FeedParts = {
  socketPath: string;
  lifecycle: Pick<Lifecycle, "watch" | "seq" | "wake" | "used" | "gatewayJoined" | "gatewayLeft" | "pushed">;
  store: Pick<Store, "containers" | "wakes">;
  /** Tells when sessions ended before their time. */
  watchSignOuts(listener: () => void): () => void;
  /** Who holds this token; undefined: nobody. */
  who(token: string): Promise<WhoAnswer | undefined>;
  clock: Clock;
  log: Log;
};

export type ControlFeed = Pick<AskGateways, "whatIsOpen"> & { close(): Promise<void> };

/** A gateway that reads so slowly that this much waits for it is cut off; it comes back and is given everything anew. */
const LONGEST_BACKLOG = 8 * 1_048_576;

/**
 * Control's side of `gateway/wire.ts`. The socket is for this user only: whoever can open it is a gateway. The caller holds the
 * data folder's lock, so a socket that lies there is a dead process's. Faults: DATA_FOLDER_UNUSABLE.
 */
export async function openFeed(parts: FeedParts): Promise<ControlFeed> {
  const { socketPath, clock, log } = parts;
  const gateways = openAskGateways(clock);
  const questions: Record<string, (question: unknown) => Promise<object | undefined>> = {
    "/wake": async (question) => {
      const { id, userId } = readWakeAsk(question);
      parts.lifecycle.wake(id, userId);
      return undefined;
    },
    "/reached": async (question) => {
      const { id, connectMs } = readReachedReport(question);
      parts.store.wakes.connected(id, connectMs);
      return undefined;
    },
    "/open": async (question) => {
      gateways.answered(readOpenAnswer(question));
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
    if (request.method === "GET" && request.url === "/feed") return tellChanges(parts, gateways, response);
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
    whatIsOpen: gateways.whatIsOpen,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** One gateway's line to us, for as long as it lives. */
function tellChanges({ lifecycle, store, watchSignOuts, clock, log }: FeedParts, gateways: AskGateways, response: ServerResponse): void {
  const gateway = randomUUID();
  let cancelBeat = () => {};
  let allowed = LONGEST_BACKLOG;
  const say = (line: FeedLine) => {
    if (response.destroyed) return;
    const text = `${JSON.stringify(line)}\n`;
    // However long the list is, it is what the gateway came for: cutting it off would only have it come again.
    if (line.kind === "all") allowed += Buffer.byteLength(text);
    response.write(text);
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
  // All of this within one turn, so that no change falls between the list and the changes that follow it.
  lifecycle.gatewayJoined(gateway, lifecycle.seq());
  gateways.joined(gateway, say);
  say({ kind: "all", containers: store.containers.all().map(viewOf), seq: lifecycle.seq() });
  const unwatch = lifecycle.watch((change) => {
    if ("removed" in change) say({ kind: "removed", id: change.removed, seq: change.seq });
    else if ("container" in change) say({ kind: "changed", container: viewOf(change.container), seq: change.seq });
  });
  const unwatchSignOuts = watchSignOuts(() => say({ kind: "signedOut" }));
  cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  response.once("close", () => {
    cancelBeat();
    unwatch();
    unwatchSignOuts();
    gateways.left(gateway);
    lifecycle.gatewayLeft(gateway);
  });
}

function send(response: ServerResponse, status: number, body?: object): void {
  if (response.destroyed) return;
  if (!body) return void response.writeHead(status).end();
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
}
