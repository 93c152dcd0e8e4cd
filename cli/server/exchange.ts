import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Readable } from "node:stream";
import { Fault } from "../../lib/fault.ts";

/** Where a server listens: at an address below which its API is, or on a socket of this machine. */
export type Place = { url: string } | { socket: string };

export type Sent = {
  method: string;
  /** Begins below the API. */
  path: string;
  headers?: Record<string, string | number>;
  /** Text, or as many bytes as `content-length` says. */
  body?: string | Readable | undefined;
  signal: AbortSignal;
};

/** Where an answer is larger, it is none of an API. */
const LONGEST_ANSWER = 64 * 1_048_576;

/** One request; resolves with the head of its answer. Rejects with the signal's reason, or with what the socket says. */
export function exchange(place: Place, { method, path, headers = {}, body, signal }: Sent): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(signal.aborted ? (signal.reason as Error) : error);
    const options = { method, headers, signal, agent: false } as const;
    const sent =
      "socket" in place
        ? httpRequest({ ...options, socketPath: place.socket, path: `/api${path}` }, resolve)
        : (place.url.startsWith("https:") ? httpsRequest : httpRequest)(`${place.url}${path}`, options, resolve);
    sent.once("error", failed);
    if (typeof body === "object") {
      // A server that refuses early answers before it has taken all.
      body.once("error", (error) => sent.destroy(error));
      body.pipe(sent);
    } else sent.end(body);
  });
}

/** The whole body of an answer. */
export async function readAll(answer: IncomingMessage): Promise<string> {
  answer.setEncoding("utf8");
  let came = "";
  for await (const piece of answer as AsyncIterable<string>) {
    came += piece;
    if (came.length > LONGEST_ANSWER) throw new Fault("INTERNAL", `The answer is longer than ${LONGEST_ANSWER} characters.`);
  }
  return came;
}
