import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { HeaderLine } from "../decision.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { codeOf } from "./dial.ts";

/** `head`: what the container said right behind its 101. Of a refusal, `received` is still to be read. */
export type UpgradeAnswer = { switched: true; received: IncomingMessage; head: Buffer } | { switched: false; received: IncomingMessage };

export type UpgradeAsk = { path: string; lines: readonly HeaderLine[]; timeoutMs: number; clock: Clock; signal: AbortSignal };

/**
 * Asks for an upgrade over a connection already made. Whatever rejects, an abort too, destroys the connection.
 * Faults: CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT.
 */
export function askUpgrade(upstream: Socket, { path, lines, timeoutMs, clock, signal }: UpgradeAsk): Promise<UpgradeAnswer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      createConnection: () => upstream,
      method: "GET",
      path,
      headers: lines.flat(),
      setHost: false,
      maxHeaderSize: MAX_HEAD_BYTES,
    });
    sent.maxHeadersCount = 0;
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const fail = (error: Error) =>
      settle(() => {
        sent.destroy();
        upstream.destroy();
        reject(error);
      });
    const cancel = clock.after(timeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));
    const onAbort = () => fail(signal.reason as Error);
    sent.on("error", (cause) =>
      fail(new Fault("CONTAINER_BROKE_OFF", `The container broke the connection before it answered (${codeOf(cause)})`, { cause })),
    );
    sent.once("response", (received) => settle(() => resolve({ switched: false, received })));
    sent.once("upgrade", (received, _, head) => settle(() => resolve({ switched: true, received, head })));
    signal.addEventListener("abort", onAbort, { once: true });
    sent.end();
    if (signal.aborted) onAbort();
  });
}
