import { numbers } from "../../../fuzz/numbers.ts";
import { bodyOf } from "../../../soak/mixed/plan.ts";
import { frame } from "../../../fixtures/frame.ts";

/** What a container does with one request. */
export type PlannedAnswer = {
  /** `early`: before it has read the body. */
  early: boolean;
  interim: number;
  status: number;
  framing: "length" | "chunked" | "close";
  length: number;
  /** Its response has `Connection: close`. */
  closes: boolean;
  /**
   * `whole`: it sends the whole response. `leaves`: and ends the connection, without notice. `surplus`: and bytes behind it. `ends within`, `resets
   * within`: it sends a part. `resets`: it sends nothing the first time. `malformed`: it sends no HTTP. `silent`: it never answers.
   */
  ending: "whole" | "leaves" | "surplus" | "ends within" | "resets within" | "resets" | "malformed" | "silent";
  /** It reads nothing for a while after the head. */
  rests: boolean;
  /** It sends nothing for a while within the response. */
  pauses: boolean;
  seed: number;
};

export type PlannedRequest = {
  /** In the target. It comes back in `X-Id`. */
  id: string;
  method: string;
  version: "1.0" | "1.1";
  connection: "" | "close" | "keep-alive";
  framing: "none" | "length" | "chunked";
  length: number;
  expects: boolean;
  /** How many frames each end of a WebSocket sends; undefined: a usual request. */
  frames: number | undefined;
  answer: PlannedAnswer;
};

/** When a client leaves: after so many bytes that it has sent or received, or after nothing has come for a while. */
export type PlannedLeave = { after: "sent" | "received" | "quiet"; bytes: number; by: "reset" | "destroy" | "end" };

/** What one client does over one connection. */
export type PlannedClient = {
  seed: number;
  requests: readonly PlannedRequest[];
  /** It awaits no answer before its next request. */
  pipelines: boolean;
  /** It sends bytes that are not HTTP behind its requests. */
  tail: string;
  leave: PlannedLeave | undefined;
  /** It reads nothing for a while, so that the gateway has to wait. */
  rests: boolean;
  /** Its container is started while it waits. */
  waits: boolean;
  /** It ends its direction behind its requests, and awaits the answers. */
  endsEarly: boolean;
};

export type DrawNumber = (below: number) => number;

const METHODS = ["GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"];
const STATUSES = [200, 200, 200, 200, 201, 204, 304, 404, 500];
const TAILS = ["GARBAGE\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "\0", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"];

export function pick<Value>(random: DrawNumber, values: readonly Value[]): Value {
  return values[random(values.length)] as Value;
}

/** Mostly short, now and then longer than what sockets and berth queue. */
function someLength(random: DrawNumber): number {
  const digits = pick(random, [1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5]);
  // Now and then, several times what sockets queue.
  return random(10 ** digits) * (digits === 5 ? 1 + random(2) * random(12) : 1);
}

/** What the client number `nth` does; everything follows from the seed. */
export function planClient(seed: number, nth: number): PlannedClient {
  const random = numbers(seed * 1_000_003 + nth);
  const count = 1 + random(pick(random, [1, 3, 6]));
  const isOrderly = random(2) === 0;
  const requests = Array.from({ length: count }, (_, at) => planRequest(random, `${seed}.${nth}.${at}`, { isOrderly, isLast: at === count - 1 }));
  const sent = requests.reduce((sum, request) => sum + requestBytes(request, "").length, 0);
  const isSilent = requests.some(({ answer }) => answer.ending === "silent");
  const leave: PlannedLeave | undefined = isOrderly
    ? undefined
    : isSilent
      ? { after: "quiet", bytes: 0, by: pick(random, ["reset", "destroy"]) }
      : random(2) === 0
        ? undefined
        : {
            after: pick(random, ["sent", "sent", "received"]),
            bytes: pick(random, [0, 1]) === 0 ? random(sent + 1) : random(200),
            by: pick(random, ["reset", "destroy", "end"]),
          };
  const plan = {
    seed: random(1_000_000_000),
    requests,
    // A gateway that does not read cannot learn that its client is gone, unless by a reset.
    pipelines: random(3) === 0 && !isSilent,
    tail: !isOrderly && requests.at(-1)?.frames === undefined && random(6) === 0 ? pick(random, TAILS) : "",
    leave,
    rests: random(8) === 0,
    waits: random(8) === 0,
    // A WebSocket has no half-open state.
    endsEarly: leave === undefined && !isSilent && requests.at(-1)?.frames === undefined && random(4) === 0,
  };
  if (plan.endsEarly) for (const { answer } of requests) answer.pauses = true;
  return plan;
}

function planRequest(random: DrawNumber, id: string, { isOrderly, isLast }: { isOrderly: boolean; isLast: boolean }): PlannedRequest {
  const isWebSocket = isLast && random(5) === 0;
  const method = isWebSocket ? "GET" : pick(random, METHODS);
  const framing = isWebSocket
    ? "none"
    : method === "POST" || method === "PUT"
      ? pick(random, ["length", "chunked"] as const)
      : pick(random, ["none", "none", "none", "none", "none", "length"] as const);
  const answer = planAnswer(random, isOrderly);
  // Behind these, more bytes are a part of the response.
  if (answer.ending === "surplus" && (isWebSocket || answer.framing === "close")) answer.ending = "whole";
  // Nothing shows that a client of HTTP/1.0 has left, until the container answers.
  const version = !isWebSocket && framing !== "chunked" && answer.ending !== "silent" && random(8) === 0 ? "1.0" : "1.1";
  return {
    id,
    method,
    version,
    connection: isWebSocket
      ? ""
      : version === "1.0"
        ? pick(random, ["", "keep-alive", "keep-alive"] as const)
        : pick(random, ["", "", "", "", "", "keep-alive", isLast ? "close" : ""] as const),
    framing,
    length: framing === "none" ? 0 : someLength(random),
    expects: framing !== "none" && version === "1.1" && random(8) === 0,
    frames: isWebSocket ? random(6) : undefined,
    answer,
  };
}

function planAnswer(random: DrawNumber, isOrderly: boolean): PlannedAnswer {
  const framing = pick(random, ["length", "length", "length", "chunked", "chunked", "close"] as const);
  return {
    early: random(6) === 0,
    interim: random(5) === 0 ? 1 + random(3) : 0,
    status: pick(random, STATUSES),
    framing,
    length: someLength(random),
    closes: framing === "close" || random(6) === 0,
    ending: isOrderly
      ? "whole"
      : pick(random, [
          "whole",
          "whole",
          "whole",
          "whole",
          "leaves",
          "leaves",
          "surplus",
          "ends within",
          "resets within",
          "resets",
          "resets",
          "malformed",
          "silent",
        ] as const),
    rests: random(8) === 0,
    pauses: false,
    seed: random(1_000_000_000),
  };
}

/** Everything that a client sends for one request, the frames of a WebSocket too. */
export function requestBytes({ id, method, version, connection, framing, length, expects, frames }: PlannedRequest, path: string): Buffer {
  const body = bodyOf(`${id} sent`, length);
  const lines = [
    `${method} ${path}/${id} HTTP/${version}`,
    "Host: berth",
    "Authorization: token",
    ...(connection === "" ? [] : [`Connection: ${connection}`]),
    ...(framing === "length" ? [`Content-Length: ${length}`] : framing === "chunked" ? ["Transfer-Encoding: chunked"] : []),
    ...(expects ? ["Expect: 100-continue"] : []),
    ...(frames === undefined ? [] : ["Connection: Upgrade", "Upgrade: websocket"]),
  ];
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  if (frames !== undefined) return Buffer.concat([head, clientFrames(id, frames)]);
  return Buffer.concat([head, framing === "chunked" ? chunked(body) : body]);
}

/** Everything that a container sends for one request, the frames of a WebSocket too. */
export function answerBytes({ id, method, version, frames, answer }: PlannedRequest): Buffer {
  const { interim, status, framing, length, closes } = answer;
  const hints = `HTTP/1.1 103 Early Hints\r\nX-Id: ${id}\r\n\r\n`.repeat(interim);
  if (frames !== undefined && status === 200) {
    const head = `${hints}HTTP/1.1 101 Switching Protocols\r\nX-Id: ${id}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
    return Buffer.concat([Buffer.from(head, "latin1"), containerFrames(id, frames)]);
  }
  const isBodyless = method === "HEAD" || status === 204 || status === 304;
  const line =
    status === 204 ? "" : framing === "length" ? `Content-Length: ${length}\r\n` : framing === "chunked" ? "Transfer-Encoding: chunked\r\n" : "";
  const head = `${version === "1.1" ? hints : ""}HTTP/1.1 ${status} Planned\r\nX-Id: ${id}\r\n${line}${closes ? "Connection: close\r\n" : ""}\r\n`;
  const body = bodyOf(id, isBodyless ? 0 : length);
  return Buffer.concat([Buffer.from(head, "latin1"), framing === "chunked" && !isBodyless ? chunked(body, `X-Trailer: ${id}\r\n`) : body]);
}

export function clientFrames(id: string, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => frame(2, bodyOf(`${id} client ${at}`, 40 * (at + 1)))));
}

export function containerFrames(id: string, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => frame(2, bodyOf(`${id} container ${at}`, 90 * (at + 1)), { masked: false })));
}

function chunked(body: Buffer, trailers = ""): Buffer {
  const step = Math.max(1, Math.ceil(body.length / 4));
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; at += step) {
    const piece = body.subarray(at, at + step);
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  return Buffer.concat([...pieces, Buffer.from(`0\r\n${trailers}\r\n`)]);
}

/** Where bytes are cut: mostly in a few places, now and then between all of the first few hundred. */
export function someCuts(random: DrawNumber, length: number): number[] {
  if (length <= 250 && random(12) === 0) return Array.from({ length }, (_, at) => at);
  return Array.from({ length: pick(random, [0, 0, 1, 1, 2, 4]) }, () =>
    random(2) === 0 ? random(length + 1) : random(Math.min(length, 400) + 1),
  ).toSorted((a, b) => a - b);
}
