import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import { openDeadline } from "../../../lib/deadline.ts";
import { createFairSlots } from "../../../lib/fair-queues.ts";
import { createKeyedMutex } from "../../../lib/keyed-mutex.ts";
import { Fault } from "../../../lib/fault.ts";
import { mayStillManage } from "../../identity/rights.ts";
import type { ImagePolicy } from "../../lifecycle/image-policy.ts";
import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";
import type { Container, Package, User } from "../../model/entities.ts";
import type { PackageVersion } from "../../model/records.ts";
import { unscoped } from "../../model/names.ts";
import type { AuthoredImage } from "../../store/images.ts";
import type { Store } from "../../store/open-store.ts";
import type { Credentials } from "../credentials/open-credentials.ts";
import { findReferenced, unresolvedTemplates } from "../credentials/references.ts";
import { capWarnings, readText } from "./author-files.ts";
import { findConnections, isConnection, type PublishedConnection } from "./connections.ts";
import { defineContainers, type Definition, type PackageJson, readPackageJson } from "./definitions.ts";
import { DOCKERFILES, findFolders } from "./folders.ts";
import { openPackageFiles } from "./package-files.ts";
import { receiveUpload, unpackZip, type ZipLimits } from "./receive-upload.ts";
import { createRecorder, inSlices } from "./create-recorder.ts";
import { earlierVersion } from "./earlier-version.ts";
import { containerJsonOf, requireReplicas } from "./require-replicas.ts";
import { type Recorded, type RecordedPackage, refuseForeignAuthor } from "./record-package.ts";
import { saveContainer, type Saving } from "./save-container.ts";

export type Publishing = {
  /** The package's name in the address. */
  name: string;
  user: Pick<User, "id" | "login" | "admin">;
  /**
   * The user again, if the credential may still publish a package of this name: the name in package.json may differ from the one in the address, and the
   * credential may end while the package is received. It reads only the store. Faults: NOT_PERMITTED, and those of the credential.
   */
  authorize(packageName: string): Promise<Publishing["user"]>;
  debug: boolean;
  /** The ZIP. */
  body: AsyncIterable<Buffer>;
  signal: AbortSignal;
};

export type Published = Recorded & { warnings: string[] };
export type PackageRequest = { name: string; user: Publishing["user"]; signal: AbortSignal };
export type RolledBack = { package: Package; restored: PackageVersion };

export type Publisher = {
  /**
   * Stores a package, all of it or nothing, and tells the lifecycle. The credential is checked last in the transaction that stores it.
   * Faults: PACKAGE_INVALID, PACKAGE_REFUSED, PACKAGE_TOO_LARGE, REGISTRY_UNREACHABLE, UPLOADS_FULL, UPLOAD_TOO_SLOW, NOT_PERMITTED, STORE_FULL, STORE_READ_ONLY.
   */
  publish(publishing: Publishing): Promise<Published>;
  /**
   * Publishes an earlier version again: its images, by digest where that is known, and its definitions. `to` is its number; undefined: the newest one that was
   * good. Its images obey the same rules as those of a publish. Faults: PACKAGE_NOT_FOUND, REQUEST_INVALID if there is no such version, NOT_PERMITTED, NAME_TAKEN,
   * PACKAGE_REFUSED, REGISTRY_UNREACHABLE.
   */
  rollBack(request: PackageRequest & { to: number | undefined }): Promise<RolledBack>;
  /** Removes all containers and images of a package, whose names stay its own. Faults: PACKAGE_NOT_FOUND, NOT_PERMITTED. */
  unpublish(request: PackageRequest): Promise<void>;
  /** Changes a container, or creates one of a published image. Faults: REQUEST_INVALID, NOT_PERMITTED. */
  save(changes: Saving): Promise<Container>;
};

/** A package that was unpacked and read, and is not stored yet. */
type PreparedPackage = {
  /** Of the upload. */
  folder: string;
  json: PackageJson;
  /** The id of who publishes it, or did first. */
  author: string;
  definitions: readonly Definition[];
  connections: readonly PublishedConnection[];
  warnings: readonly string[];
  unresolved: readonly string[];
};

/** The name of the upload in its incoming folder. */
const ZIP = "package.zip";
/** Packages that are being received: each takes disk for its ZIP. The bytes of those that wait stay in their sockets. */
const UPLOADS = { slots: 32, slotsPerUser: 8, waiting: 64, waitingPerUser: 16 };
/** Packages that are unpacked and recorded, once they were received: each takes disk and time of two cores. */
const PUBLISHES = { slots: 4, slotsPerUser: 2, waiting: 64, waitingPerUser: 16 };
/**
 * Packages whose images are being checked by the rules for images: registries may be slow, so these have no publish slot. One of an author at a time, until it
 * is recorded: else two could pass the author's quota together.
 */
const CHECKS = { slots: 16, slotsPerUser: 1, waiting: 64, waitingPerUser: 16 };
/** A package that takes longer than this keeps the others of its author waiting. */
const PUBLISH_MS = 120_000;
const RETRY_MS = 10_000;
/** Of one answer. Each folder has at most 20. */
const MAX_WARNINGS_IN_ALL = 200;

export async function openPublisher(parts: {
  store: Store;
  lifecycle: Pick<Lifecycle, "requestValidation" | "definitionChanged" | "remove">;
  /** Stores the package's connections with their secrets. */
  credentials: Pick<Credentials, "record">;
  dataFolder: string;
  /** A part of the services' names. */
  environment: string;
  /** The server has TCP listeners for containers with `tcp`. Default: no. */
  hasTcpListeners?: boolean | undefined;
  /** The driver runs several instances of a container. Default: no. */
  replicas?: (() => Driver["replicas"]) | undefined;
  /** Containers start without GPUs that no machine has. Default: their start fails. */
  gpuIsOptional?: boolean | undefined;
  /** Undefined: packages may name any image. */
  imagePolicy?: Pick<ImagePolicy, "requirePackage"> | undefined;
  /** Earlier versions of each package that stay for a rollback. */
  keepVersions?: number | undefined;
  clock: Clock;
  maxPackageBytes: number;
  limits: ZipLimits;
}): Promise<Publisher> {
  const { store, clock } = parts;
  const files = await openPackageFiles(parts.dataFolder, async (id) => (await store.packages.find(id)) !== undefined, store.publishedFiles);
  /** Publishes of one package share its folder of files. Their number is bounded by the publish slots. */
  const inTurn = createKeyedMutex();
  const recorder = createRecorder({ ...parts, files });

  const readPackage = async (folder: string, publishing: Publishing) => {
    const into = join(folder, "unpacked");
    await mkdir(into);
    await unpackZip({ zip: join(folder, ZIP), into, wanted: isWanted, limits: parts.limits, signal: publishing.signal });
    const json = readPackageJson(await readText(join(into, "package.json"), "package.json", publishing.signal));
    if (!isSamePackage(json.name, publishing.name)) {
      throw new Fault("PACKAGE_INVALID", `package.json names the package ${json.name}; it was published as ${publishing.name}.`);
    }
    await publishing.authorize(json.name);
    return { into, json };
  };

  /** The files first, then all rows in one transaction, which is the moment of publishing; then what no container runs from is pruned. */
  const place = async (
    publishing: Publishing,
    json: PackageJson,
    definitions: readonly Definition[],
    connections: readonly PublishedConnection[],
    staged: ReadonlyMap<string, string>,
  ): Promise<{ recorded: Recorded; kept: string[] }> => {
    await refuseForeignAuthor(store, json.name, publishing.user);
    // No other publish makes a package of this name meanwhile.
    const packageId = (await store.packages.byName(json.name))?.id ?? randomUUID();
    const folders = definitions.map(({ folder, at, hash }) => ({ from: staged.get(folder) ?? at, folder, hash }));
    return recorder.recordAll(packageId, json, definitions, async (record) => {
      const whole = async () => {
        const recorded = await record(await publishing.authorize(json.name));
        return { recorded, kept: await parts.credentials.record(recorded.package, connections) };
      };
      return files.placing(packageId, folders, publishing.signal, () => store.transaction(whole, { isLarge: true }));
    });
  };

  const prepare = async (folder: string, publishing: Publishing): Promise<PreparedPackage> => {
    const { into, json } = await readPackage(folder, publishing);
    const { folders, warnings: skipped } = await findFolders(into, publishing.signal);
    const { connections, warnings: unread, bytes } = await findConnections(into, publishing.signal);
    const { definitions, warnings } = defineContainers(json, folders, publishing.debug ? publishing.user.login : undefined, bytes);
    requireReplicas(
      definitions.map(({ folder: of, container: { config } }) => ({ at: containerJsonOf(of), config })),
      parts.replicas?.(),
    );
    const unresolved: string[] = [];
    const author = (await store.packages.byName(json.name))?.authorId ?? publishing.user.id;
    const otherPackage = await findReferenced(store, author);
    const findUnresolved = unresolvedTemplates(json.name, connections, (name) => otherPackage(name) !== undefined);
    await inSlices(definitions, ({ name, container }) => void unresolved.push(...capWarnings(findUnresolved(name, container.env))), 1);
    return { folder, json, author, definitions, connections, warnings: [...skipped, ...warnings, ...unread], unresolved };
  };

  const requireImages = (
    policy: Pick<ImagePolicy, "requirePackage">,
    { name, author, definitions }: { name: string } & Pick<PreparedPackage, "author" | "definitions">,
    signal: AbortSignal,
  ) => {
    const images = definitions.map(({ ref, folder: at }) => ({ ref, at: at === "" ? DOCKERFILES : `${DOCKERFILES}/${at}` }));
    return policy.requirePackage({ name, author, images, others: () => imagesOfOtherPackages(store, author, name) }, signal);
  };

  const finish = async (prepared: PreparedPackage, publishing: Publishing): Promise<Published> => {
    const { folder, json, definitions, connections, warnings, unresolved } = prepared;
    const staged = await stage(definitions, folder, files.copy);
    const { recorded, kept } = await inTurn(json.name, () => place(publishing, json, definitions, connections, staged), publishing.signal);
    const unheard = parts.hasTcpListeners ? [] : tcpWarnings(definitions);
    const optional = parts.gpuIsOptional ? gpuWarnings(definitions) : [];
    const all = [...warnings, ...kept, ...unresolved, ...unheard, ...optional];
    return { ...recorded, warnings: capWarnings(all, MAX_WARNINGS_IN_ALL) };
  };

  const full = (of: string) => (ofUser: boolean) =>
    new Fault("UPLOADS_FULL", `${ofUser ? "You are" : "Others are"} ${of} as many packages as are allowed at a time; try again soon.`, {
      retryAfterMs: RETRY_MS,
    });
  const uploads = createFairSlots({ ...UPLOADS, full: full("sending") });
  const publishes = createFairSlots({ ...PUBLISHES, full: full("publishing") });
  const checks = createFairSlots({ ...CHECKS, full: full("publishing") });

  const findOwn = async ({ name, user }: PackageRequest): Promise<Package> => {
    const existing = await store.packages.byName(name);
    if (!existing) throw new Fault("PACKAGE_NOT_FOUND", `There is no package ${name}.`);
    await refuseForeignAuthor(store, existing.name, user);
    return existing;
  };

  /** Replaces all that a published package defines by what `choose` returns. */
  const redefine = async <R extends { json: Omit<RecordedPackage, "name">; definitions: readonly Definition[] }>(
    request: PackageRequest,
    choose: (owner: Package) => Promise<R>,
  ): Promise<R & { recorded: Recorded }> => {
    const { user, signal } = request;
    const existing = await findOwn(request);
    const { id } = existing;
    const done = await publishes.run(user.id, signal, () =>
      inTurn(
        existing.name,
        async () => {
          const chosen = await choose((await store.packages.find(id)) ?? existing);
          const record = (write: (by: Publishing["user"]) => Promise<Recorded>) =>
            store.transaction(
              async () => {
                // It may have waited for others.
                if (!(await mayStillManage(store, { userId: user.id, admin: user.admin }, id)))
                  throw new Fault("NOT_PERMITTED", `You may no longer manage the package ${existing.name}.`);
                return { ...chosen, recorded: await write(user) };
              },
              { isLarge: true },
            );
          return recorder.recordAll(id, { ...chosen.json, name: existing.name }, chosen.definitions, record);
        },
        signal,
      ),
    );
    await recorder.apply(done.recorded, user.id);
    return done;
  };

  const publish = async (publishing: Publishing): Promise<Published> => {
    await refuseForeignAuthor(store, publishing.name, publishing.user);
    const folder = await files.incoming();
    const { body, signal } = publishing;
    const user = publishing.user.id;
    try {
      // A publish slot is for work, not for waiting for a client's bytes.
      await uploads.run(user, signal, () => receiveUpload({ body, to: join(folder, ZIP), maxBytes: parts.maxPackageBytes, clock, signal }));
      const inSlot = <R>(work: (own: Publishing) => Promise<R>) =>
        publishes.run(user, signal, () => {
          const overdue = () =>
            new Fault("PACKAGE_TOO_LARGE", `The package was not unpacked within ${PUBLISH_MS / 1_000} s: publish fewer or smaller files.`);
          // The folder is discarded after this, so it waits for the work to end.
          const deadline = openDeadline({ clock, ms: PUBLISH_MS, overdue, signal });
          return work({ ...publishing, signal: deadline.signal }).finally(deadline.close);
        });
      const { imagePolicy } = parts;
      const publishChecked = async (policy: NonNullable<typeof imagePolicy>): Promise<Published> => {
        const prepared = await inSlot((own) => prepare(folder, own));
        return checks.run(prepared.author, signal, async () => {
          await requireImages(policy, { ...prepared, name: prepared.json.name }, signal);
          return inSlot((own) => finish(prepared, own));
        });
      };
      const published = await (imagePolicy ? publishChecked(imagePolicy) : inSlot(async (own) => finish(await prepare(folder, own), own)));
      await recorder.apply(published, publishing.user.id);
      return published;
    } finally {
      await files.discard(folder);
    }
  };

  return {
    publish,
    rollBack: async ({ to, ...request }) => {
      const returnTo = (number: number | undefined) => redefine(request, (owner) => earlierVersion(store, owner, number));
      const { imagePolicy } = parts;
      const returnChecked = async (policy: NonNullable<typeof imagePolicy>) => {
        const owner = await findOwn(request);
        const { restored, definitions } = await earlierVersion(store, owner, to);
        return checks.run(owner.authorId, request.signal, async () => {
          await requireImages(policy, { name: owner.name, author: owner.authorId, definitions }, request.signal);
          return returnTo(restored.number);
        });
      };
      const { recorded, restored } = await (imagePolicy ? returnChecked(imagePolicy) : returnTo(to));
      return { package: recorded.package, restored };
    },
    unpublish: async (request) => {
      await redefine(request, async ({ version }) => ({ json: { version, isUnpublished: true }, definitions: [] }));
    },
    save: (changes) =>
      saveContainer({ store, lifecycle: parts.lifecycle, environment: parts.environment, now: clock.now(), replicas: parts.replicas?.() }, changes),
  };
}

/** Of the author's other packages, without what was removed. */
async function imagesOfOtherPackages(store: Store, authorId: string, butOfPackage: string): Promise<AuthoredImage[]> {
  const own = (await store.packages.byName(butOfPackage))?.id;
  return (await store.images.ofAuthor(authorId)).filter(({ packageId }) => packageId !== own);
}

function tcpWarnings(definitions: readonly Definition[]): string[] {
  const named = definitions.filter(({ container }) => container.config.tcp === true).map(({ folder }) => `${DOCKERFILES}/${folder}`);
  return named.map((folder) => `${folder}: tcp has no effect, because this server has no TCP listeners (BERTH_TCP_PORTS).`);
}

function gpuWarnings(definitions: readonly Definition[]): string[] {
  return definitions.flatMap(({ folder, container: { config } }) =>
    config.gpu > 0
      ? [`${DOCKERFILES}/${folder}: gpu requests ${config.gpu} GPU: it starts without if no machine has it free (BERTH_GPU_POLICY).`]
      : [],
  );
}

/** berth keeps only what makes containers: no scripts, styles or other code of the package. */
function isWanted(path: string): boolean {
  return path === "package.json" || path.startsWith(`${DOCKERFILES}/`) || isConnection(path);
}

/** Some clients leave the scope out of the address. */
function isSamePackage(name: string, named: string): boolean {
  return name.toLowerCase() === named.toLowerCase() || unscoped(name).toLowerCase() === named.toLowerCase();
}

/** `dockerfiles/` itself holds the other folders, so it is copied before they are moved out of it. */
async function stage(
  definitions: readonly Definition[],
  folder: string,
  copy: (from: string, to: string) => Promise<void>,
): Promise<Map<string, string>> {
  const staged = new Map<string, string>();
  const root = definitions.find((definition) => definition.folder === "");
  if (root === undefined || definitions.length === 1) return staged;
  const to = join(folder, "root");
  await copy(root.at, to);
  return staged.set("", to);
}
