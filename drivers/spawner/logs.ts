import { StringDecoder } from "node:string_decoder";
import type { Call } from "../driver.ts";
import { isServiceName } from "../labels.ts";
import { type SpawnerClient, servicePath } from "./client.ts";
import { brokenOff } from "./faults.ts";

/** Ends when the container does; an aborted call rejects with the signal's reason. */
export async function* logs(
  client: SpawnerClient,
  service: string,
  { tail, follow = false }: { tail: number; follow?: boolean },
  { signal }: Call,
): AsyncGenerator<string> {
  if (!isServiceName(service)) return;
  const doing = `Reading the logs of ${service}`;
  const path = `${servicePath(service)}/logs?tail=${tail}&follow=${follow}`;
  const body = await client.stream({ method: "GET", path, signal, doing });
  const decoder = new StringDecoder("utf8");
  try {
    for await (const piece of body) {
      const text = decoder.write(piece);
      if (text !== "") yield text;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw brokenOff(error, doing, client.name);
  }
}
