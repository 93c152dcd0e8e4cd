import { judgeRepeatable, pick, planned, type SoakAct, someLength, someRequest } from "./acts.ts";
import { echoStreamChecked, streamChecked } from "./http2-clients.ts";
import type { CheckedResponse } from "./ordinary-clients.ts";

const FRAMINGS = ["length", "chunked"] as const;

/** What clients do over HTTP/2, each over a connection of its own. */
export const HTTP2_ACTS: readonly SoakAct[] = [
  {
    name: "a stream",
    weight: 30,
    may: ["right"],
    play: (target, { steady }, random, id) => streamChecked(target, someRequest(pick(steady, random), planned(id, random), random)),
  },
  {
    name: "a stream without a body",
    weight: 4,
    may: ["right"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, { framing: "length", status: pick([200, 204, 304], random), length: 0 });
      return streamChecked(target, { ...someRequest(pick(steady, random), plan, random), method: pick(["HEAD", "GET"], random), bodyLength: 0 });
    },
  },
  {
    name: "streams at once",
    weight: 12,
    may: ["right"],
    play: async (target, { steady }, random, id) => {
      const streams = Array.from({ length: 2 + random(12) }, (_, nth) =>
        streamChecked(target, someRequest(pick(steady, random), planned(`${id}.${nth}`, random, { length: someLength(random, 5) }), random)),
      );
      return worst(await Promise.all(streams));
    },
  },
  {
    name: "a dripping response",
    weight: 4,
    may: ["right"],
    play: (target, { steady }, random, id) => streamChecked(target, someRequest(pick(steady, random), planned(id, random, { act: "drips" }), random)),
  },
  {
    name: "a container that closes idle connections",
    weight: 8,
    may: ["right", "not repeated"],
    play: (target, { hasty }, random, id) => {
      const sent = someRequest(hasty, planned(id, random, { length: someLength(random, 3) }), random);
      return judgeRepeatable(sent, streamChecked(target, sent));
    },
  },
  {
    name: "a container that is started",
    weight: 3,
    may: ["right"],
    play: (target, { napping }, random, id) => streamChecked(target, someRequest(napping, planned(id, random), random)),
  },
  {
    name: "a stream that is cancelled",
    weight: 10,
    may: ["right", "broken", "refused"],
    play: (target, { steady, napping }, random, id) => {
      const act = pick(["answers", "is silent", "drips", "answers early", "resets within"] as const, random);
      // A reset comes within the response, never after it: a reset idle connection would fail the requests of others (RFC 9110 §9.2.2).
      const plan = planned(id, random, { act, framing: pick(FRAMINGS, random), length: 2 + someLength(random) });
      const cancel = { afterReceived: 1 + someLength(random), afterMs: random(120) };
      return streamChecked(target, someRequest(pick([...steady, napping], random), plan, random), { cancel });
    },
  },
  {
    name: "a client that leaves with open streams",
    weight: 2,
    may: ["right", "broken", "refused"],
    play: async (target, { steady }, random, id) => {
      const streams = Array.from({ length: 1 + random(6) }, (_, nth) =>
        streamChecked(target, someRequest(pick(steady, random), planned(`${id}.${nth}`, random, { act: "drips" }), random), { leaves: true }),
      );
      const leaves = random(60);
      // Until it has left: the streams may end before, and the client's next act would lose its connection.
      const left = new Promise<void>((resolve) => void setTimeout(resolve, leaves)).then(() => target.http2?.leave());
      const [responses] = await Promise.all([Promise.all(streams), left]);
      return worst(responses);
    },
  },
  {
    name: "a container that breaks the connection",
    weight: 8,
    may: ["refused", "broken"],
    play: (target, { steady }, random, id) => {
      const act = pick(["resets", "resets within", "ends within"] as const, random);
      const plan = planned(id, random, { act, framing: pick(FRAMINGS, random), length: 2 + someLength(random) });
      return streamChecked(target, { ...someRequest(pick(steady, random), plan, random), method: "POST" });
    },
  },
  {
    name: "an early answer",
    weight: 4,
    may: ["right", "broken", "refused"],
    play: (target, { steady }, random, id) => {
      const plan = planned(id, random, { act: pick(["answers early", "answers early and closes"] as const, random) });
      return streamChecked(target, { ...someRequest(pick(steady, random), plan, random), method: "POST", bodyLength: someLength(random) });
    },
  },
  {
    name: "a WebSocket by extended CONNECT",
    weight: 8,
    may: ["right"],
    play: (target, { steady }, random, id) =>
      echoStreamChecked(target, {
        containerId: pick(steady, random),
        id,
        lengths: Array.from({ length: 1 + random(10) }, () => someLength(random, 5)),
        end: pick(["ends", "cancels"] as const, random),
      }),
  },
];

function worst(responses: readonly CheckedResponse[]): CheckedResponse {
  return responses.find(({ outcome }) => outcome !== "right") ?? { outcome: "right" };
}
