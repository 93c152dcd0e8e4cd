import type { ClientPeer, DirectResponse } from "../decision.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { ClientClock } from "./client-clock.ts";
import type { EngineContext } from "./engine-context.ts";
import type { ResponseWriter } from "./response-writer.ts";

/** A client's connection, as its exchange sees it. */
export type ExchangeClient = {
  readonly connection: NetConnection;
  readonly writer: ResponseWriter;
  readonly clock: ClientClock;
  readonly context: EngineContext;
  readonly peer: ClientPeer;
  readonly tls: boolean;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  readonly gone: boolean;
  /** Continues reading: the container takes more of the body. */
  resume(): void;
  /** Sends a response of berth's own. */
  respond(answer: DirectResponse): void;
  /** The response that is about to begin is the last one of the connection. */
  closesAfter(persistent: boolean): boolean;
  /** The whole response was sent. `last`: the client knows that it is the last one. */
  exchangeOver(last: boolean): void;
  /** Resets the connection: the client must not treat what it received as complete. */
  cut(): void;
  /** Closes the connection. The framing shows the client that data is missing. */
  breakOff(): void;
  /** Gives the connection away; returns the bytes after the request's head. */
  handOver(): Buffer;
};
