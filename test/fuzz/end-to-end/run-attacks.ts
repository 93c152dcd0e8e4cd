import type { Test } from "tap";
import type { SocketKind } from "../../fixtures/connections.ts";
import { ownKeys } from "../../correctness/open-berth.ts";
import { openStand } from "../../gateway/stand.ts";
import { openJudge, type Judge } from "../judge.ts";
import { numbers } from "../numbers.ts";
import { attackRequests, type AttackTally } from "./attack-requests.ts";
import { attackResponses } from "./attack-responses.ts";
import { attackByHttp2, HTTP2_ATTACKS } from "./http2-attacks.ts";
import { RECORDING_SERVERS } from "./recording-servers.ts";
import { CONTRADICTORY_REQUESTS, REQUEST_ATTACKS } from "./request-attacks.ts";
import { RESPONSE_ATTACKS } from "./response-attacks.ts";

type Scope = Pick<Test, "teardown">;

/** One series of attacks, `numbers` of them, all of which follow from the seed. `every`: a whole run plays one of so many. `known`: a sample has these too. */
export type AttackSeries = {
  name: string;
  all: number;
  known?: readonly number[];
  every?: number;
  play(t: Scope, run: AttackSeriesRun): Promise<AttackTally>;
};

type AttackSeriesRun = { judge: Judge; seed: number; numbers: readonly number[]; sockets: SocketKind };

const LIMITS = { lingeringCloseMs: 20 };

export const ATTACK_SERIES: readonly AttackSeries[] = [
  ...Object.entries(RECORDING_SERVERS).map(([name, openServer]): AttackSeries => ({
    name: `${name} sees just the requests that h11 reads in what came, and the client has an answer to each of them`,
    all: REQUEST_ATTACKS,
    known: CONTRADICTORY_REQUESTS,
    play: async (t, { sockets, ...run }) => {
      const stand = await openStand(t, { forwarder: "splice", sockets, limits: LIMITS });
      return attackRequests({ stand, server: await openServer(t), ...run });
    },
  })),
  {
    name: "the same over TLS",
    all: REQUEST_ATTACKS,
    // A handshake costs more than an attack.
    every: 8,
    play: async (t, { sockets, ...run }) => {
      const stand = await openStand(t, { forwarder: "splice", sockets, limits: LIMITS, tls: ownKeys(t) });
      const server = await Object.values(RECORDING_SERVERS)[0]?.(t);
      if (server === undefined) throw new Error("There is no server");
      return attackRequests({ stand, server, ...run, secured: true });
    },
  },
  {
    name: "a request of HTTP/2 is one request of HTTP/1.1, whatever its fields contain",
    all: HTTP2_ATTACKS,
    every: 4,
    play: async (t, { sockets, numbers }) => {
      const tls = ownKeys(t);
      const stand = await openStand(t, { forwarder: "splice", sockets, limits: LIMITS, tls, http2: true });
      const server = await RECORDING_SERVERS["a naive server"]?.(t);
      if (server === undefined) throw new Error("There is no server");
      return attackByHttp2(t, { stand, cert: tls.current().cert, server, numbers });
    },
  },
  {
    name: "whatever a container answers, each client gets its own response",
    all: RESPONSE_ATTACKS,
    play: async (t, { sockets, ...run }) =>
      attackResponses(t, { stand: await openStand(t, { forwarder: "splice", sockets, limits: LIMITS }), ...run }),
  },
];

/** Plays the attacks of every series on one kind of sockets, prints a line for each, and returns the failures. */
export async function runAttacks(seed: number, sockets: SocketKind): Promise<string[]> {
  const failures: string[] = [];
  for (const { name, all, every = 1, play } of ATTACK_SERIES) {
    const attacks = Array.from({ length: all }, (_, nth) => nth).filter((nth) => nth % every === seed % every);
    const judge = openJudge();
    const acts: (() => unknown)[] = [];
    const begun = performance.now();
    const tally = await play({ teardown: (act: () => unknown) => void acts.push(act) }, { judge, seed, numbers: attacks, sockets });
    for (const act of acts.toReversed()) await act();
    await judge.close();
    const seconds = Math.round((performance.now() - begun) / 1_000);
    console.log(
      `${tally.attacks} attacks, ${tally.refused} refused, ${tally.messages} messages passed, ${tally.failures.length} failures, ${seconds} s, sockets of ${sockets}: ${name}`,
    );
    failures.push(...tally.failures.map((failure) => `${name}, sockets of ${sockets}, seed ${seed}: ${failure}`));
  }
  return failures;
}

/** `count` numbers below `all` that follow from the seed; the first hundred, which are known attacks, more often than others. */
export function sampled(all: number, count: number, seed: number): number[] {
  const next = numbers(seed);
  const chosen = new Set<number>();
  while (chosen.size < Math.min(count, all)) chosen.add(next(3) === 0 ? next(Math.min(100, all)) : next(all));
  return [...chosen];
}
