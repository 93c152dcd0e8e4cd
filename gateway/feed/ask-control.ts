import { request as httpRequest } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import { agentOf, type ControlLink } from "./control-link.ts";

export type AskControl = {
  /**
   * Posts JSON to control and answers with what came back; undefined for an empty answer. Faults: what control refused with;
   * CONTROL_AWAY where it cannot be reached, broke off, or lets this gateway in no more; CONTROL_BUSY where it took too long although it is there: the request may be repeated.
   * An abort rejects with the signal's reason.
   */
  ask(path: string, body: unknown, signal: AbortSignal): Promise<unknown>;
  close(): void;
};

/** Control only has to look into its own memory or write one row. */
const ASK_TIMEOUT_MS = 5_000;
/** Of one that is thought to be away, an answer at once is a welcome surprise; behind a network that swallows everything there is none at all. */
const ASK_AWAY_MS = 500;
const LONGEST_ANSWER = 1_048_576;
/** Wakes have connections of their own: with hundreds of them waiting for control's disk, no token waits behind them. Few, since control writes one after the other in any case. */
const CONNECTIONS = { wakes: 4, others: 16 };

/** `refused` is called where control lets this gateway in no more; `isAway` says whether it is thought to be away. */
export function openAskControl(parts: { link: ControlLink; refused?: () => void; isAway?: () => boolean; clock: Clock }): AskControl {
  const { link, refused, isAway = () => false, clock } = parts;
  const agentFor = (maxSockets: number) => agentOf(link, { keepAlive: true, maxSockets, timeout: 4_000 });
  const [wakes, others] = [agentFor(CONNECTIONS.wakes), agentFor(CONNECTIONS.others)];
  const refusal = (said: unknown, status: number | undefined): Fault => {
    if (!isFaultData(said)) return controlAway(`answered ${status}`);
    if (said.code !== "GATEWAY_REFUSED") return Fault.from(said);
    // Callers have nothing to do with that.
    refused?.();
    return controlAway("does not let this gateway in");
  };

  return {
    close: () => {
      wakes.destroy();
      others.destroy();
    },
    ask: (path, body, caller) =>
      new Promise((resolve, reject) => {
        const over = new AbortController();
        const late = isAway()
          ? { ms: ASK_AWAY_MS, fault: () => controlAway("did not answer in time") }
          : { ms: ASK_TIMEOUT_MS, fault: () => controlBusy(`did not answer within ${ASK_TIMEOUT_MS / 1_000} s`) };
        const signal = clock.deadline(late.ms, late.fault, AbortSignal.any([caller, over.signal]));
        const settle = (act: () => void) => {
          signal.removeEventListener("abort", onAbort);
          act();
          over.abort();
        };
        const fail = (error: unknown) => settle(() => reject(error));
        const text = JSON.stringify(body);
        const headers = { ...link.headers(), "content-type": "application/json", "content-length": Buffer.byteLength(text) };
        const sent = httpRequest({ path, method: "POST", agent: path === "/wake" ? wakes : others, headers });
        const onAbort = () => {
          fail(signal.reason);
          sent.destroy();
        };
        signal.addEventListener("abort", onAbort, { once: true });
        sent.on("error", (cause) => fail(controlAway("cannot be reached", cause)));
        sent.once("response", (answer) => {
          let came = "";
          answer.setEncoding("utf8");
          answer.on("data", (piece: string) => {
            came += piece;
            if (came.length > LONGEST_ANSWER) answer.destroy(new Error("the answer is too long"));
          });
          answer.once("error", (cause) => fail(controlAway("broke off", cause)));
          answer.once("end", () => {
            try {
              const value: unknown = came === "" ? undefined : JSON.parse(came);
              if ((answer.statusCode ?? 500) < 300) settle(() => resolve(value));
              else fail(refusal(value, answer.statusCode));
            } catch (cause) {
              fail(controlAway("answered what is no JSON", cause));
            }
          });
        });
        sent.end(text);
        if (signal.aborted) onAbort();
      }),
  };
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
