import { request as plainRequest, type IncomingMessage } from "node:http";
import { request as secureRequest, type RequestOptions } from "node:https";
import { Refusal } from "./faults.ts";

/** A list of a thousand pods has some ten megabytes. */
const LONGEST_ANSWER = 256 * 1024 * 1024;

/** Sends one request; resolves at the answer's head, whatever it is. Rejects with Node's own error. */
export function send(url: URL, options: RequestOptions, body: string | undefined, signal: AbortSignal): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = (url.protocol === "http:" ? plainRequest : secureRequest)(url, { ...options, signal }, resolve);
  request.on("error", reject);
  // Whoever vanished without a word would otherwise look like a cluster where nothing happens.
  request.on("socket", (socket) => socket.setKeepAlive(true, 15_000));
  request.end(body);
  return promise;
}

export async function readText(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > LONGEST_ANSWER) throw new Error(`The answer is longer than ${LONGEST_ANSWER} bytes.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** What an answer of 400 and above says, a `Status` where the API server itself wrote it. */
export async function readRefusal(answer: IncomingMessage): Promise<Refusal> {
  const status = answer.statusCode ?? 500;
  const text = await readText(answer);
  const seconds = Number(answer.headers["retry-after"]);
  return refusalOf(status, text, Number.isFinite(seconds) ? seconds * 1_000 : undefined);
}

function refusalOf(status: number, text: string, retryAfterMs: number | undefined): Refusal {
  try {
    const { kind, message, reason } = JSON.parse(text) as { kind?: string; message?: string; reason?: string };
    if (kind === "Status") return new Refusal(status, reason ?? "", message ?? "", retryAfterMs);
  } catch {
    // A proxy in between answers in its own way.
  }
  return new Refusal(status, "", text.slice(0, 500), retryAfterMs);
}
