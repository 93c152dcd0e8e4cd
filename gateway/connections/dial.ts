import { Socket, type NetConnectOpts } from "node:net";
import { connect as connectSecurely } from "node:tls";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Count, Metrics } from "../../lib/metrics/open-metrics.ts";
import type { Lease, TlsPeer, ForwardTarget } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import { raceAbort } from "../../lib/deadline.ts";
import type { Log } from "../../lib/log.ts";

/** A connection that could not be made: no byte was sent, so another target may be tried. */
export class ConnectionRefused extends Error {}

/** The target is no longer the container's: nothing may be sent there, however well it takes connections. */
export class TargetRemoved extends ConnectionRefused {}

/** How often an exchange may find that its target was taken away before anything was sent; each time it waits for the next one. */
export const MOST_REMOVALS = 10;

/** Whatever an engine makes of a connection: a link, or the socket alone. */
export type DialedSocket = { socket: Socket };

export type DialResult<Made extends DialedSocket> = { connection: Made; target: ForwardTarget; connectMs: number };

/** How connects went, and how many were second ones. */
export type DialCounts = {
  made: Count;
  refused: Count;
  retries: Count;
  /** This process, or the machine, has no descriptor left for a connection. */
  exhausted?(code: string): void;
};

/** Errors of this machine, which cannot connect anywhere, and not of the container. */
const EXHAUSTED: readonly string[] = ["EMFILE", "ENFILE"];
const RETRY_MS = 1_000;

export type DialOptions<Made extends DialedSocket> = {
  clock: Clock;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs">;
  signal: AbortSignal;
  /** Where the lease leads, where that was asked already. */
  target?: ForwardTarget;
  dials?: DialCounts;
  /** Begins a connection; how that goes, its socket's own events tell. */
  connect(options: ConnectOptions): Made;
};

/** With `tls`, the connection counts as made once both ends have agreed on keys. */
export type ConnectOptions = NetConnectOpts & { tls?: TlsPeer | undefined };

/** What of a lease leads to its target. */
export type TargetLease = Pick<Lease, "target" | "replaceTarget" | "onTargetGone">;

/** As a socket and nothing more. */
export function connectPlainly(options: ConnectOptions): DialedSocket {
  return { socket: options.tls === undefined ? new Socket(options).connect(options) : openSecured(options, options.tls) };
}

/** The other end is another one than the one that is meant. */
export class CertificateDiffers extends Error {}

export function openSecured({ keepAliveInitialDelay, ...options }: ConnectOptions, { servername, ca, fingerprint }: TlsPeer): Socket {
  const known = fingerprint === undefined ? { ca } : { rejectUnauthorized: false };
  const socket = connectSecurely({ ...options, ...known, servername, ALPNProtocols: ["http/1.1"] });
  if (fingerprint !== undefined) {
    // Ours is the first listener, and what was written so far leaves only after it: who is not meant is sent nothing.
    socket.once("secureConnect", () => {
      const shown = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase();
      if (shown !== fingerprint) socket.destroy(new CertificateDiffers("another certificate"));
    });
  }
  return socket.setNoDelay(true).setKeepAlive(true, keepAliveInitialDelay);
}

/**
 * Connects to where the lease leads. Of a target that refuses, a better one is requested once; of one that is removed before anything was sent, again and
 * again: then the exchange waits, and is never sent there. Faults: CONTAINER_UNREACHABLE, DESCRIPTORS_EXHAUSTED, and the lease's own.
 */
export async function dialLease<Made extends DialedSocket>(lease: TargetLease, options: DialOptions<Made>): Promise<DialResult<Made>> {
  const { signal } = options;
  let target = options.target ?? (await raceAbort(Promise.resolve(lease.target()), signal));
  for (let refusals = 0, removals = 0; ;) {
    try {
      return await dial(lease, target, options);
    } catch (error) {
      if (!(error instanceof ConnectionRefused)) throw error;
      const isLast = error instanceof TargetRemoved ? ++removals > MOST_REMOVALS : ++refusals > 1;
      if (isLast) throw unreachable(error);
    }
    target = await raceAbort(lease.replaceTarget(target), signal);
    options.dials?.retries.add();
  }
}

export function unreachable(cause: Error): Fault {
  return new Fault("CONTAINER_UNREACHABLE", `The container refused the connection (${codeOf(cause)})`, { cause });
}

export function brokeOff(cause: unknown): Fault {
  return new Fault("CONTAINER_BROKE_OFF", `The container broke the connection before it answered (${codeOf(cause)})`, { cause });
}

/** An error's own code (`ECONNREFUSED`), which names no address. */
export function codeOf(error: unknown): string {
  const inner = error instanceof ConnectionRefused ? error.cause : error;
  return inner instanceof Error && "code" in inner && typeof inner.code === "string" ? inner.code : "no reason given";
}

function dial<Made extends DialedSocket>(lease: TargetLease, target: ForwardTarget, options: DialOptions<Made>): Promise<DialResult<Made>> {
  const { clock, limits, signal } = options;
  const begun = clock.monotonic();
  return new Promise((resolve, reject) => {
    let onRemoved = (): void => void (removed = true);
    let removed = false;
    const unwatch = lease.onTargetGone(target, () => onRemoved());
    if (removed) {
      unwatch();
      return reject(new TargetRemoved("removed"));
    }
    // Half-open: each side of an upgraded connection ends when it has said all it had to say.
    const connection = options.connect({
      ...("socketPath" in target ? { path: target.socketPath } : target),
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: limits.probeAfterMs,
    });
    const { socket } = connection;
    const settle = (act: () => void) => {
      cancel();
      unwatch();
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      act();
    };
    const fail = (error: Error) =>
      settle(() => {
        socket.on("error", () => undefined);
        socket.destroy();
        reject(error);
      });
    const onError = (cause: Error) => {
      const code = codeOf(cause);
      if (EXHAUSTED.includes(code)) {
        options.dials?.exhausted?.(code);
        const why = `berth has no file descriptor left to connect to the container (${code}): raise the limit of open files (nofile)`;
        return fail(new Fault("DESCRIPTORS_EXHAUSTED", why, { cause, retryAfterMs: RETRY_MS }));
      }
      options.dials?.refused.add();
      fail(new ConnectionRefused("refused", { cause }));
    };
    const onAbort = () => fail(signal.reason as Error);
    const cancel = clock.after(limits.connectTimeoutMs, () => onError(Object.assign(new Error("connect timed out"), { code: "ETIMEDOUT" })));
    onRemoved = () => fail(new TargetRemoved("removed"));
    socket.once("error", onError);
    socket.once("tls" in target ? "secureConnect" : "connect", () => {
      // Of an end that was not the right one, the error is on its way.
      if (socket.destroyed) return;
      settle(() => {
        options.dials?.made.add();
        resolve({ connection, target, connectMs: clock.monotonic() - begun });
      });
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** It comes in thousands, or not at all. */
const SAY_AGAIN_MS = 10_000;

/** Counts connects, and logs, now and then, that this process has no descriptor left for one. */
export function dialCounts(metrics: Pick<Metrics, "connects" | "retries">, { clock, log }: { clock: Clock; log: Log }): DialCounts {
  const { connects } = metrics;
  let saidAt: number | undefined;
  return {
    made: connects.at("made"),
    refused: connects.at("refused"),
    retries: metrics.retries.at(),
    exhausted: (code) => {
      connects.at("noDescriptor").add();
      if (saidAt !== undefined && clock.monotonic() - saidAt < SAY_AGAIN_MS) return;
      saidAt = clock.monotonic();
      log.error({ code }, "no file descriptor is left for a connection to a container: raise the limit (nofile)");
    },
  };
}
