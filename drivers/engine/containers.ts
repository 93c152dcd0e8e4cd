import type { Readable } from "node:stream";
import type { ContainerInfo } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import { readJsonLists } from "../../lib/json-lists.ts";
import { advisedFault } from "../faults.ts";
import { dial } from "./dial.ts";
import type { Engine } from "./engine.ts";

export type ContainerLine = Pick<ContainerInfo, "Id" | "Names" | "Labels" | "State" | "NetworkSettings" | "Ports">;

/** In bytes. A line repeats the image's labels, ports and command; images with many of them run only if they are older than `MAX_CONFIG`. */
const LIMITS = { body: 2 ** 31, entry: 16 * 1_048_576, entries: 1_000_000 };
const NAMES = { body: "list of containers", shorten: "", split: "" };

/**
 * The engine's containers with a label, in the form `name` or `name=value`; `all`: also those that do not run. `Labels` are those of berth and of Swarm, and
 * `Ports` the published ones. Each line is parsed by itself, so that a long list does not hold the event loop.
 */
export function listContainers(
  engine: Engine,
  { label, all }: { label: string; all: boolean },
  signal: AbortSignal | undefined,
): Promise<ContainerLine[]> {
  const doing = "Listing containers";
  return engine.call({ doing, signal }, async (docker, abortSignal) => {
    const body = await dial(docker, "/containers/json?", { all, filters: { label: [label] } }, abortSignal);
    try {
      const { list } = (await readJsonLists(asMember(body), LIMITS, NAMES, keepUsed)) as { list: ContainerLine[] };
      return list;
    } catch (error) {
      throw error instanceof Fault ? advisedFault("ENGINE_FAILED", `${doing}: ${error.message}`, { cause: error }) : error;
    } finally {
      body.destroy();
    }
  });
}

function keepUsed(entry: unknown): ContainerLine {
  const { Id, Names, Labels, State, NetworkSettings, Ports } = entry as ContainerInfo;
  return {
    Id,
    Names,
    Labels: Object.fromEntries(Object.entries(Labels ?? {}).filter(([name]) => /^(?:berth|com\.docker\.swarm)\./.test(name))),
    State,
    NetworkSettings,
    Ports: (Ports ?? []).filter(({ PublicPort }) => PublicPort !== undefined),
  };
}

async function* asMember(body: Readable): AsyncGenerator<Buffer> {
  yield Buffer.from('{"list":');
  yield* body as AsyncIterable<Buffer>;
  yield Buffer.from("}");
}
