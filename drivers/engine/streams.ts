import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { decodeText, jsonLines, shortenTimes } from "../../lib/lines.ts";
import type { Log } from "../../lib/log.ts";
import type { Call, LogOptions } from "../driver.ts";
import { reconnect } from "../events.ts";
import { dial } from "./dial.ts";
import type { Engine } from "./engine.ts";
import { answered, engineFault } from "./faults.ts";

/** The owner of a log, in the engine's paths. `terminal`: its container has one, so its log has no frames. */
type LogSource = { of: "containers" | "tasks"; id: string; terminal?: boolean | undefined };

/** Ends when its source does. Empty if the source does not exist. */
export async function* logStream(
  engine: Engine,
  { of, id, terminal = false }: LogSource,
  { tail, follow = false, timestamps = false }: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const doing = `Reading the logs of ${id}`;
  const path = `/${of}/${encodeURIComponent(id)}/logs?`;
  let stream: Readable;
  try {
    // The time limit is for the head of the response; the stream ends with the caller's signal.
    stream = await engine.call({ doing, signal }, (docker, head) =>
      dial(docker, path, { stdout: true, stderr: true, tail, follow, timestamps }, AbortSignal.any([head, signal])),
    );
  } catch (error) {
    if (answered(error, 404)) return;
    throw error;
  }
  try {
    const text = terminal ? decodeText(stream as AsyncIterable<Buffer>) : demux(stream);
    yield* timestamps ? shortenTimes(text) : text;
  } catch (error) {
    signal.throwIfAborted();
    throw engineFault(error, "control", doing);
  } finally {
    stream.destroy();
  }
}

const HEADER = 8;
const STDERR = 2;

export type EngineFrame = { stream: "stdout" | "stderr"; bytes: Buffer };

/**
 * Splits the engine's frames: one byte for the stream (1 standard output, 2 standard error), three of padding, four of length, then the bytes. A frame may be as
 * long as the log's longest line, so its parts are passed on.
 */
export async function* readFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<EngineFrame> {
  let rest: Buffer = Buffer.alloc(0);
  let source: EngineFrame["stream"] = "stdout";
  let left = 0;
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      if (left === 0) {
        if (rest.length < HEADER) break;
        source = rest[0] === STDERR ? "stderr" : "stdout";
        left = rest.readUInt32BE(4);
        rest = rest.subarray(HEADER);
        if (left === 0) continue;
      }
      if (rest.length === 0) break;
      const bytes = rest.subarray(0, left);
      left -= bytes.length;
      rest = rest.subarray(bytes.length);
      yield { stream: source, bytes };
    }
  }
}

/** The text of the engine's frames. Chunks may end within a character, so each stream has its own decoder. */
export async function* demux(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  for await (const { stream: source, bytes } of readFrames(stream)) {
    const text = decoders[source].write(bytes);
    if (text !== "") yield text;
  }
}

const RETRY_MS = { firstMs: 250, longestMs: 3_000 };

/** Events of a container that change the result of `inspect`. */
export const STATE_EVENTS = ["create", "start", "die", "oom", "destroy", "pause", "unpause", "rename"];

export type EngineEvent = { Type?: string; Action?: string; Actor?: { ID?: string; Attributes?: Record<string, string> } };

/** The engine's events, with "connected" after each connect and "disconnected" after each loss. */
export function eventStream(
  engine: Engine,
  filters: Record<string, string[]>,
  log: Log,
  { signal }: Call,
): AsyncGenerator<"connected" | "disconnected" | EngineEvent> {
  const messages = { lost: "container engine events lost, reconnecting", back: "container engine events connected again" };
  return reconnect({ clock: engine.clock, log, signal, ...RETRY_MS, ...messages }, () => readEvents(engine, filters, signal));
}

async function* readEvents(engine: Engine, filters: Record<string, string[]>, signal: AbortSignal): AsyncGenerator<"connected" | EngineEvent> {
  // The time limit is for the head of the response; the stream ends with the caller's signal.
  const stream = (await engine.call({ doing: "Opening the engine's events", signal }, (docker, head) =>
    docker.getEvents({ filters, abortSignal: AbortSignal.any([head, signal]) } as Parameters<typeof docker.getEvents>[0]),
  )) as Readable & { socket?: Socket };
  try {
    // Detects a vanished remote engine, which looks like one without events.
    stream.socket?.setKeepAlive(true, 15_000);
    yield "connected";
    yield* jsonLines<EngineEvent>(stream);
  } finally {
    stream.destroy();
  }
}
