import type { Call } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { logStream } from "../engine/log-stream.ts";
import { inspect } from "./inspect.ts";
import type { DockerView } from "./observe.ts";

/** Ends when the container does; an aborted call rejects with the signal's reason. */
export async function* logs(
  engine: Engine,
  view: DockerView,
  service: string,
  options: { tail: number; follow?: boolean },
  { signal }: Call,
): AsyncGenerator<string> {
  if (await inspect(engine, view, service, { signal })) yield* logStream(engine, { of: "containers", id: service }, options, signal);
}
