import { open } from "./ask.ts";
import { at, type Chain, type Echo } from "./chain.ts";
import { openEchoSocket } from "./echo-socket.ts";
import { type Finding, type Problem, wrong } from "./finding.ts";

/** Beside the silence: the time to open, and to be told of an end. */
const BESIDE_MS = 20_000;

export function idleMs({ asked }: Chain): number {
  return asked.idleSeconds * 1_000 + BESIDE_MS;
}

/** Who cuts connections on which nothing is said: a WebSocket and a response, both held for as long as was asked for. */
export async function checkIdle(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { asked, found, clock, server } = chain;
  const seconds = asked.idleSeconds;
  if (seconds === 0) return { unlooked: "it takes its time: --idle 70 holds silent connections for 70 s" };
  if (found.echo === undefined) return { unlooked: "there is no container to hold them with" };
  const held = await Promise.all([holdSocket(chain, found.echo, seconds * 1_000, signal), holdAnswer(found.echo)]);
  const problems = held.flatMap(({ what, cutMs, why }): Problem[] => {
    if (cutMs === undefined) return [];
    const said = `A silent ${what} was cut after ${(cutMs / 1_000).toFixed(1)} s (${why}).`;
    return [
      wrong(
        said,
        "Raise the idle time-out of what stands in front: of nginx `proxy_read_timeout` and `proxy_send_timeout`, of a load balancer its own.",
      ),
    ];
  });
  return { says: `silent for ${seconds} s, and not cut`, problems };

  async function holdAnswer({ id, token }: Echo): Promise<Held> {
    const over = new AbortController();
    const url = at(server, `/api/docker/containers/proxy/${id}/silent`);
    const what = "response";
    try {
      return await open(url, { headers: { authorization: token }, signal: AbortSignal.any([signal, over.signal]) }, async ({ body }) => {
        const pieces = body[Symbol.asyncIterator]();
        await pieces.next();
        const begun = clock.monotonic();
        // The first word came; the next that comes is its end.
        const cut = pieces.next().then(() => "it ended", (error: unknown) => (error as Error).message); // prettier-ignore
        const why = await Promise.race([cut, clock.sleep(seconds * 1_000, signal).then(() => undefined)]);
        return why === undefined ? { what } : { what, cutMs: clock.monotonic() - begun, why };
      });
    } finally {
      over.abort();
    }
  }
}

type Held = { what: string; cutMs?: number; why?: string };

async function holdSocket(chain: Chain, echo: Echo, ms: number, signal: AbortSignal): Promise<Held> {
  const what = "WebSocket";
  const socket = await openEchoSocket(chain, echo, signal);
  const begun = chain.clock.monotonic();
  try {
    const why = await Promise.race([socket.ended, chain.clock.sleep(ms, signal).then(() => undefined)]);
    return why === undefined ? { what } : { what, cutMs: chain.clock.monotonic() - begun, why };
  } finally {
    socket.close();
  }
}
