import { deepStrictEqual } from "node:assert/strict";
import type { HeaderLine } from "../../../gateway/decision.ts";
import { MessageRefused, type Http1, type RequestHead, type ResponseHead } from "../../../gateway/http1/message-reader.ts";
import { plainLines } from "./plain-lines.ts";

/** A message as it was decided on. */
export type ReadMessage = {
  method: string;
  target: string;
  lines: HeaderLine[];
  /** Taken out of its chunks, as latin1. */
  body: string;
  trailers: HeaderLine[];
  complete: boolean;
};

/** What became of a stream: the messages, what was sent on for them, and how it ended. */
export type Outcome = {
  messages: ReadMessage[];
  sent: Buffer;
  end: "waits" | "done" | number;
  /** The last body ends with the connection. */ endsWithConnection: boolean;
};

export const EDITS = { remove: ["x-forwarded-for"], add: [["X-Forwarded-For", "10.0.0.1"]] as HeaderLine[] };

type Body = { kind: "none" | "length" | "chunked" | "close"; length: number };

/** A message whose head has been read: what is sent for it, and whether another may follow. */
export type Opened = { messages: ReadMessage; sent: string; body: Body; last: boolean };

/** One direction of a connection, for `readStream`. */
export type Side = {
  readHead(chunk: Buffer, at: number, end: number): number;
  begun: boolean;
  readChunked: ReturnType<Http1["requests"]>["readChunked"];
  close(): void;
  open(): Opened;
};

/** Reads a stream as an engine would: what belongs to a body is sent once the piece that it came in has been read. */
export function readStream(side: Side, pieces: readonly Buffer[]): Outcome {
  const messages: ReadMessage[] = [];
  const sent: Buffer[] = [];
  let opened: Opened | undefined;
  let remaining = 0;
  let chunks = "";
  const flow = { over: false };
  const finish = () => {
    if (opened === undefined) return;
    opened.messages.complete = true;
    flow.over = opened.last;
    opened = undefined;
  };
  const done = (end: Outcome["end"]): Outcome => {
    side.close();
    return { messages, sent: Buffer.concat(sent), end, endsWithConnection: opened?.body.kind === "close" };
  };
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length && !flow.over;) {
        if (opened === undefined) {
          const end = side.readHead(piece, at, piece.length);
          if (end === -1) break;
          at = end;
          opened = side.open();
          messages.push(opened.messages);
          sent.push(Buffer.from(opened.sent, "latin1"));
          remaining = opened.body.length;
          chunks = "";
          if (opened.body.kind === "none" || (opened.body.kind === "length" && remaining === 0)) finish();
          continue;
        }
        const { messages: message, body } = opened;
        if (body.kind === "chunked") {
          let payload = "";
          const end = side.readChunked(piece, at, piece.length, (from, to) => (payload += piece.toString("latin1", from, to)));
          const passed = piece.subarray(at, end === -1 ? piece.length : end);
          sent.push(passed);
          message.body += payload;
          chunks += passed.toString("latin1");
          if (end === -1) break;
          message.trailers = trailersOf(chunks);
          finish();
          at = end;
          continue;
        }
        const taken = body.kind === "close" ? piece.length - at : Math.min(remaining, piece.length - at);
        sent.push(piece.subarray(at, at + taken));
        message.body += piece.toString("latin1", at, at + taken);
        at += taken;
        remaining -= taken;
        if (body.kind === "length" && remaining === 0) finish();
      }
    }
  } catch (error) {
    if (error instanceof MessageRefused) return done(error.status);
    throw error;
  }
  return done(opened === undefined && !side.begun ? "done" : "waits");
}

/** `untilClosed`: nothing is read behind a request that asks for the connection to end. */
export function readRequests(http1: Http1, pieces: readonly Buffer[], untilClosed = false): Outcome {
  const reader = http1.requests();
  return readStream(
    sideOf(reader, () => {
      const { head } = reader;
      return {
        messages: { method: head.method, target: head.target, lines: linesOf(head, "request"), body: "", trailers: [], complete: false },
        sent: head.write(head.target, EDITS),
        body: { kind: head.bodyKind, length: head.bodyLength },
        last: untilClosed && !head.persistent,
      };
    }),
    pieces,
  );
}

/** `methods`: of the requests that these are the responses to, in order. A message's `target` is its reason. */
export function readResponses(http1: Http1, methods: readonly string[], pieces: readonly Buffer[]): Outcome {
  const reader = http1.responses();
  let answered = 0;
  return readStream(
    sideOf(reader, () => {
      const { head } = reader;
      // The engine judges a switch of protocols; here no request wants one.
      if (head.status === 101) throw new MessageRefused(400, "not requested");
      const method = methods[answered] ?? "GET";
      if (head.status >= 200) answered++;
      return {
        messages: { method: String(head.status), target: head.reason, lines: linesOf(head, "response"), body: "", trailers: [], complete: false },
        sent: head.write(EDITS) ?? fail(),
        body: { kind: head.bodyKind(method), length: head.bodyLength },
        last: head.status >= 200 && (!head.persistent || answered >= methods.length),
      };
    }),
    pieces,
  );
}

function sideOf(reader: Pick<Side, "readHead" | "readChunked" | "close" | "begun">, open: () => Opened): Side {
  return {
    readHead: (chunk, at, end) => reader.readHead(chunk, at, end),
    readChunked: (chunk, at, end, onData) => reader.readChunked(chunk, at, end, onData),
    get begun() {
      return reader.begun;
    },
    close: () => reader.close(),
    open,
  };
}

/** Read the other way round than the parser does: the last empty line, and the lines between it and the last chunk's. */
function trailersOf(chunks: string): HeaderLine[] {
  let at = 0;
  for (;;) {
    const line = chunks.slice(at, chunks.indexOf("\r\n", at));
    const size = Number.parseInt(line, 16);
    at += line.length + 2;
    if (size === 0) break;
    at += size + 2;
  }
  return chunks
    .slice(at, -2)
    .split("\r\n")
    .filter((line) => line !== "")
    .map((line): HeaderLine => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "")];
    });
}

/** What a head is to be sent on with, by what is known of it from elsewhere. */
function linesOf(head: RequestHead | ResponseHead, side: "request" | "response"): HeaderLine[] {
  const kept = plainLines(head.text, side).filter(([name]) => !EDITS.remove.includes(name.toLowerCase()));
  const lines = [...kept, ...EDITS.add];
  deepStrictEqual(head.lines(EDITS), lines);
  return lines;
}

/** Cuts `stream` at these offsets. */
export function cut(stream: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [0, ...at.toSorted((a, b) => a - b), stream.length];
  return cuts.slice(1).map((end, index) => stream.subarray(cuts[index], end));
}

function fail(): never {
  throw new Error("Nothing was written although a line was added");
}
