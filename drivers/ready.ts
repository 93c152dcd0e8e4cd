import type { Clock } from "../lib/clock.ts";
import { completesWithin } from "../lib/deadline.ts";
import { acceptsConnection, CONNECT_MS, connectWithin, HELD_MS } from "../lib/connection-probe.ts";
import { openHttpClient } from "../lib/http-client.ts";
import type { Address, DeployCall, Readiness, Spec } from "./driver.ts";

/** A request that wakes a container waits half of this in vain on average. After 1 s it grows to a fortieth of the time passed: hundreds that never listen cost little. */
const TRY_EVERY_MS = 25;
const LONGEST_TRY_MS = 500;
/** A node drops the first packet to an address that it does not lead anywhere yet, and the kernel sends the next one a second later: a new connect comes sooner. */
const FIRST_CONNECT_MS = 150;
/** How often in a row a connection that a port proxy accepted must stay open. */
const HELD_TIMES = 3;

/**
 * `accepted`: the address is the container's own, so an accepted connection is proof. `held`: a proxy accepts in its place, so the connection must stay
 * open for 100 ms, three times in a row.
 */
export type Proof = "accepted" | "held";

/** `address` is undefined without a port. `health`: the address of a health port of its own. */
export type ReadyTarget = { address: Address | undefined; proof: Proof; health?: Address | undefined };

type ReadyOptions = { clock: Clock; signal: AbortSignal } & Pick<DeployCall, "onHealthStatus" | "onLookup">;

/** Settles as the first of several tasks does, and then aborts the others: a start succeeds when its container is ready, or fails when it ends. */
export async function firstOf<T>(signal: AbortSignal, start: (own: AbortSignal) => Promise<T>[]): Promise<T> {
  const decided = new AbortController();
  try {
    return await Promise.race(start(AbortSignal.any([signal, decided.signal])));
  } finally {
    decided.abort(new Error("The start is decided."));
  }
}

/**
 * Resolves when the container shows what its spec demands; tries until the signal aborts, then rejects with its reason. The image's own health check is
 * the orchestrator's to run: here it counts as the port.
 */
export async function awaitReady(spec: Pick<Spec, "readiness" | "graceMs" | "port">, target: ReadyTarget, options: ReadyOptions): Promise<void> {
  const { readiness, graceMs, port } = spec;
  const { address, health, proof } = target;
  if (address === undefined || readiness.kind === "running") return options.clock.sleep(graceMs, options.signal);
  if (readiness.kind === "http") await awaitResponse(health ?? address, { port, ...readiness }, options);
  // The gateway connects to this port, whatever another one answers.
  if (readiness.kind !== "http" || health) await awaitPort(address, proof, options);
}

/** The port of health requests, if it is another one than that of the container. */
export function ownHealthPort({ readiness, port }: Pick<Spec, "readiness" | "port">): number | undefined {
  return readiness.kind === "http" && port !== undefined && readiness.port !== port ? readiness.port : undefined;
}

/** The address of that port at a container whose ports are all reached at one host. */
export function healthAddress(spec: Pick<Spec, "readiness" | "port">, host: string | undefined): Address | undefined {
  const port = ownHealthPort(spec);
  return port === undefined || host === undefined ? undefined : { host, port };
}

/** Resolves when the address accepts connections; tries until the signal aborts, then rejects with its reason. */
export async function awaitPort(address: Address, proof: Proof, { clock, signal, onLookup }: ReadyOptions): Promise<void> {
  const began = clock.monotonic();
  for (let times = 0; ;) {
    signal.throwIfAborted();
    const connectMs = connectLimit(clock.monotonic() - began);
    times = (await takesConnection(address, proof, { clock, signal, onLookup, connectMs })) ? times + 1 : 0;
    if (times >= (proof === "held" ? HELD_TIMES : 1)) return;
    if (times === 0) await clock.sleep(pauseAfter(clock.monotonic() - began), signal);
  }
}

/** The pause after an attempt, by the time since the first one. */
export function pauseAfter(passedMs: number): number {
  return Math.min(LONGEST_TRY_MS, Math.max(TRY_EVERY_MS, passedMs / 40));
}

/** Whether a connection is accepted and, where a proxy accepts, still open a moment later. Rejects with the signal's reason. */
export function takesConnection(
  address: Address,
  proof: Proof,
  { clock, signal, onLookup, connectMs = CONNECT_MS }: ReadyOptions & { connectMs?: number },
): Promise<boolean> {
  return acceptsConnection(address, { clock, signal, heldMs: proof === "held" ? HELD_MS : 0, connectMs, onLookup });
}

/** The limit of a connect, by the time since the first one: a container far away gets the whole after 4 s. */
function connectLimit(passedMs: number): number {
  return Math.min(CONNECT_MS, Math.max(FIRST_CONNECT_MS, passedMs / 4));
}

/** An app that is busy with its boot may answer late, or never: another request is sent beside one without a response. */
const ANOTHER_AFTER_MS = 1_000;
const MOST_OPEN = 3;

/**
 * Resolves when a GET is answered with 2xx or 3xx; redirects are not followed. The response's body is not read. At a port proxy a response proves that the
 * container has sent it. `Host` is as in a check inside the container: apps that refuse unknown hosts accept that one.
 */
export function awaitResponse(
  address: Address,
  { path, port: containerPort = address.port, timeoutMs }: Pick<Extract<Readiness, { kind: "http" }>, "path" | "port" | "timeoutMs">,
  { clock, signal, onHealthStatus, onLookup }: ReadyOptions,
): Promise<void> {
  const { host, port } = address;
  const began = clock.monotonic();
  const connect = () => connectWithin(address, { clock, connectMs: connectLimit(clock.monotonic() - began), onLookup });
  const http = openHttpClient({ clock, maxBytes: 0, timeoutMs, connect, toFault: ({ why }) => new Error(why) });
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}${path.startsWith("/") ? path : `/${path}`}`;
  const headers = { host: `localhost:${containerPort}`, "user-agent": "berth", accept: "*/*", connection: "close" };
  const open = new Set<Promise<void>>();
  const ready = Promise.withResolvers<void>();
  const send = async (own: AbortSignal) => {
    try {
      const { status, stream } = await http.stream({ url, headers, signal: own });
      stream.on("error", () => {}).destroy();
      if (status >= 200 && status < 400) ready.resolve();
      else if (!own.aborted) onHealthStatus?.(status);
    } catch {
      // Refused, cut off, overdue, or not HTTP: not ready yet.
    }
  };
  const sendRepeatedly = async (own: AbortSignal): Promise<never> => {
    for (;;) {
      own.throwIfAborted();
      const sent: Promise<void> = send(own).finally(() => open.delete(sent));
      open.add(sent);
      await completesWithin(sent, ANOTHER_AFTER_MS, clock);
      if (open.size >= MOST_OPEN) await Promise.race(open);
      await clock.sleep(pauseAfter(clock.monotonic() - began), own);
    }
  };
  return firstOf<void>(signal, (own) => [ready.promise, sendRepeatedly(own)]).finally(http.close);
}
