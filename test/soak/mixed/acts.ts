import { exchangeChecked, type CheckedResponse, type SentRequest, type SoakTarget } from "./ordinary-clients.ts";
import type { ContainerPlan } from "./plan.ts";
import { leaveEarly, pipelineChecked } from "./raw-clients.ts";
import { echoChecked } from "./web-socket-clients.ts";

/** The containers of the soak: steady ones, one that closes idle connections early, and one that sleeps now and then. */
export type SoakContainers = { steady: readonly string[]; hasty: string; napping: string };

/** Numbers from 0 up to below the argument. */
export type Random = (below: number) => number;

export type SoakAct = {
  name: string;
  /** How often, relative to the others. */
  weight: number;
  /** The outcomes that are right. */
  may: readonly CheckedResponse["outcome"][];
  play(target: SoakTarget, containers: SoakContainers, random: Random, id: string): Promise<CheckedResponse>;
};

const METHODS = ["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

export function pick<Value>(values: readonly Value[], random: Random): Value {
  return values[random(values.length)] as Value;
}

/** Mostly short, now and then long. */
export function someLength(random: Random, longest = 6): number {
  return random(10 ** (1 + random(longest)));
}

export function planned(id: string, random: Random, change: Partial<ContainerPlan> = {}): ContainerPlan {
  const framing = pick(["length", "length", "chunked", "close"] as const, random);
  return {
    id,
    status: pick([200, 200, 200, 404, 500], random),
    length: someLength(random),
    framing,
    interim: random(8) === 0 ? 1 + random(3) : 0,
    act: "answers",
    ...change,
  };
}

export function someRequest(containerId: string, plan: ContainerPlan, random: Random): SentRequest {
  const method = pick(METHODS, random);
  const bodyLength = method === "GET" || method === "OPTIONS" ? 0 : someLength(random);
  return { method, containerId, plan, bodyLength, chunked: random(2) === 0 };
}

const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** An idle connection may close while a request is sent over it. Only a request that may be sent twice is sent again (RFC 9110 §9.2.2). */
export async function judgeRepeatable(sent: SentRequest, checked: Promise<CheckedResponse>): Promise<CheckedResponse> {
  const response = await checked;
  const isRepeatable = IDEMPOTENT.has(sent.method) && sent.bodyLength === 0;
  return response.outcome === "refused" && !isRepeatable ? { ...response, outcome: "not repeated" } : response;
}

export const SOAK_ACTS: readonly SoakAct[] = [
  {
    name: "an ordinary request",
    weight: 30,
    may: ["right"],
    play: (target, { steady }, random, id) =>
      exchangeChecked(target, someRequest(pick(steady, random), planned(id, random), random), { pieces: 1 + random(5) }),
  },
  {
    name: "a response without a body",
    weight: 4,
    may: ["right"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, { framing: "length", status: pick([200, 204, 304], random), length: 0 });
      return exchangeChecked(target, { ...someRequest(pick(steady, random), plan, random), method: pick(["HEAD", "GET"], random), bodyLength: 0 });
    },
  },
  {
    name: "a slow reader of a long body",
    weight: 3,
    may: ["right"],
    play: (target, { steady }, random, id) =>
      exchangeChecked(target, someRequest(pick(steady, random), planned(id, random, { length: 500_000 + random(1_500_000) }), random), {
        slowly: true,
      }),
  },
  {
    name: "a dripping response",
    weight: 4,
    may: ["right"],
    play: (target, { steady }, random, id) =>
      exchangeChecked(target, someRequest(pick(steady, random), planned(id, random, { act: "drips" }), random)),
  },
  {
    name: "a container that closes idle connections",
    weight: 8,
    may: ["right", "not repeated"],
    play: (target, { hasty }, random, id) => {
      const sent = someRequest(hasty, planned(id, random, { length: someLength(random, 3) }), random);
      return judgeRepeatable(sent, exchangeChecked(target, sent));
    },
  },
  {
    name: "a container that resets an idle connection",
    weight: 3,
    // The reset may discard the response.
    may: ["right", "refused", "broken", "not repeated"],
    play: (target, { hasty }, random, id) => {
      const plan = planned(id, random, { act: "resets after", framing: "length", length: someLength(random, 3) });
      const sent = someRequest(hasty, plan, random);
      return judgeRepeatable(sent, exchangeChecked(target, sent));
    },
  },
  {
    name: "a container that is started",
    weight: 3,
    may: ["right"],
    play: (target, { napping }, random, id) => exchangeChecked(target, someRequest(napping, planned(id, random), random)),
  },
  {
    name: "pipelined requests",
    weight: 8,
    may: ["right"],
    play: (target, { steady }, random, id) => {
      const one = (nth: number) => {
        const plan = planned(`${id}.${nth}`, random, { framing: "length", length: someLength(random, 4) });
        return { ...someRequest(pick(steady, random), plan, random), chunked: false };
      };
      return pipelineChecked(
        target,
        Array.from({ length: 1 + random(12) }, (_, nth) => one(nth)),
        false,
      );
    },
  },
  {
    name: "a client that has ended its direction",
    weight: 4,
    may: ["right"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, { framing: "length", act: pick(["answers", "drips", "pauses"] as const, random) });
      return pipelineChecked(target, [{ ...someRequest(pick(steady, random), plan, random), chunked: false }], true);
    },
  },
  {
    name: "a client that leaves",
    weight: 14,
    may: ["broken"],
    play: (target, { steady, napping }, random, id) => {
      const act = pick(["answers", "is silent", "drips", "answers early", "resets within"] as const, random);
      // Within the response, never after it: a reset idle connection would fail the requests of others.
      const length = 2 + someLength(random);
      const sent = someRequest(pick([...steady, napping], random), planned(id, random, { act, length }), random);
      const leave = {
        afterSent: random(3) === 0 ? random(400) : 1 + random(1_200_000),
        afterReceived: 1 + someLength(random),
        afterMs: random(120),
        reset: random(2) === 0,
      };
      return leaveEarly(target, { ...sent, chunked: false }, leave);
    },
  },
  {
    name: "a container that breaks the connection",
    weight: 8,
    may: ["refused", "broken"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, {
        act: pick(["resets", "resets within", "ends within"] as const, random),
        framing: pick(["length", "chunked"] as const, random),
        length: 2 + someLength(random),
      });
      return exchangeChecked(target, { ...someRequest(pick(steady, random), plan, random), method: "POST" });
    },
  },
  {
    name: "an early answer",
    weight: 4,
    may: ["right", "broken", "refused"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, { act: pick(["answers early", "answers early and closes"] as const, random) });
      return exchangeChecked(target, {
        method: "POST",
        containerId: pick(steady, random),
        plan,
        bodyLength: someLength(random),
        chunked: random(2) === 0,
      });
    },
  },
  {
    name: "a WebSocket",
    weight: 8,
    may: ["right"],
    play: (target, { steady }, random, id) =>
      echoChecked(target, {
        containerId: pick(steady, random),
        id,
        lengths: Array.from({ length: 1 + random(10) }, () => someLength(random, 5)),
        end: pick(["closes", "terminates", "is closed", "is terminated"] as const, random),
      }),
  },
];
