import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { openHttpClient } from "../../lib/http-client.ts";
import type { ControlLink } from "./control-link.ts";

export type ControlClient = {
  /**
   * Posts JSON to control and answers with what came back; undefined for an empty answer. Faults: what control refused with;
   * CONTROL_AWAY where it cannot be reached, broke off, or lets this gateway in no more; CONTROL_BUSY where it took too long although it is there: the request may be repeated.
   * An abort rejects with the signal's reason.
   */
  post(path: string, body: unknown, signal: AbortSignal): Promise<unknown>;
  close(): void;
};

/** Control only has to look into its own memory or write one row. */
const ASK_TIMEOUT_MS = 5_000;
/** Of one that is thought to be away, an answer at once is a welcome surprise; behind a network that swallows everything there is none at all. */
const ASK_AWAY_MS = 500;
const MAX_BYTES = 1_048_576;
/** Wakes have connections of their own: with hundreds of them waiting for control's disk, no token waits behind them. Few, since control writes one after the other in any case. */
const CONNECTIONS = { wakes: 4, others: 16 };

/** `refused` is called where control lets this gateway in no more; `isAway` says whether it is thought to be away. */
export function openControlClient(parts: { link: ControlLink; refused?: () => void; isAway?: () => boolean; clock: Clock }): ControlClient {
  const { link, refused, isAway = () => false, clock } = parts;
  const openClient = (connections: number) =>
    openHttpClient({
      clock,
      maxBytes: MAX_BYTES,
      timeoutMs: ASK_TIMEOUT_MS,
      connections,
      connect: link.connect,
      toFault: ({ cause }) => controlAway("cannot be reached", cause),
    });
  const [wakes, others] = [openClient(CONNECTIONS.wakes), openClient(CONNECTIONS.others)];
  const refusal = (said: unknown, status: number): Fault => {
    if (!isFaultData(said)) return controlAway(`answered ${status}`);
    if (said.code !== "GATEWAY_REFUSED") return Fault.from(said);
    // Callers have nothing to do with that.
    refused?.();
    return controlAway("does not let this gateway in");
  };

  return {
    close: () => {
      wakes.close();
      others.close();
    },
    post: async (path, body, signal) => {
      const client = path === "/wake" ? wakes : others;
      const isLate = isAway();
      const { status, text } = await client.request({
        method: "POST",
        url: `http://localhost${path}`,
        headers: { ...link.headers(), "content-type": "application/json" },
        body: JSON.stringify(body),
        signal,
        timeoutMs: isLate ? ASK_AWAY_MS : ASK_TIMEOUT_MS,
        toFault: ({ kind, cause }) => {
          if (kind !== "overdue") return controlAway(kind === "unreachable" ? "cannot be reached" : "broke off", cause);
          return isLate ? controlAway("did not answer in time") : controlBusy(`did not answer within ${ASK_TIMEOUT_MS / 1_000} s`);
        },
      });
      const value = valueIn(text());
      if (status >= 300) throw refusal(value, status);
      return value;
    },
  };
}

function valueIn(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch (cause) {
    throw controlAway("answered what is no JSON", cause);
  }
}

export function controlAway(why: string, cause?: unknown): Fault {
  return new Fault("CONTROL_AWAY", `The control plane ${why}; it should be back in a moment`, { cause, retryAfterMs: 1_000 });
}

/** Control is there, and has too much to do to answer now. */
export function controlBusy(why: string): Fault {
  return new Fault("CONTROL_BUSY", `The control plane ${why}; it has too much to do at the moment`, { retryAfterMs: 1_000 });
}

export function isFaultData(value: unknown): value is FaultData {
  return typeof value === "object" && value !== null && "code" in value && typeof value.code === "string" && "message" in value;
}
