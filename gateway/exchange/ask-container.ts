import { Fault } from "../../lib/fault.ts";
import { writeLines, writeTarget } from "../http1/added-lines.ts";
import { MessageRefused, type ResponseHead } from "../http1/open-http1.ts";
import type { AskContainer, UpgradeAnswer, UpgradeAsk } from "../connections/ask-upgrade.ts";
import { brokeOff, dialLease } from "../connections/dial.ts";
import type { Link } from "../connections/link.ts";
import type { SpliceParts } from "./parts.ts";

type Parts = Pick<SpliceParts, "clock" | "limits" | "http1" | "links" | "dials">;

/** Asks a container for a WebSocket, over a connection of its own. */
export function openAskContainer(parts: Parts): AskContainer {
  return async (ask) => {
    // As any other head: what cannot be written must not become another line.
    const text = `GET ${writeTarget(ask.target)} HTTP/1.1\r\n${writeLines(ask.lines)}\r\n`;
    const { connection } = await dialLease(ask.lease, { ...parts, signal: ask.signal, connect: parts.links.connect });
    return new Promise((resolve, reject) => hear(parts, connection, { ...ask, text }, resolve, reject));
  };
}

function hear(
  parts: Parts,
  link: Link,
  ask: UpgradeAsk & { text: string },
  resolve: (answer: UpgradeAnswer) => void,
  reject: (error: unknown) => void,
): void {
  const { signal } = ask;
  const reader = parts.http1.responses();
  const settle = () => {
    cancel();
    reader.close();
    signal.removeEventListener("abort", onAbort);
  };
  const fail = (error: unknown) => {
    settle();
    link.destroy();
    reject(error);
  };
  const onAbort = () => fail(signal.reason);
  const cancel = parts.clock.after(ask.headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));

  const take = (chunk: Buffer, from: number): void => {
    const at = reader.readHead(chunk, from);
    if (at === -1) return;
    const { head } = reader;
    // Interim responses come before the one that counts.
    if (head.status < 200 && head.status !== 101) return take(chunk, at);
    link.pause();
    settle();
    resolve(answered(head, link, Buffer.from(chunk.subarray(at))));
  };

  link.user = {
    onBytes: (chunk) => {
      try {
        take(chunk, 0);
      } catch (error) {
        const unfit =
          error instanceof MessageRefused ? new Fault("CONTAINER_BROKE_OFF", `The container's response is not HTTP: ${error.message}`) : error;
        fail(unfit);
      }
    },
    onDrain: () => undefined,
    onEnd: () => fail(brokeOff(undefined)),
    onClose: (error) => fail(brokeOff(error)),
  };
  signal.addEventListener("abort", onAbort, { once: true });
  link.sendText(ask.text);
  link.resume();
  if (signal.aborted) onAbort();
}

function answered(head: ResponseHead, container: Link, rest: Buffer): UpgradeAnswer {
  return {
    status: head.status,
    reason: head.reason,
    header: (name) => head.header(name),
    switched: head.status === 101 && head.upgrade === "websocket",
    container,
    rest,
  };
}
