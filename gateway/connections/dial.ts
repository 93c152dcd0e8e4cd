import { Socket, type NetConnectOpts } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectSecurely } from "node:tls";
import { type Clock, onceEvery } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Count, Metrics } from "../../lib/metrics/open-metrics.ts";
import type { ContainerSessions } from "../http2/container-sessions.ts";
import type { Lease, TlsPeer, ForwardTarget } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import { raceAbort } from "../../lib/deadline.ts";
import type { Log } from "../../lib/log.ts";

/** No connection was made, so no byte was sent, and another target may be tried. */
class ConnectionRefused extends Error {}

/** The target no longer belongs to the container: nothing may be sent there, even if it accepts connections. */
class TargetRemoved extends ConnectionRefused {}

/** How often the target of one exchange may be removed before a byte was sent. Each time the exchange waits for the next target. */
const MAX_REMOVALS = 10;

/** How many targets of one exchange may be lost, or refuse, where the lease names the next one (`targetAfterLoss`): the request may be what ends them. */
export const MAX_FAILOVERS = 2;

/** `socket` is connected, paused, and was not read: a socket, or a stream in memory to a container of HTTP/2. */
export type DialResult = { socket: Duplex; target: ForwardTarget; connectMs: number };

export type DialCounts = {
  made: Count;
  refused: Count;
  retries: Count;
  /** The process or the machine has no file descriptor left. */
  exhausted?(code: string): void;
};

/** Errors of this machine, not of the container. */
const EXHAUSTED: readonly string[] = ["EMFILE", "ENFILE"];
const RETRY_MS = 1_000;

type DialOptions = {
  clock: Clock;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs">;
  signal: AbortSignal;
  /** The lease's target, if it is known. */
  target?: ForwardTarget;
  dials?: DialCounts;
  /** Connects to containers that speak HTTP/2. Without it they get HTTP/1.1. */
  h2c?: Pick<ContainerSessions, "connect">;
};

/** With `tls`, the connect ends with the handshake. */
type ConnectOptions = NetConnectOpts & { tls?: TlsPeer | undefined };

type TargetLease = Pick<Lease, "target" | "replaceTarget" | "targetAfterLoss" | "onTargetGone">;

/** A paused socket, whose events report the result. Unless it is paused, it would begin to read with the connect. */
function connect(options: ConnectOptions): Socket {
  return options.tls === undefined ? new Socket(options).pause().connect(options) : openSecured(options, options.tls).pause();
}

/** The server's certificate is not the expected one. */
export class CertificateDiffers extends Error {}

export function openSecured({ keepAliveInitialDelay, ...options }: ConnectOptions, { servername, ca, fingerprint }: TlsPeer): Socket {
  const verification = fingerprint === undefined ? { ca } : { rejectUnauthorized: false };
  const socket = connectSecurely({ ...options, ...verification, servername, ALPNProtocols: ["http/1.1"] });
  if (fingerprint !== undefined) {
    // This is the first listener, and queued bytes are sent after it: another server receives nothing.
    socket.once("secureConnect", () => {
      const actual = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase();
      if (actual !== fingerprint) socket.destroy(new CertificateDiffers("another certificate"));
    });
  }
  return socket.setNoDelay(true).setKeepAlive(true, keepAliveInitialDelay);
}

/**
 * Connects to the target of a lease. A target that refuses is replaced once, or up to `MAX_FAILOVERS` times where another server can take its place; a
 * target that is removed before a byte was sent, up to `MAX_REMOVALS` times.
 * Faults: CONTAINER_UNREACHABLE, DESCRIPTORS_EXHAUSTED, and those of the lease.
 */
export async function dialLease(lease: TargetLease, options: DialOptions): Promise<DialResult> {
  const { signal } = options;
  const mostRefusals = lease.targetAfterLoss === undefined ? 1 : MAX_FAILOVERS;
  let target = options.target ?? (await raceAbort(Promise.resolve(lease.target({ signal })), signal));
  for (let refusals = 0, removals = 0; ;) {
    try {
      return await dial(lease, target, options);
    } catch (error) {
      if (!(error instanceof ConnectionRefused)) throw error;
      const isLast = error instanceof TargetRemoved ? ++removals > MAX_REMOVALS : ++refusals > mostRefusals;
      if (isLast) throw unreachable(error);
    }
    target = await raceAbort(lease.replaceTarget(target, { signal }), signal);
    options.dials?.retries.add();
  }
}

export function unreachable(cause: Error): Fault {
  return new Fault("CONTAINER_UNREACHABLE", `The container refused the connection (${codeOf(cause)})`, { cause });
}

export function brokeOff(cause: unknown): Fault {
  return new Fault("CONTAINER_BROKE_OFF", `The container closed the connection before it responded (${codeOf(cause)})`, { cause });
}

/** An error's code (`ECONNREFUSED`); its message would reveal the address. */
function codeOf(error: unknown): string {
  const inner = error instanceof ConnectionRefused ? error.cause : error;
  return inner instanceof Error && "code" in inner && typeof inner.code === "string" ? inner.code : "no reason given";
}

/** A paused connection, whose events report the result. Half-open: each direction of an upgraded connection ends by itself. */
function begin(lease: TargetLease, target: ForwardTarget, { h2c, limits }: DialOptions): Duplex {
  if (h2c !== undefined && "h2c" in target) return h2c.connect(target, (act) => lease.onTargetGone(target, act)).pause();
  return connect({
    ...("socketPath" in target ? { path: target.socketPath } : target),
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: limits.probeAfterMs,
  });
}

function dial(lease: TargetLease, target: ForwardTarget, options: DialOptions): Promise<DialResult> {
  const { clock, limits, signal } = options;
  const begun = clock.monotonic();
  return new Promise((resolve, reject) => {
    let onRemoved = (): void => void (removed = true);
    let removed = false;
    let settled = false;
    const unwatch = lease.onTargetGone(target, () => onRemoved());
    if (removed) {
      unwatch();
      return reject(new TargetRemoved("removed"));
    }
    const socket = begin(lease, target, options);
    const settle = (act: () => void) => {
      settled = true;
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
    const onOverdue = () => {
      if (!settled) onError(Object.assign(new Error("connect timed out"), { code: "ETIMEDOUT" }));
    };
    // If this process was busy for so long, the connection may be there, and its event comes before the immediate.
    const cancel = clock.after(limits.connectTimeoutMs, () => setImmediate(onOverdue));
    onRemoved = () => fail(new TargetRemoved("removed"));
    socket.once("error", onError);
    socket.once("tls" in target ? "secureConnect" : "connect", () => {
      // The certificate was wrong; an error event follows.
      if (socket.destroyed) return;
      settle(() => {
        options.dials?.made.add();
        resolve({ socket, target, connectMs: clock.monotonic() - begun });
      });
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** Such errors come in thousands. */
const LOG_EVERY_MS = 10_000;

/** Counts connects, and logs at intervals that no file descriptor is left. */
export function dialCounts(metrics: Pick<Metrics, "connects" | "retries">, { clock, log }: { clock: Clock; log: Log }): DialCounts {
  const { connects } = metrics;
  const mayLog = onceEvery(LOG_EVERY_MS, clock);
  return {
    made: connects.at("made"),
    refused: connects.at("refused"),
    retries: metrics.retries.at(),
    exhausted: (code) => {
      connects.at("noDescriptor").add();
      if (mayLog()) log.error({ code }, "no file descriptor left to connect to a container; raise the limit (nofile)");
    },
  };
}
