import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { MAX_HEAD_BYTES, type GatewayLimits } from "../limits.ts";
import type { AskContainer, UpgradeAsk } from "../connections/ask-upgrade.ts";
import { brokeOff, connectPlainly, type DialCounts, dialLease } from "../connections/dial.ts";
import { linkOver } from "../connections/link.ts";

type Parts = { clock: Clock; dials: DialCounts; limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs"> };

/** `head`: what the container said right behind its 101. Of a refusal, `received` is still to be read. */
export type NodeUpgradeAnswer = { socket: Socket; connectMs: number; switched: boolean; received: IncomingMessage; head: Buffer };

/** `AskContainer` with Node's own client. */
export function openAskContainer(parts: Parts): AskContainer {
  return async (ask) => {
    const { socket, switched, received, head } = await askUpgrade(parts, ask);
    return {
      status: received.statusCode ?? 0,
      reason: received.statusMessage ?? "",
      header: (name) => received.headers[name]?.toString(),
      switched,
      container: linkOver(socket),
      rest: head,
    };
  };
}

/** The same, with the answer as Node has it, for whoever passes a refusal on. */
export async function askUpgrade(
  { clock, limits, dials }: Parts,
  { lease, target, lines, headTimeoutMs, signal }: UpgradeAsk,
): Promise<NodeUpgradeAnswer> {
  const { connection, connectMs } = await dialLease(lease, { clock, limits, signal, dials, connect: connectPlainly });
  const { socket } = connection;
  socket.on("error", () => undefined);
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      createConnection: () => socket,
      method: "GET",
      path: target,
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
        socket.destroy();
        reject(error);
      });
    const cancel = clock.after(headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));
    const onAbort = () => fail(signal.reason as Error);
    sent.on("error", (cause) => fail(brokeOff(cause)));
    sent.once("response", (received) => settle(() => resolve({ socket, connectMs, switched: false, received, head: Buffer.alloc(0) })));
    sent.once("upgrade", (received, _, head) => settle(() => resolve({ socket, connectMs, switched: true, received, head })));
    signal.addEventListener("abort", onAbort, { once: true });
    sent.end();
    if (signal.aborted) onAbort();
  });
}
