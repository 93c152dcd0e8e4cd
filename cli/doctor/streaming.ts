import { Fault } from "../../lib/fault.ts";
import { type CheckContext, type CheckResult, urlAt, type EchoContainer, type CheckProblem, failure } from "./check.ts";
import { WebSocket } from "ws";
import { streamResponse } from "./send-request.ts";
import { reasonOf } from "../../lib/http-client.ts";
import type { Clock } from "../../lib/clock.ts";

const TEXT = "berth doctor";

/** Opens a WebSocket at the public address, waits for `CONNECTED`, and echoes a message. */
export async function checkWebSocket(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (chain.shared.echo === undefined) return { unlooked: "there is no test container" };
  const socket = await openEchoSocket(chain, chain.shared.echo, signal);
  try {
    if ((await socket.echo(TEXT)) === TEXT) return { says: "CONNECTED, and an echoed message" };
    throw new Fault("CHAIN_BROKEN", "The WebSocket does not return the message that was sent.");
  } finally {
    socket.close();
  }
}

/** A WebSocket to the test container after `CONNECTED`. */
type EchoSocket = {
  /** Sends a text and resolves with the reply. */
  echo(text: string): Promise<string>;
  /** Resolves at its end, with the reason. */
  ended: Promise<string>;
  close(): void;
};

/** Opens it like Datagrok's client. Faults: CHAIN_BROKEN, which names the failed step. */
async function openEchoSocket({ server }: CheckContext, { id, token }: EchoContainer, signal: AbortSignal): Promise<EchoSocket> {
  const url = urlAt(server, `/api/docker/containers/proxy-ws/${id}/`).replace(/^http/, "ws");
  const socket = new WebSocket(url, { headers: { authorization: token }, perMessageDeflate: false });
  const stop = () => socket.terminate();
  signal.addEventListener("abort", stop, { once: true });
  const ended = Promise.withResolvers<string>();
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  const fail = (sentence: string, cause?: unknown) => broken.reject(new Fault("CHAIN_BROKEN", sentence, { cause }));
  socket.on("unexpected-response", (_request, { statusCode }) => {
    fail(`The address answers a WebSocket with ${statusCode}, not 101: the proxy in front does not forward Upgrade.`);
    socket.terminate();
  });
  socket.on("error", (cause) => {
    fail(`No WebSocket can be opened: ${reasonOf(cause)}.`, cause);
    ended.resolve(reasonOf(cause));
  });
  socket.on("close", (code, reason) => {
    const closeReason = `${code}${reason.length > 0 ? ` ${reason.toString()}` : ""}`;
    fail(`The WebSocket was closed with ${closeReason}.`);
    ended.resolve(closeReason);
  });
  const next = () =>
    Promise.race([
      broken.promise,
      new Promise<string>((resolve) => {
        // The client requires a text frame.
        socket.once("message", (data: Buffer, isBinary: boolean) => resolve(isBinary ? `binary ${data.toString("hex")}` : data.toString()));
      }),
    ]);
  const first = await next().catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
  if (first !== "CONNECTED") {
    socket.terminate();
    throw new Fault("CHAIN_BROKEN", "The first frame of the WebSocket is not the text CONNECTED.");
  }
  return {
    echo: (text) => {
      const back = next();
      socket.send(text);
      return back;
    },
    ended: ended.promise,
    close: () => {
      signal.removeEventListener("abort", stop);
      socket.terminate();
    },
  };
}

/** In addition to the silence: the time to open and to close. */
const MARGIN_MS = 20_000;
const RAISE = "Raise the idle time-out of the proxy in front: `proxy_read_timeout` and `proxy_send_timeout` of nginx, or that of the load balancer.";

/** When and why a connection ended; undefined: it did not. */
type Disconnect = { ms: number; why: string } | undefined;
type HoldConnection = (chain: CheckContext, echo: EchoContainer, ms: number, signal: AbortSignal) => Promise<Disconnect>;

export function idleMs({ options }: CheckContext): number {
  return options.idleSeconds * 1_000 + MARGIN_MS;
}

/** Holds a silent WebSocket and a silent response for the given time, and reports which was closed. */
export async function checkIdle(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { options, shared } = chain;
  const { echo } = shared;
  const seconds = options.idleSeconds;
  if (seconds === 0) return { unlooked: "slow: --idle 70 holds silent connections for 70 s" };
  if (echo === undefined) return { unlooked: "there is no test container" };
  const held = await Promise.all(
    Object.entries(HELD_CONNECTIONS).map(async ([what, hold]): Promise<CheckProblem[]> => {
      const cut = await hold(chain, echo, seconds * 1_000, signal);
      return cut === undefined ? [] : [failure(`A silent ${what} was cut after ${(cut.ms / 1_000).toFixed(1)} s (${cut.why}).`, RAISE)];
    }),
  );
  return { says: `silent for ${seconds} s without a disconnect`, problems: held.flat() };
}

const HELD_CONNECTIONS: Readonly<Record<string, HoldConnection>> = {
  WebSocket: async (chain, echo, ms, signal) => {
    const socket = await openEchoSocket(chain, echo, signal);
    return waitForDisconnect(socket.ended, ms, chain.clock, signal).finally(socket.close);
  },
  response: async ({ server, clock }, { id, token }, ms, signal) => {
    const url = urlAt(server, `/api/docker/containers/proxy/${id}/silent`);
    return streamResponse(url, { headers: { authorization: token }, signal }, async ({ status, stream }) => {
      if (status !== 200) throw new Fault("CHAIN_BROKEN", `The silent response has status ${status}.`);
      const pieces = stream[Symbol.asyncIterator]();
      await pieces.next();
      // After the first event, the next result is the end.
      const ended = pieces.next().then(
        () => "it ended",
        (error: unknown) => (error as Error).message,
      );
      return waitForDisconnect(ended, ms, clock, signal);
    });
  },
};

async function waitForDisconnect(ended: Promise<string>, ms: number, clock: Clock, signal: AbortSignal): Promise<Disconnect> {
  const begun = clock.monotonic();
  const over = new AbortController();
  try {
    const why = await Promise.race([ended, clock.sleep(ms, AbortSignal.any([signal, over.signal])).then(() => undefined)]);
    return why === undefined ? undefined : { ms: clock.monotonic() - begun, why };
  } finally {
    over.abort();
  }
}

const EVERY_MS = 200;
const COUNT = 5;
/** A busy machine may read separate events late once; a buffering proxy delays them each time. */
const TRIES = 3;

/** Whether events arrive when they are sent, and not all at the end. */
export async function checkEvents(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { shared, server, clock } = chain;
  if (shared.echo === undefined) return { unlooked: "there is no test container" };
  const { id, token } = shared.echo;
  const url = urlAt(server, `/api/docker/containers/proxy/${id}/events?every=${EVERY_MS}&count=${COUNT}`);
  const whole = EVERY_MS * (COUNT - 1);
  let widest = 0;
  for (let tried = 0; tried < TRIES; tried++) {
    const spread = await streamResponse(
      url,
      { headers: { authorization: token, accept: "text/event-stream" }, signal },
      async ({ status, stream }) => {
        if (status !== 200) throw new Fault("CHAIN_BROKEN", `The events have status ${status}.`);
        const arrivals: number[] = [];
        for await (const piece of stream) if (String(piece).includes("data:")) arrivals.push(clock.monotonic());
        return (arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0);
      },
    );
    widest = Math.max(widest, spread);
    if (spread > whole / 2) return { says: `${COUNT} events, ${EVERY_MS} ms apart, arrived over ${spread.toFixed(0)} ms` };
  }
  const what = `${COUNT} events that were sent over ${whole} ms arrived within ${widest.toFixed(0)} ms: a proxy in front buffers them.`;
  return { says: "", problems: [failure(what, "Disable its response buffering, in nginx by `proxy_buffering off`.")] };
}
