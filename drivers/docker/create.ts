import type Docker from "dockerode";
import type { ContainerCreateOptions, ContainerInspectInfo } from "dockerode";
import type { Log } from "../../lib/log.ts";

import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { parseLabels, refuseForeignOwner } from "../labels.ts";
import { definition, type Endpoint, type DockerSite } from "./definition.ts";
import { stop, remove, unpause } from "./destroy.ts";
import { findContainer, observeOne, type DockerView } from "./observe.ts";

/** The engine reserves a name before it lists its container, and releases it a moment after the removal. */
const PAUSE_MS = 50;
/** Two seconds; after that another process keeps taking the name. */
const ATTEMPTS = 40;

type CreatedContainer = { id: string; adopted: boolean };

/** Creates the service's container, or adopts it. Removes a container of another generation first. */
export async function createOrAdopt(
  engine: Engine,
  view: DockerView,
  spec: Spec,
  site: DockerSite,
  endpoint: Endpoint,
  log: Log,
  signal: AbortSignal,
): Promise<CreatedContainer> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return { id: await create(engine, spec, site, endpoint, log), adopted: false };
    } catch (error) {
      if (!answered(error, 409) || attempt === ATTEMPTS) throw error;
    }
    if (attempt > 1) await engine.clock.sleep(PAUSE_MS, signal);
    const holder = await findContainer(engine, spec.service, signal);
    if (!holder) continue;
    refuseForeignOwner(parseLabels(holder.Config.Labels), spec, { kind: "container", where: " on the engine" });
    const adopted = isAdoptable(holder, spec, view) && (!holder.State.Paused || (await unpause(engine, holder.Id, spec.service)));
    if (adopted) return { id: holder.Id, adopted: true };
    log.info({ service: spec.service, generation: parseLabels(holder.Config.Labels)?.generation, state: holder.State.Status }, "replacing container");
    if (holder.State.Running) await stop(engine, holder.Id, spec.service, signal);
    await remove(engine, holder.Id, signal);
  }
}

/** The same definition, and running, created but not started, or paused with the same image and variables. */
function isAdoptable(holder: ContainerInspectInfo, spec: Spec, view: DockerView): boolean {
  const { Paused: paused } = holder.State;
  if (paused && !hasSameContent(holder, spec)) return false;
  const observed = observeOne(view, paused ? { ...holder, State: { ...holder.State, Paused: false } } : holder);
  if (observed?.labels.generation !== spec.labels.generation) return false;
  // A change of `reach` needs another container, because only a new one can publish its port.
  return observed.running ? observed.addresses.length > 0 === (spec.port !== undefined) : holder.State.Status === "created";
}

/** False if a tag has moved while it was paused, or a credential or the user's session has changed. */
function hasSameContent({ Config }: ContainerInspectInfo, { image, env }: Spec): boolean {
  const variables = new Set(Config.Env);
  return Config.Image === image && Object.entries(env).every(([name, value]) => variables.has(`${name}=${value}`));
}

/** Without a signal, because the engine may complete an aborted call. It takes milliseconds. */
async function create(engine: Engine, spec: Spec, site: DockerSite, endpoint: Endpoint, log: Log): Promise<string> {
  // Several first calls at once may have the limit, and each of them retries without it.
  const limited = site.storageLimit;
  const call = { doing: `Creating ${spec.service}`, kind: "start" as const };
  try {
    return await engine.call(call, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  } catch (error) {
    if (!limited || !/storage-opt|StorageOpt|quota/i.test(String(error))) throw error;
    // Only some storage drivers can (overlay2 on xfs with pquota). Logged once, because it holds for every container.
    if (site.storageLimit) log.warn({ service: spec.service, err: error }, "`storage` of container.json ignored: this engine cannot limit a disk");
    site.storageLimit = false;
    return engine.call(call, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  }
}

/**
 * By the client's own dial. Its `createContainer` drops the engine's warnings, such as a limit that its kernel does not support, and puts the whole
 * definition with all variables into the URL, unless name and body are separate.
 */
async function post(docker: Docker, name: string, body: ContainerCreateOptions, log: Log): Promise<string> {
  const created = await new Promise<{ Id: string; Warnings?: string[] | null }>((resolve, reject) => {
    docker.modem.dial(
      {
        path: "/containers/create?",
        method: "POST",
        options: { _query: { name }, _body: body },
        statusCodes: { 201: true, 400: "bad parameter", 404: "no such container", 409: "conflict", 500: "server error" },
      },
      (error: unknown, data: unknown) => (error ? reject(error) : resolve(data as { Id: string })),
    );
  });
  for (const warning of created.Warnings ?? []) log.warn({ service: name, warning }, "engine ignores a setting of the container");
  return created.Id;
}
