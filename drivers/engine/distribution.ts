import { advisedFault } from "../advice.ts";
import type { Call, Registry } from "../driver.ts";
import type { Reference } from "../reference.ts";
import type { Engine } from "./engine.ts";
import { askedAs } from "./pull.ts";

/**
 * What a tag points at now, asked of its registry by the engine (`GET /distribution/{name}/json`), which pulls nothing.
 * Faults: IMAGE_NOT_FOUND, PULL_DENIED, IMAGE_REFERENCE_INVALID, ENGINE_UNREACHABLE, ENGINE_FAILED, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function askDistribution(
  engine: Engine,
  ref: Extract<Reference, { kind: "name" }>,
  registry: Registry | undefined,
  call: Call,
): Promise<string> {
  const full = `${ref.name}${ref.digest ? "@" : ":"}${ref.tag}`;
  const login = ref.registry === undefined ? undefined : await registry?.login(ref.registry, call);
  const doing = `Asking the registry for ${full} ${askedAs(login)}`;
  const authconfig = login && { ...login, serveraddress: ref.registry ?? "" };
  const answer = await engine.call({ doing, signal: call.signal, reading: "pull" }, (docker) =>
    docker.getImage(full).distribution(authconfig ? { authconfig } : undefined),
  );
  const digest = (answer as { Descriptor?: { digest?: string } }).Descriptor?.digest;
  if (digest === undefined) throw advisedFault("ENGINE_FAILED", `${doing}: the engine told no digest`);
  return digest;
}
