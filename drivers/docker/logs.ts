import type { Readable } from "node:stream";
import type Docker from "dockerode";
import type { Call } from "../driver.ts";
import { demux } from "./demux.ts";
import type { Engine } from "./engine.ts";
import { answered, engineFault } from "./faults.ts";
import { inspect } from "./inspect.ts";
import type { View } from "./observe.ts";

/** Ends when the container does; an aborted call rejects with the signal's reason. */
export async function* logs(
  engine: Engine,
  view: View,
  service: string,
  options: { tail: number; follow?: boolean },
  { signal }: Call,
): AsyncGenerator<string> {
  if (!(await inspect(engine, view, service, { signal }))) return;
  yield* logsOf(engine, service, options, signal);
}

/** Whosever container it is. */
export async function* logsOf(
  engine: Engine,
  id: string,
  { tail, follow = false }: { tail: number; follow?: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const doing = `Reading the logs of ${id}`;
  let stream: Readable;
  try {
    // The limit is on the answer's head; the stream that follows has none but the caller's signal.
    stream = await engine.call({ doing, signal }, (docker, head) =>
      openLogs(docker, id, { stdout: true, stderr: true, tail, follow }, AbortSignal.any([head, signal])),
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
function openLogs(docker: Docker, id: string, query: object, abortSignal: AbortSignal): Promise<Readable> {
  const { promise, resolve, reject } = Promise.withResolvers<Readable>();
  docker.modem.dial(
    {
      path: `/containers/${encodeURIComponent(id)}/logs?`,
      method: "GET",
      isStream: true,
      statusCodes: { 200: true, 404: "no such container", 500: "server error" },
      abortSignal,
      options: query,
    },
    (error: unknown, stream: unknown) => (error ? reject(error) : resolve(stream as Readable)),
  );
  return promise;
}
