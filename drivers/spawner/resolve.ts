import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { DeployCall, Host, ImageSource, ResolvedImage } from "../driver.ts";
import { type SpawnerClient, awaitWork } from "./client.ts";
import { folderOnWire } from "./wire.ts";

/** Percent-encoded, this is within the spawner's limit. */
const LONGEST_PART = 150;

/** Plugin containers are for the installation's compute host. */
export const HOST: Host = "cvm";

export async function resolve(client: SpawnerClient, clock: Clock, { ref, folder }: ImageSource, call: DeployCall): Promise<ResolvedImage> {
  const doing = `Looking for ${ref}`;
  const [service, tag] = splitReference(ref);
  const path = `/validate/${HOST}/${encodeURIComponent(service)}/${encodeURIComponent(tag)}`;
  const body = { image: ref, ...folderOnWire(folder) };
  const line = await awaitWork(client, clock, { method: "POST", path, body, signal: call.signal, doing }, call);
  if ("image" in line) return { ...line.image, command: line.image.command ?? [] };
  throw new Fault("ENGINE_FAILED", `${doing}: ${client.name} answered with no image; is it a berth spawner?`);
}

/** For readers of the spawner's log: the body has the reference. A port is no tag, a digest is one. */
function splitReference(ref: string): [service: string, tag: string] {
  const [name = ref, digest] = ref.split("@", 2);
  const [, bare = name, tag = "latest"] = /^(.*?)(?::([^/:]+))?$/.exec(name) ?? [];
  return [bare.slice(0, LONGEST_PART), (digest ?? tag).slice(0, LONGEST_PART)];
}
