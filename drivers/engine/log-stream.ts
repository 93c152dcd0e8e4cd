import type { Readable } from "node:stream";
import type Docker from "dockerode";
import type { Engine } from "./engine.ts";
import { answered, engineFault } from "./faults.ts";
import { StringDecoder } from "node:string_decoder";

/** What logs are of, in the engine's paths. */
export type LogSource = { of: "containers" | "tasks"; id: string };

/** Ends when what is followed does; an aborted call rejects with the signal's reason. Empty for what does not exist. */
export async function* logStream(
  engine: Engine,
  { of, id }: LogSource,
  { tail, follow = false }: { tail: number; follow?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const doing = `Reading the logs of ${id}`;
  const path = `/${of}/${encodeURIComponent(id)}/logs?`;
  let stream: Readable;
  try {
    // The limit is on the answer's head; the stream that follows has none but the caller's signal.
    stream = await engine.call({ doing, signal }, (docker, head) =>
      dial(docker, path, { stdout: true, stderr: true, tail, follow }, AbortSignal.any([head, signal])),
    );
  } catch (error) {
    if (answered(error, 404)) return;
    throw error;
  }
  try {
    yield* demux(stream);
  } catch (error) {
    signal.throwIfAborted();
    throw engineFault(error, "control", doing);
  } finally {
    stream.destroy();
  }
}

/** By the client's own dial: its `logs` gathers everything in memory unless it follows. */
function dial(docker: Docker, path: string, query: object, abortSignal: AbortSignal): Promise<Readable> {
  const { promise, resolve, reject } = Promise.withResolvers<Readable>();
  docker.modem.dial(
    { path, method: "GET", isStream: true, statusCodes: { 200: true, 404: "no such thing", 500: "server error" }, abortSignal, options: query },
    (error: unknown, stream: unknown) => (error ? reject(error) : resolve(stream as Readable)),
  );
  return promise;
}

const HEADER = 8;

/**
 * Takes the engine's frames apart: a byte for the stream (1 standard output, 2 standard error), three of padding, four of length,
 * then the text. Frames and characters may be cut anywhere, so each stream has a decoder of its own.
 */
export async function* demux(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoders = new Map<number, StringDecoder>();
  let rest: Buffer = Buffer.alloc(0);
  let source = 0;
  let left = 0;
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      if (left === 0) {
        if (rest.length < HEADER) break;
        source = rest[0] ?? 0;
        left = rest.readUInt32BE(4);
        rest = rest.subarray(HEADER);
        if (left === 0) continue;
      }
      if (rest.length === 0) break;
      // A frame may be as long as the log's longest line: what has come of it is passed on.
      const piece = rest.subarray(0, left);
      left -= piece.length;
      rest = rest.subarray(piece.length);
      const decoder = decoders.get(source) ?? new StringDecoder("utf8");
      decoders.set(source, decoder);
      const text = decoder.write(piece);
      if (text !== "") yield text;
    }
  }
}
