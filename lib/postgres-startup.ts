import { connect } from "node:net";
import type { Clock } from "./clock.ts";

/** PostgreSQL's frontend/backend protocol 3.0: a start-up message of a user that need not exist. */
const USER = Buffer.from("user\0berth\0\0");
const PROTOCOL = 196_608;
/** SQLSTATE cannot_connect_now: it starts up, shuts down or recovers. */
const CANNOT_CONNECT_NOW = "C57P03\0";
/** An error is one short message. */
const MAX_BYTES = 4_096;
const ANSWER_MS = 2_000;

/**
 * Whether a PostgreSQL accepts connections there, but not sessions yet: from the opening of its port until the end of its recovery it refuses each session.
 * False for everything else, and if nothing answers in time. Rejects with the signal's reason.
 */
export function isPostgresStarting(
  address: { host: string; port: number },
  { clock, signal }: { clock: Pick<Clock, "after">; signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect({ host: address.host, port: address.port });
    let received = "";
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      act();
    };
    const decide = () => settle(() => resolve(received.startsWith("E") && received.includes(CANNOT_CONNECT_NOW)));
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(ANSWER_MS, decide);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", decide);
    // After an error PostgreSQL closes; anything else than an error decides at once.
    socket.once("close", decide);
    socket.once("end", decide);
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      if (!received.startsWith("E") || received.length > MAX_BYTES) decide();
    });
    socket.once("connect", () => socket.write(startupMessage()));
  });
}

function startupMessage(): Buffer {
  const message = Buffer.alloc(8 + USER.length);
  message.writeInt32BE(message.length, 0);
  message.writeInt32BE(PROTOCOL, 4);
  USER.copy(message, 8);
  return message;
}
