import type { Readable } from "node:stream";
import type Docker from "dockerode";

/** The body of a response as it comes: the client's own methods buffer and parse all of it, such as a whole log. */
export function dial(docker: Docker, path: string, query: object, abortSignal: AbortSignal): Promise<Readable> {
  const { promise, resolve, reject } = Promise.withResolvers<Readable>();
  docker.modem.dial(
    { path, method: "GET", isStream: true, statusCodes: { 200: true, 404: "no such thing", 500: "server error" }, abortSignal, options: query },
    (error: unknown, stream: unknown) => (error ? reject(error) : resolve(stream as Readable)),
  );
  return promise;
}

/** Far more than an engine's own state has. */
const MAX_JSON = 16_777_216;

/** What a GET returns. Unlike some of the client's own methods, it ends with the signal. */
export async function readJson(docker: Docker, path: string, signal: AbortSignal): Promise<object> {
  const value = await readJsonUpTo(MAX_JSON, docker, path, signal);
  if (value === undefined) throw new Error(`The response to ${path} has more than ${MAX_JSON} bytes`);
  return value;
}

/** Undefined: it has more bytes. */
export async function readJsonUpTo(maxBytes: number, docker: Docker, path: string, signal: AbortSignal): Promise<object | undefined> {
  const body = await dial(docker, path, {}, signal);
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > maxBytes) return undefined;
      pieces.push(piece);
    }
  } finally {
    body.destroy();
  }
  return JSON.parse(Buffer.concat(pieces).toString("utf8")) as object;
}
