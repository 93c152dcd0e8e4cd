import { join } from "node:path";
import { type Driver, type ImageSource, type ResolvedImage, USUAL_PLATFORM } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Image } from "../model/entities.ts";
import { imageRepository, isOfRepository, withoutRegistryHost } from "../model/names.ts";
import type { ImageState } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import { imageTimeLeft, isStoppedAsDesired } from "./decide.ts";
import { planReadiness } from "./deploy.ts";
import { asFault, type ContainerEngine, createCallWrites, type InFlightOperations, isEngineTrouble, isUnanswered } from "./engine.ts";
import type { ImagePolicy } from "./image-policy.ts";
import type { LifecycleLimits } from "./limits.ts";
import type { Moves } from "./moves.ts";
import { containerKey, imageKey, missingKey, prefetchKey, type WorkQueue } from "./work-queue.ts";

export type ImageLookupDeps = {
  store: Pick<Store, "images">;
  engine: Pick<ContainerEngine, "call" | "pulls">;
  moves: Pick<Moves, "image" | "update">;
  queue: Pick<WorkQueue, "add" | "addAfter">;
  clock: Pick<Clock, "now">;
  limits: LifecycleLimits;
  /** What `Image.files` is relative to. */
  filesFolder: string;
  /** Undefined: any image may be used. */
  imagePolicy?: ImagePolicy | undefined;
  log: Log;
};

export type ImageDeps = ImageLookupDeps & { store: Store; driver: Pick<Driver, "healthchecks">; inFlight: InFlightOperations; epoch: () => number };

/** How soon an image that the engine could not validate is tried again: soon where it was away, slowly where it refused. */
const ENGINE_BACK_MS: Partial<Record<FaultCode, number>> = { ENGINE_UNREACHABLE: 10_000, ENGINE_FAILED: 60_000 };

/** Brings one image as far as it comes now; containers that wait for it are then looked at. */
export async function reconcileImage(deps: ImageDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, moves, queue, clock } = deps;
  for (;;) {
    signal.throwIfAborted();
    const image = await store.images.find(id);
    if (!image) return;
    if (image.state === "PENDING_VALIDATION" || image.state === "VALIDATING") {
      if (!(await validateTogether(deps, image, signal))) return;
    } else if (image.state === "ERROR" && isEngineTrouble(image.fault?.code)) {
      const waitMs = image.since + ((image.fault && ENGINE_BACK_MS[image.fault.code]) ?? 0) - clock.now();
      if (waitMs > 0) {
        // What waits for it fails now, not when the engine is back.
        await reconcileWaiting(deps, id);
        return queue.addAfter(imageKey(id), waitMs);
      }
      await moves.image(image, "validationWished", {});
    } else {
      if (isMissing(image)) scheduleMissingRetry(deps, image);
      return reconcileWaiting(deps, id);
    }
  }
}

/** Containers that are to run or still do. Those that are stopped use the image with their next start. */
async function reconcileWaiting({ store, queue }: ImageDeps, imageId: string): Promise<void> {
  for (const row of await store.containers.byImage(imageId)) if (!isStoppedAsDesired(row)) queue.add(containerKey(row.id));
}

/**
 * Validates an image together with all others in its state that name the same image of a registry, since a package may name one 500 times: the engine resolves it
 * once, and a few commits serve all. False where that is in progress: its end requests another look.
 */
async function validateTogether(deps: ImageDeps, image: Image, signal: AbortSignal): Promise<boolean> {
  const { store, queue, inFlight } = deps;
  const { id, ref, state, dockerfile } = image;
  // With a Dockerfile it may depend on the folder's files, which the process driver runs.
  const isShared = dockerfile === "";
  const source = isShared ? `ref:${ref}` : imageKey(id);
  if (inFlight.generation(source) !== undefined) return false;
  let ids = [id];
  // In progress from this moment, before anything is awaited: another worker may have come to an image of the same source.
  const validating = inFlight.run(source, image.since, signal, async (stop) => {
    if (isShared) ids = await store.images.ofRef(ref, state);
    await inFlight.run(ids.map(imageKey), image.since, stop, (own) => validate(deps, image, { ids, own, signal }));
  });
  try {
    await validating;
  } finally {
    const later = signal.aborted || !isShared ? [] : await store.images.ofRef(ref, "PENDING_VALIDATION");
    for (const other of [...ids, ...later]) if (other !== id) queue.add(imageKey(other));
  }
  return true;
}

/** `own` also aborts when the validation of one of them is requested again. */
type ValidateOptions = { ids: readonly string[]; own: AbortSignal; signal: AbortSignal };

async function validate(deps: ImageDeps, image: Image, { ids, own, signal }: ValidateOptions): Promise<void> {
  const { store, moves, clock, imagePolicy, log } = deps;
  const inState = (state: ImageState, work: (image: Image) => Promise<unknown>) =>
    inCommits(store, ids, async (now) => {
      // Requested again or published anew meanwhile: this no longer counts for it.
      if (now.state === state && now.ref === image.ref && now.dockerfile === image.dockerfile) await work(now);
    });
  if (image.state === "PENDING_VALIDATION") {
    const logs = logLine(clock, `validating ${image.ref}`);
    await inState("PENDING_VALIDATION", (now) => moves.image(now, "validationBegan", { logs, fault: undefined }));
  }
  try {
    // Before anything is pulled.
    imagePolicy?.requireName(image.ref);
    const resolved = await resolve(deps, (await store.images.find(image.id)) ?? image, ids, own);
    const { id: resolvedId, digest, exposed, command, healthcheck } = resolved;
    if (imagePolicy) await imagePolicy.requireImage({ ref: image.ref, digest, measures: resolved, author: await store.images.author(image.id) }, own);
    await inState("VALIDATING", async (now) => {
      const lines = findings(resolved, await notesOf(deps, { ...now, exposed, command, healthcheck }), clock);
      const warnings = withPlatformWarning(now.warnings, resolved);
      await moves.image(now, "resolved", { resolvedId, digest, exposed, command, healthcheck, warnings, logs: now.logs + lines, fault: undefined });
      if (now.resolvedId === undefined || now.resolvedId === resolvedId) return;
      // A tag that moved is a new definition of what runs from it.
      for (const { id, generation } of await store.containers.byImage(now.id)) await moves.update(id, { generation: generation + 1 });
    });
  } catch (error) {
    signal.throwIfAborted();
    if (own.aborted) return;
    const result = asFault(error, log);
    if (!isUnanswered(result)) return inState("VALIDATING", (now) => failValidation(deps, now, result));
    // They stay VALIDATING, and those who wait go on waiting, until the validation's own limit: then this is the cause.
    const { code, message } = result;
    await inState("VALIDATING", async (now) => {
      if (!now.fault) await store.images.update(now.id, { fault: { code, message }, logs: now.logs + logLine(clock, `${code}: ${message}`) });
    });
    throw result;
  }
}

async function failValidation({ store, moves, clock }: ImageDeps, image: Image, result: Fault): Promise<void> {
  const cause = result.code === "VALIDATION_TIMED_OUT" && image.fault ? Fault.from(image.fault) : result;
  const advice = NOT_HAD.has(cause.code) && (await isWithoutImageJson(store, image)) ? WITHOUT_IMAGE_JSON : undefined;
  const fault = advice === undefined ? cause : Fault.from({ ...cause.toJSON(), message: `${cause.message} ${advice}` });
  const event = fault.code === "VALIDATION_TIMED_OUT" ? "timedOut" : "refused";
  const lines = [`${fault.code}: ${fault.message}`, ...(await stillRunning(store, image))].map((text) => logLine(clock, text)).join("");
  await moves.image(image, event, { fault: fault.toJSON(), logs: image.logs + lines });
}

/** The engine or a registry did not give the image. */
const NOT_HAD: ReadonlySet<FaultCode> = new Set(["IMAGE_NOT_FOUND", "PULL_DENIED", "REGISTRY_UNREACHABLE", "ENGINE_FAILED"]);

const WITHOUT_IMAGE_JSON =
  "The package was published without image.json: its client has built and pushed no image. Publish with datagrok-tools 6.1.0 or newer " +
  "(npm install -g datagrok-tools, grok publish --release) or with berth publish.";

/** A folder with a Dockerfile, from a client that only sends files: grok publish before 6.1.0 left building to the server. */
async function isWithoutImageJson({ publishedFiles }: Pick<Store, "publishedFiles">, { name, ref, dockerfile, files }: Image): Promise<boolean> {
  if (dockerfile === "" || files === "" || !isOfRepository(ref, imageRepository(name))) return false;
  return !(await publishedFiles.has(files, "image.json"));
}

/** So many in one commit: few commits for a large package, and other work gets its turn between them. */
const SLICE = 25;

async function inCommits(store: Store, ids: readonly string[], work: (image: Image) => Promise<void>): Promise<void> {
  for (let at = 0; at < ids.length; at += SLICE) {
    if (at > 0) await new Promise(setImmediate);
    await store.transaction(async () => {
      for (const id of ids.slice(at, at + SLICE)) {
        const image = await store.images.find(id);
        if (image) await work(image);
      }
    });
  }
}

/** Warns of what its author would otherwise take for the new version. */
async function stillRunning({ containers }: Pick<Store, "containers">, image: Image): Promise<string[]> {
  const older = (await containers.byImage(image.id)).filter((row) => row.runningGeneration !== undefined && row.runningGeneration !== row.generation);
  return older.map(({ name }) => `warning: ${name} goes on running what was published before`);
}

function resolve(
  { store, engine, clock, epoch, limits, filesFolder }: ImageDeps,
  image: Image,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const seconds = Math.round(limits.statusMs / 1000);
  const deadline = {
    ms: Math.max(0, imageTimeLeft(image, { now: clock.now(), epoch: epoch() }, limits)),
    capMs: limits.pullCapMs,
    overdue: () => new Fault("VALIDATION_TIMED_OUT", `The image ${image.ref} could not be resolved and pulled within ${seconds} s without progress.`),
  };
  let renewedOn = image.since;
  const writes = createCallWrites();
  const onPull = () => {
    // Durable now and then, for whatever waits on this row's clock and for a start after a crash.
    const now = clock.now();
    if (now - renewedOn < limits.flushMs || now - image.since > limits.pullCapMs) return;
    renewedOn = now;
    writes.add(() => inCommits(store, ids, async ({ id }) => void (await store.images.move(id, "VALIDATING", "VALIDATING", { since: now }))));
  };
  return writes.finish(engine.call("resolve", [imageSource(image, filesFolder)], { deadline, signal, onPull }));
}

/** How its containers become ready, where that is not by their port alone. */
async function notesOf({ store, driver }: ImageDeps, image: Image): Promise<string[]> {
  const notes = (await store.containers.byImage(image.id)).flatMap(({ config }) => {
    const plan = planReadiness(config, image, driver);
    return [...(plan.isWorker ? [`queue worker: started without an open port, with at least ${plan.cpu} CPU`] : []), ...plan.notes];
  });
  return [...new Set(notes)];
}

function findings({ id, digest, exposed, guessed, portsUnknown }: ResolvedImage, notes: readonly string[], clock: Pick<Clock, "now">): string {
  const [first, ...others] = exposed;
  const lines = [`resolved to ${id}${digest ? ` (${digest})` : ""}`];
  if (portsUnknown)
    lines.push("warning: what the image exposes is not known here; it is reached on the port that container.json or the package's Dockerfile names");
  else if (first === undefined) lines.push("warning: no EXPOSE; requests to a container without a port are answered 400");
  else if (guessed)
    lines.push(`warning: several ports are exposed and their order is unknown; ${first} is taken, also exposed: ${others.join(", ")}`);
  else if (others.length > 0) lines.push(`warning: several ports are exposed; ${first} is taken, also exposed: ${others.join(", ")}`);
  else lines.push(`exposes port ${first}`);
  return [...lines, ...notes].map((text) => logLine(clock, text)).join("");
}

const OTHER_PLATFORM = "The image is built for ";

/** Beside the warnings of its publish, in place of the one of an earlier validation. The machine may emulate another processor, so it is not refused. */
function withPlatformWarning(warnings: readonly string[], { platform }: Pick<ResolvedImage, "platform">): string[] {
  const others = warnings.filter((warning) => !warning.startsWith(OTHER_PLATFORM));
  if (platform === undefined || platform.image === (platform.machine ?? USUAL_PLATFORM)) return others;
  const { image, machine } = platform;
  if (machine === undefined) return [...others, `${OTHER_PLATFORM}${image}: it starts only on machines of that kind.`];
  return [
    ...others,
    `${OTHER_PLATFORM}${image}, and containers run on ${machine}: it starts only where that is emulated. Build it with --platform ${machine}.`,
  ];
}

function logLine(clock: Pick<Clock, "now">, text: string): string {
  return `${new Date(clock.now()).toISOString()} ${text}\n`;
}

/** What a driver finds an image by. */
function imageSource({ ref, files }: Pick<Image, "ref" | "files">, filesFolder: string): ImageSource {
  return { ref, ...(files === "" ? {} : { folder: join(filesFolder, files) }) };
}

export function isMissing(image: Image | undefined): image is Image {
  return image?.state === "ERROR" && image.fault?.code === "IMAGE_NOT_FOUND";
}

/** After as long as it has been missing for, within bounds: that doubles the waits, and outlives a restart. */
function scheduleMissingRetry({ clock, limits, queue }: Pick<ImageLookupDeps, "clock" | "limits" | "queue">, { id, since }: Image): void {
  const { firstMs, longestMs } = limits.missingRetry;
  queue.addAfter(missingKey(id), Math.min(Math.max(clock.now() - since, firstMs), longestMs));
}

/**
 * Looks again for an image that no registry had: a push to berth's own registry is reported at once, a push elsewhere is found here. The row stays as it is
 * until the image is found; what a user or a push requests meanwhile goes ahead as ever.
 */
export async function retryMissingImage(deps: ImageLookupDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, moves, queue, log } = deps;
  const image = await store.images.find(id);
  if (!isMissing(image)) return;
  try {
    await resolveInBackground(deps, image, "found", signal);
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ image: image.ref, fault: asFault(error, log).code }, "image still missing");
    return scheduleMissingRetry(deps, image);
  }
  const now = await store.images.find(id);
  if (isMissing(now) && (await moves.image(now, "validationWished", { fault: undefined }))) queue.add(imageKey(id));
}

/**
 * Brings what a mutable tag points at now to the engine, so that the next start finds it there. Nothing depends on it: the row stays as it is,
 * what runs goes on, and where it fails, that start pulls for itself.
 */
export async function prefetchImage(deps: ImageLookupDeps, id: string, signal: AbortSignal): Promise<void> {
  const { store, log } = deps;
  const image = await store.images.find(id);
  // In other states the validation pulls it.
  if (image?.state !== "READY") return;
  try {
    await resolveInBackground(deps, image, "pulled", signal);
    log.info({ image: image.ref }, "image prefetched");
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = asFault(error, log);
    log.info({ image: image.ref, fault: code, reason: message }, "image prefetch failed; the next start tries again");
  }
}

/** Resolves an image beside its row, which does not change. `done` is what it was to be: "found", "pulled". Faults: VALIDATION_TIMED_OUT, and those of `resolve`. */
function resolveInBackground(
  { engine, limits, filesFolder }: ImageLookupDeps,
  image: Image,
  done: string,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const seconds = Math.round(limits.statusMs / 1000);
  const overdue = () => new Fault("VALIDATION_TIMED_OUT", `${image.ref} was not ${done} within ${seconds} s without progress.`);
  return engine.call("resolve", [imageSource(image, filesFolder)], { deadline: { ms: limits.statusMs, capMs: limits.pullCapMs, overdue }, signal });
}

/** An image as a registry names it: `datagrok/x` and a tag or a digest. */
export type PushedImage = { repository: string; reference: string };

/**
 * What waits for an image that has just come to a registry is validated at once. What already runs is replaced when it is published or started
 * again: for those a tag that may move is only pulled, where the engine is one that images are pulled to. Other tags are what they were.
 */
export async function handlePushedImage(
  { store, queue, engine }: Pick<ImageLookupDeps, "store" | "queue" | "engine">,
  requestValidation: (imageId: string) => Promise<void>,
  pushed: PushedImage,
): Promise<void> {
  for (const image of await store.images.ofRepository(pushed.repository)) {
    if (!isOf(image, pushed)) continue;
    if (image.state === "PENDING_VALIDATION") queue.add(imageKey(image.id));
    else if (image.state === "READY" && image.mutable && engine.pulls) queue.add(prefetchKey(image.id));
    else if (image.state === "ERROR" || image.state === "VALIDATING") await requestValidation(image.id);
  }
}

/** A host before the name is how a client or the engine reaches the registry, which may have several names. */
function isOf({ ref }: Pick<Image, "ref">, { repository, reference }: PushedImage): boolean {
  const [, name = "", tag = "latest", digest] = /^([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(withoutRegistryHost(ref)) ?? [];
  return name === repository && (digest ?? tag) === reference;
}
