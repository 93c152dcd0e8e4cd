import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { open } from "./send-request.ts";
import { at, type Chain, type Echo } from "./check.ts";
import { openEchoSocket } from "./echo-socket.ts";
import { type Finding, type Problem, wrong } from "./finding.ts";

/** Beside the silence: the time to open, and to be told of an end. */
const BESIDE_MS = 20_000;
const RAISE = "Raise the idle time-out of what stands in front: of nginx `proxy_read_timeout` and `proxy_send_timeout`, of a load balancer its own.";

/** How long a connection was held, and why no longer; undefined: it was not cut. */
type Cut = { ms: number; why: string } | undefined;
type Hold = (chain: Chain, echo: Echo, ms: number, signal: AbortSignal) => Promise<Cut>;

export function idleMs({ asked }: Chain): number {
  return asked.idleSeconds * 1_000 + BESIDE_MS;
}

/** Who cuts connections on which nothing is said: a WebSocket and a response, both held for as long as was asked for. */
export async function checkIdle(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { asked, found } = chain;
  const { echo } = found;
  const seconds = asked.idleSeconds;
  if (seconds === 0) return { unlooked: "it takes its time: --idle 70 holds silent connections for 70 s" };
  if (echo === undefined) return { unlooked: "there is no container to hold them with" };
  const held = await Promise.all(
    Object.entries(HOLDS).map(async ([what, hold]): Promise<Problem[]> => {
      const cut = await hold(chain, echo, seconds * 1_000, signal);
      return cut === undefined ? [] : [wrong(`A silent ${what} was cut after ${(cut.ms / 1_000).toFixed(1)} s (${cut.why}).`, RAISE)];
    }),
  );
  return { says: `silent for ${seconds} s, and not cut`, problems: held.flat() };
}

const HOLDS: Readonly<Record<string, Hold>> = {
  WebSocket: async (chain, echo, ms, signal) => {
    const socket = await openEchoSocket(chain, echo, signal);
    return cutWithin(socket.ended, ms, chain.clock, signal).finally(socket.close);
  },
  response: async ({ server, clock }, { id, token }, ms, signal) => {
    const url = at(server, `/api/docker/containers/proxy/${id}/silent`);
    return open(url, { headers: { authorization: token }, signal }, async ({ status, stream }) => {
      if (status !== 200) throw new Fault("CHAIN_BROKEN", `The container's silence is answered ${status}.`);
      const pieces = stream[Symbol.asyncIterator]();
      await pieces.next();
      // The first word came; the next that comes is its end.
      const ended = pieces.next().then(
        () => "it ended",
        (error: unknown) => (error as Error).message,
      );
      return cutWithin(ended, ms, clock, signal);
    });
  },
};

async function cutWithin(ended: Promise<string>, ms: number, clock: Clock, signal: AbortSignal): Promise<Cut> {
  const begun = clock.monotonic();
  const over = new AbortController();
  try {
    const why = await Promise.race([ended, clock.sleep(ms, AbortSignal.any([signal, over.signal])).then(() => undefined)]);
    return why === undefined ? undefined : { ms: clock.monotonic() - begun, why };
  } finally {
    over.abort();
  }
}
