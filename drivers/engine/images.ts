import type { ImageInspectInfo } from "dockerode";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { jsonLines } from "../../lib/lines.ts";
import type { Call, DeployCall, ImageMeasures, Registry, ResolvedImage } from "../driver.ts";
import { advisedFault } from "../faults.ts";
import { exposedPorts, parseMoment, parseReference, parseRuntime, platformName, type Reference } from "../image.ts";
import { readJson, readJsonUpTo } from "./dial.ts";
import type { Engine } from "./engine.ts";
import { engineFault, undefinedOn } from "./faults.ts";

/**
 * The engine repeats an image's configuration in what it reports of each container, and its labels in each event. Its author may expose 65,535 ports of three
 * protocols, or write megabytes of labels. In bytes of JSON: 16,384 ports have 290,000.
 */
const MAX_CONFIG = 524_288;
/** With all names and layers of an image. */
const MAX_REPLY = 1_048_576;

function refuseConfig(ref: string): Fault {
  const sentence = `The image ${ref} has more than ${MAX_CONFIG} bytes of configuration, which is ports, labels, variables and commands: make it smaller.`;
  return new Fault("IMAGE_REFUSED", sentence);
}

/** The engine's own copy of an image, if it has one. Faults: IMAGE_REFUSED. */
export async function localImage(engine: Engine, ref: string, signal: AbortSignal): Promise<ImageInspectInfo | undefined> {
  return undefinedOn([404], async () => {
    const call = { doing: `Inspecting ${ref}`, signal };
    const image = await engine.call(call, (docker, abortSignal) => readJsonUpTo(MAX_REPLY, docker, `/images/${ref}/json`, abortSignal));
    if (image === undefined) throw refuseConfig(ref);
    return image as ImageInspectInfo;
  });
}

/** How an image was looked up. `digest`: that of the tag in the registry. */
type ImageLookup = { ref?: string; digest?: string | undefined };

/**
 * One image may have several digests: the requested one is used if the image has it, else one of the repository of `ref`. Another repository's finds nothing there.
 * Faults: IMAGE_REFUSED.
 */
export async function describeImage(
  engine: Engine,
  image: ImageInspectInfo,
  signal: AbortSignal,
  { ref, digest: requested }: ImageLookup = {},
): Promise<ResolvedImage> {
  if (JSON.stringify(image.Config ?? {}).length > MAX_CONFIG) throw refuseConfig(ref ?? image.Id);
  const configured = Object.keys(image.Config?.ExposedPorts ?? {});
  const digests = (image.RepoDigests ?? []).filter((name) => ref === undefined || isOfRepository(name, ref)).map((name) => name.split("@")[1]);
  const digest = digests.find((one) => one === requested) ?? digests[0];
  return {
    id: image.Id,
    ...(digest === undefined ? {} : { digest }),
    ...exposedPorts(configured, configured.length > 1 ? await history(engine, image.Id, signal) : []),
    ...parseRuntime(image.Config),
    sizeBytes: image.Size,
    createdOn: parseMoment(image.Created),
    ...(await platformOf(engine, image, signal)),
  };
}

const machines = new WeakMap<Engine, string>();

/** An engine's machine stays what it is: one call is enough. */
async function platformOf(engine: Engine, { Os, Architecture }: ImageInspectInfo, signal: AbortSignal): Promise<Pick<ImageMeasures, "platform">> {
  const image = platformName(Os, Architecture);
  if (image === undefined) return {};
  let machine = machines.get(engine);
  if (machine === undefined) {
    const version = (await engine.call({ doing: "Reading the engine's platform", signal }, (docker, abortSignal) =>
      readJson(docker, "/version", abortSignal),
    )) as { Os?: unknown; Arch?: unknown };
    machine = platformName(version.Os, version.Arch);
    if (machine === undefined) return {};
    machines.set(engine, machine);
  }
  return { platform: { image, machine } };
}

/** Whether `name` is of the repository of `ref`, in whatever registry. */
function isOfRepository(name: string, ref: string): boolean {
  const [one, other] = [parseReference(name), parseReference(ref)];
  if (one.kind === "id" || other.kind === "id") return true;
  const path = other.registry === undefined ? other.name : other.name.slice(other.registry.length + 1);
  return one.name === path || one.name.endsWith(`/${path}`);
}

/** The commands of the image's layers, oldest first; none if they are too long. */
async function history(engine: Engine, id: string, signal: AbortSignal): Promise<string[]> {
  const layers = await engine.call({ doing: `Reading the history of ${id}`, signal }, (docker, abortSignal) =>
    readJsonUpTo(MAX_REPLY, docker, `/images/${id}/history`, abortSignal),
  );
  return ((layers ?? []) as { CreatedBy?: string }[]).map(({ CreatedBy }) => CreatedBy ?? "").toReversed();
}

/** A longer silence comes from the registry or the disk. */
export const PULL_IDLE_MS = 120_000;
const PROGRESS_EVERY_MS = 1_000;

type PullOptions = { registry?: Registry | undefined; idleMs?: number };

type PullLine = {
  id?: string;
  status?: string;
  error?: string;
  errorDetail?: { message?: string };
  progressDetail?: { current?: number; total?: number };
};

/**
 * Has the engine pull with the registry's login; returns when the image is there. `idleMs` limits each silence, not the whole pull, which may take
 * minutes. Faults: IMAGE_NOT_FOUND, PULL_DENIED, IMAGE_REFERENCE_INVALID, NO_CAPACITY, ENGINE_UNREACHABLE,
 * ENGINE_FAILED, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function pull(
  engine: Engine,
  ref: Extract<Reference, { kind: "name" }>,
  call: DeployCall,
  { registry, idleMs = PULL_IDLE_MS }: PullOptions = {},
): Promise<void> {
  const login = ref.registry === undefined ? undefined : await registry?.login(ref.registry, call);
  const doing = `Pulling ${ref.name}${ref.digest ? "@" : ":"}${ref.tag} ${loginPhrase(login)}`;
  const idle = openIdleLimit(engine.clock, idleMs, () => advisedFault("ENGINE_FAILED", `${doing}: no progress for ${idleMs / 1000} s.`), call.signal);
  const layers = new Map<string, { done: number; total: number }>();
  const report = () => {
    let done = 0;
    let total = 0;
    for (const layer of layers.values()) {
      done += layer.done;
      total += layer.total;
    }
    call.onPull?.({ done, total });
  };
  const stopReports = every(engine.clock, PROGRESS_EVERY_MS, report);
  try {
    const options = { fromImage: ref.name, tag: ref.tag, abortSignal: idle.signal };
    const stream = (await engine.docker.createImage(login && { ...login, serveraddress: ref.registry }, options)) as AsyncIterable<Buffer>;
    for await (const line of jsonLines<PullLine>(stream)) {
      idle.reset();
      if (line.error !== undefined) throw new Error(line.errorDetail?.message ?? line.error);
      const { current, total } = line.progressDetail ?? {};
      if (line.id !== undefined && line.status === "Downloading") layers.set(line.id, { done: current ?? 0, total: total ?? 0 });
      const layer = line.id === undefined ? undefined : layers.get(line.id);
      if (layer && line.status === "Download complete") layer.done = layer.total;
    }
    report();
  } catch (error) {
    if (call.signal.aborted) throw call.signal.reason;
    throw idle.signal.aborted ? idle.signal.reason : engineFault(error, "pull", doing);
  } finally {
    stopReports();
    idle.close();
  }
}

/** The credentials of a call, as a part of its sentence. */
function loginPhrase(login: { username: string } | undefined): string {
  return login === undefined ? "without credentials" : `as the user "${login.username}"`;
}

/** A signal that aborts after `ms` without `reset()`, or with the parent. */
function openIdleLimit(clock: Clock, ms: number, reason: () => Error, parent: AbortSignal) {
  const own = new AbortController();
  const onParent = () => own.abort(parent.reason);
  const arm = () => clock.after(ms, () => own.abort(reason()));
  let cancel = arm();
  if (parent.aborted) onParent();
  parent.addEventListener("abort", onParent, { once: true });
  return {
    signal: own.signal,
    reset: () => {
      cancel();
      cancel = arm();
    },
    close: () => {
      cancel();
      parent.removeEventListener("abort", onParent);
    },
  };
}

function every(clock: Clock, ms: number, task: () => void): () => void {
  let cancel = clock.after(ms, again);
  function again() {
    task();
    cancel = clock.after(ms, again);
  }
  return () => cancel();
}

/**
 * The current digest of a tag, which the engine reads from the registry (`GET /distribution/{name}/json`) without a pull.
 * Faults: IMAGE_NOT_FOUND, PULL_DENIED, IMAGE_REFERENCE_INVALID, ENGINE_UNREACHABLE, ENGINE_FAILED, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function queryDigest(
  engine: Engine,
  ref: Extract<Reference, { kind: "name" }>,
  registry: Registry | undefined,
  call: Call,
): Promise<string> {
  const full = `${ref.name}${ref.digest ? "@" : ":"}${ref.tag}`;
  const login = ref.registry === undefined ? undefined : await registry?.login(ref.registry, call);
  const doing = `Resolving ${full} at the registry ${loginPhrase(login)}`;
  const authconfig = login && { ...login, serveraddress: ref.registry ?? "" };
  const reply = await engine.call({ doing, signal: call.signal, kind: "pull" }, (docker) =>
    docker.getImage(full).distribution(authconfig ? { authconfig } : undefined),
  );
  const digest = (reply as { Descriptor?: { digest?: string } }).Descriptor?.digest;
  if (digest === undefined) throw advisedFault("ENGINE_FAILED", `${doing}: the engine reported no digest`);
  return digest;
}

/** Pulls an image and returns it. Faults: those of `pull`. */
export async function pullAndInspect(engine: Engine, ref: string, call: DeployCall, options: PullOptions): Promise<ImageInspectInfo> {
  await pull(engine, parseReference(ref) as Extract<Reference, { kind: "name" }>, call, options);
  const image = await localImage(engine, ref, call.signal);
  if (!image) throw advisedFault("IMAGE_NOT_FOUND", `The engine pulled ${ref}, but does not have it`);
  return image;
}

/** The engine's own copy of an image whose registry has failed: pulled before, or built here. */
export async function findLocalCopy(
  engine: Engine,
  ref: string,
  registry: Registry | undefined,
  { signal }: Call,
): Promise<{ name: string; copy: ImageInspectInfo } | undefined> {
  for (const name of [...(registry?.fullNames(ref) ?? []), ref]) {
    const copy = await localImage(engine, name, signal);
    if (copy) return { name, copy };
  }
  return undefined;
}
