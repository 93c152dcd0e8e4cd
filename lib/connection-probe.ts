import { connect, isIP, type Socket } from "node:net";
import { backoffDelay, type BackoffRange } from "./backoff.ts";
import type { Clock } from "./clock.ts";

/** A connect that is neither accepted nor refused by then (an address without a holder) is given up. */
export const CONNECT_MS = 1_000;
/** A resolver that has lost a packet asks again after 5 s. */
const LOOKUP_MS = 6_000;
/** For `heldMs`: a proxy of ports accepts before the program behind it does, and closes if it cannot connect to that. */
export const HELD_MS = 100;

type TimedConnectOptions = {
  clock: Pick<Clock, "after">;
  /** The limit of a connect, without the look-up of the name; by default `CONNECT_MS`. */
  connectMs?: number;
  /** Called after the look-up of a name; `code`, such as ENOTFOUND, if it failed. */
  onLookup?: ((host: string, code: string | undefined) => void) | undefined;
};

type ConnectionTest = TimedConnectOptions & {
  clock: Pick<Clock, "after" | "sleep">;
  signal: AbortSignal;
  /** The connection must still be open after so many milliseconds. */
  heldMs?: number;
};

/** A socket that connects. It is destroyed with an error if the look-up of the name or the connect takes too long. */
export function connectWithin(
  { host, port }: { host: string; port: number },
  { clock, connectMs = CONNECT_MS, onLookup }: TimedConnectOptions,
): Socket {
  const socket = connect({ host, port });
  const giveUp = () => void socket.destroy(new Error("no connection in time"));
  const isName = isIP(host) === 0;
  let cancel = clock.after(isName ? LOOKUP_MS : connectMs, giveUp);
  if (isName)
    socket.once("lookup", (error: NodeJS.ErrnoException | null) => {
      onLookup?.(host, error?.code);
      cancel();
      cancel = clock.after(connectMs, giveUp);
    });
  const done = () => cancel();
  return socket.once("connect", done).once("close", done);
}

/** Whether the address accepts a connection now. Rejects with the signal's reason. */
export function acceptsConnection(address: { host: string; port: number }, { signal, heldMs = 0, ...limits }: ConnectionTest): Promise<boolean> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connectWithin(address, limits);
    let cancel = () => {};
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const refused = () => settle(() => resolve(false));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", refused);
    socket.once("close", refused);
    socket.once("connect", () => {
      // If nothing listens, the kernel may give a loopback socket the port that it connects to: the socket is then connected to itself.
      if (socket.localPort === address.port && socket.localAddress === socket.remoteAddress) return refused();
      if (heldMs === 0) return settle(() => resolve(true));
      cancel = limits.clock.after(heldMs, () => settle(() => resolve(true)));
      // Reads, and so notices the end.
      socket.once("end", refused).resume();
    });
  });
}

/** Resolves when the address accepts a connection. Rejects with the signal's reason. */
export async function waitForConnect(address: { host: string; port: number }, retry: BackoffRange, test: ConnectionTest): Promise<void> {
  for (let tries = 1; !(await acceptsConnection(address, test)); tries++) await test.clock.sleep(backoffDelay(retry, tries), test.signal);
}

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
