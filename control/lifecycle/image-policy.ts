import type { ImageMeasures } from "../../drivers/driver.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import type { Clock } from "../../lib/clock.ts";
import { openDeadline, withTimeout } from "../../lib/deadline.ts";
import { createFairSlots, type FairSlots } from "../../lib/fair-queues.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Metrics } from "../../lib/metrics/open-metrics.ts";
import { HUB_NAME } from "../../lib/registry-client/docker-hub.ts";
import type { Image } from "../model/entities.ts";
import { splitReference } from "../model/names.ts";

/** What an administrator allows of images. Undefined or empty: anything. */
export type ImageRules = {
  /** Patterns of `registry/repository`; without a registry, of images that a package names without one. `*` is a part of a name, `**` any number of parts. */
  allow: readonly string[];
  maxMb: number | undefined;
  maxAgeDays: number | undefined;
  /** Of one author, and of one package. */
  userImages: number | undefined;
  userMb: number | undefined;
  packageImages: number | undefined;
  packageMb: number | undefined;
};

/** An image in a registry, by its digest. `host` and `repository` are as berth requests it. `isConfigured`: the settings name the registry, and no author does. */
export type RegistryImage = ImageMeasures & { host: string; repository: string; digest: string; isConfigured: boolean };

export type ImagePolicyDeps = {
  rules: ImageRules;
  /**
   * What a registry has under a reference or, where it is given, a digest in its repository. Undefined if the reference names no registry and no configured one
   * has it. Faults: those of registries.
   */
  read(ref: string, digest: string | undefined, signal: AbortSignal): Promise<RegistryImage | undefined>;
  /**
   * Whether one of the signers has signed it, and their names and setting for users; undefined: no signature is needed. Faults: PROGRAM_UNUSABLE, REGISTRY_UNREACHABLE.
   */
  signatures: { signers: readonly string[]; setting: string; verify(image: RegistryImage, signal: AbortSignal): Promise<boolean> } | undefined;
  metrics: Pick<Metrics, "imageRefusals">;
  clock: Pick<Clock, "now" | "after" | "monotonic">;
};

/** An image that is being validated; `measures` are the engine's, for an image that no registry has. */
export type CheckedImage = Pick<Image, "ref"> & ImageOwner & { digest?: string | undefined; measures?: ImageMeasures };

/** The id of the user whose turn a check takes: the package's author. Undefined: its package was removed. */
type ImageOwner = { author: string | undefined };

/** A package that is being published. `others`: what else its author has published, for the author's quota. */
export type CheckedPackage = {
  name: string;
  author: string;
  images: readonly { ref: string; /** For messages, such as `dockerfiles/app`. */ at: string }[];
  others(): Promise<CountedImages>;
};

/** Images that count for a quota. */
type CountedImages = readonly Pick<Image, "ref" | "digest">[];

/**
 * An image that is being pushed. It counts in place of the images of its repository. `packageName`: of the package that owns the repository; undefined: none
 * does yet. `ofPackage` and `ofOthers`: the images of that package, and of its author's others, without those of the repository.
 */
export type CheckedPush = {
  ref: string;
  sizeBytes: number;
  author: string;
  packageName: string | undefined;
  ofPackage: CountedImages;
  ofOthers: CountedImages;
};

/**
 * The rules for images. Each refusal is one sentence: what is wrong, with which image, and what is allowed. It is fail-closed: what cannot be checked is refused.
 * Authors take turns: their registries may be slow.
 */
export type ImagePolicy = {
  /** Sends no request. Faults: IMAGE_REFUSED. */
  requireName(ref: string): void;
  /** Before an image becomes READY. Faults: IMAGE_REFUSED, and those of registries where it could not be checked. */
  requireImage(image: CheckedImage, signal: AbortSignal): Promise<void>;
  /** Before a container starts from it: its name and its signature, which are remembered. Faults: as `requireImage`. */
  requireStart(image: Pick<Image, "ref" | "digest"> & ImageOwner, signal: AbortSignal): Promise<void>;
  /** Whether `requireStart` sends no request. */
  isRemembered(image: Pick<Image, "digest">): boolean;
  /**
   * Before a package is stored. What no registry has yet, or a registry does not answer for, is left to `requireImage`.
   * Faults: PACKAGE_REFUSED, and REGISTRY_UNREACHABLE where it takes too long.
   */
  requirePackage(published: CheckedPackage, signal: AbortSignal): Promise<void>;
  /** Before the registry stores an image: the quotas alone. Faults: PUSH_REFUSED, and REGISTRY_UNREACHABLE where it takes too long. */
  requirePush(image: CheckedPush, signal: AbortSignal): Promise<void>;
};

/** Of digests; some bytes each. */
const MAX_REMEMBERED = 20_000;
/** Requests to registries and runs of cosign at the same time: of publishes and validations, and as many of starts. */
const SLOTS = { slots: 6, slotsPerUser: 2, waiting: 10_000, waitingPerUser: 2_000 };
/** One request, or one run of cosign for each key, without the wait for its turn. */
const CHECK_MS = 60_000;
/** All images of a package that is being published. */
const PACKAGE_MS = 60_000;
const MEGABYTE = 1_000_000;
const DAY_MS = 24 * 3_600_000;
/** Of patterns and keys that one message names. */
const MOST_NAMED = 5;

type RefusalReason = "name" | "signature" | "size" | "age" | "quota" | "unchecked";

export function createImagePolicy({ rules, read, signatures, metrics, clock }: ImagePolicyDeps): ImagePolicy {
  const patterns = rules.allow.map((pattern) => ({ hasRegistry: registryOf(pattern) !== undefined, expression: expressionOf(pattern) }));
  const measured = new BoundedMap<string, RegistryImage>(MAX_REMEMBERED);
  /** Digests that have been signed. The signers are those of this process, so they are no part of it. */
  const signed = new BoundedMap<string, true>(MAX_REMEMBERED);
  const full = () => new Fault("REGISTRY_UNREACHABLE", "Too many images wait for their check; try again soon.");
  const checks = createFairSlots({ ...SLOTS, full });
  const starts = createFairSlots({ ...SLOTS, full });

  const refuse = (reason: RefusalReason, message: string) => {
    metrics.imageRefusals.at(reason).add();
    return new Fault("IMAGE_REFUSED", message);
  };

  const matches = (ref: string, { withRegistry }: { withRegistry: boolean }) => {
    if (isImageId(ref) || (registryOf(ref) !== undefined) !== withRegistry) return false;
    const { name } = splitReference(ref);
    return patterns.some(({ hasRegistry, expression }) => hasRegistry === withRegistry && expression.test(name));
  };

  const requireName = (ref: string) => {
    if (patterns.length === 0 || matches(ref, { withRegistry: registryOf(ref) !== undefined })) return;
    throw refuse("name", `The image ${ref} is not allowed on this server: BERTH_IMAGE_ALLOW allows ${listed(rules.allow)}.`);
  };

  const inTurn = <R>(ref: string, { slots, author = "", signal }: CheckTurn, work: (signal: AbortSignal) => Promise<R>): Promise<R> => {
    const overdue = () => new Fault("REGISTRY_UNREACHABLE", `The registry of the image ${ref} did not answer within ${CHECK_MS / 1_000} s.`);
    return slots.run(author, signal, () => {
      // The slot is free when the work has ended, such as a child process.
      const deadline = openDeadline({ clock, ms: CHECK_MS, overdue, signal });
      return work(deadline.signal).finally(deadline.close);
    });
  };

  /** What has a digest never changes, so one request is enough. */
  const readOnce = async (ref: string, digest: string | undefined, turn: CheckTurn): Promise<RegistryImage | undefined> => {
    const cached = digest === undefined ? undefined : measured.get(`${splitReference(ref).name}@${digest}`);
    if (cached) return cached;
    const image = await inTurn(ref, turn, async (signal) => (turn.isNeeded?.() === false ? undefined : read(ref, digest, signal)));
    if (image) measured.set(`${splitReference(ref).name}@${image.digest}`, image);
    return image;
  };

  const requireMeasures = (ref: string, { sizeBytes, createdOn }: ImageMeasures) => {
    const { maxMb, maxAgeDays } = rules;
    if (maxMb !== undefined) {
      if (sizeBytes === undefined)
        throw refuse("size", `The size of the image ${ref} is unknown; at most ${maxMb} MB are allowed (BERTH_IMAGE_MAX_MB).`);
      if (sizeBytes > maxMb * MEGABYTE)
        throw refuse(
          "size",
          `The image ${ref} has ${megabytes(sizeBytes)} MB; at most ${maxMb} MB are allowed (BERTH_IMAGE_MAX_MB): make it smaller.`,
        );
    }
    if (maxAgeDays === undefined) return;
    const allowed = `at most ${maxAgeDays} days are allowed (BERTH_IMAGE_MAX_AGE_DAYS)`;
    if (createdOn === undefined) throw refuse("age", `When the image ${ref} was built is unknown; ${allowed}.`);
    if (clock.now() - createdOn <= maxAgeDays * DAY_MS) return;
    const days = Math.floor((clock.now() - createdOn) / DAY_MS);
    throw refuse(
      "age",
      `The image ${ref} was built ${days} days ago, on ${new Date(createdOn).toISOString().slice(0, 10)}; ${allowed}: build it again.`,
    );
  };

  const isRemembered = ({ digest }: Pick<Image, "digest">) => !signatures || (digest !== undefined && signed.has(digest));

  const requireSignature = async (ref: string, digest: string | undefined, image: RegistryImage | undefined, turn: CheckTurn) => {
    if (!signatures || isRemembered({ digest })) return;
    const { signers, setting } = signatures;
    const needed = `${setting} needs a signature of ${listed(signers)}`;
    if (!image)
      throw refuse(
        "signature",
        `No registry gave berth the digest of the image ${ref}; ${needed}: push it to a registry that berth reads, and sign it there.`,
      );
    // cosign connects to whatever address a name has, so an author must not choose it.
    if (!image.isConfigured && image.host !== HUB_NAME && !matches(ref, { withRegistry: true }))
      throw refuse(
        "signature",
        `Signatures of the image ${ref} are not read, because no pattern of BERTH_IMAGE_ALLOW names its registry ${image.host}; ${needed}.`,
      );
    if (await inTurn(ref, turn, (signal) => signatures.verify(image, signal))) return void signed.set(image.digest, true);
    const [who, how] = setting.startsWith("BERTH_IMAGE_KEYS") ? ["key", "cosign sign --key"] : ["identity", "cosign sign"];
    throw refuse("signature", `The image ${ref} is not signed by an accepted ${who}; ${needed}: sign it (${how}) and publish again.`);
  };

  /** A check that fails for other reasons than the image is a refusal too, and says so. */
  const closed = async <T>(ref: string, signal: AbortSignal, check: () => Promise<T>): Promise<T> => {
    try {
      return await check();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Fault) || error.code === "IMAGE_REFUSED") throw error;
      metrics.imageRefusals.at("unchecked").add();
      throw new Fault(error.code, `The image ${ref} is not used, because this server's rules for images could not be checked: ${error.message}`, {
        cause: error,
        retryAfterMs: error.retryAfterMs,
      });
    }
  };

  const hasMeasureRules = rules.maxMb !== undefined || rules.maxAgeDays !== undefined;
  const hasQuota = [rules.userImages, rules.userMb, rules.packageImages, rules.packageMb].some((limit) => limit !== undefined);
  const hasSizeQuota = rules.userMb !== undefined || rules.packageMb !== undefined;

  /** `sizes`: known ones, by reference. `ofPackage` and `ofAuthor`: the beginning of a sentence. */
  const requireQuota = async (
    { own, others, ofPackage, ofAuthor }: { own: CountedImages; others(): Promise<CountedImages>; ofPackage: string; ofAuthor: string },
    sizes: ReadonlyMap<string, Pick<ImageMeasures, "sizeBytes">>,
    turn: CheckTurn,
  ) => {
    const quotas = [
      { of: ofPackage, list: async () => own, most: rules.packageImages, mb: rules.packageMb, setting: "BERTH_IMAGE_PACKAGE_" },
      {
        of: ofAuthor,
        list: async () => [...own, ...(await others())],
        most: rules.userImages,
        mb: rules.userMb,
        setting: "BERTH_IMAGE_USER_",
      },
    ];
    for (const { of, list, most, mb, setting } of quotas) {
      if (most === undefined && mb === undefined) continue;
      // Several packages may run one image: it is in the registry once.
      const distinct = new Map((await list()).map((image) => [image.digest ?? image.ref, image]));
      if (most !== undefined && distinct.size > most)
        throw refuse("quota", `${of} ${distinct.size} images; ${most} are allowed (${setting}COUNT): remove some, or unpublish a package.`);
      if (mb === undefined) continue;
      let bytes = 0;
      for (const { ref, digest } of distinct.values()) {
        // One that cannot be read any more must not keep its author from publishing.
        const image = sizes.get(ref) ?? (await readOnce(ref, digest, turn).catch(() => turn.signal.throwIfAborted()));
        bytes += image?.sizeBytes ?? 0;
      }
      if (bytes > mb * MEGABYTE)
        throw refuse("quota", `${of} images of ${megabytes(bytes)} MB; ${mb} MB are allowed (${setting}MB): remove some, or make them smaller.`);
    }
  };

  const requireAll = async (published: CheckedPackage, signal: AbortSignal) => {
    const { images, author } = published;
    for (const { ref } of images) requireName(ref);
    const measuredImages = new Map<string, RegistryImage>();
    const needsRegistry = signatures || hasMeasureRules || hasSizeQuota;
    // An id, to which a rollback may return, is in no registry.
    const refs = needsRegistry ? [...new Set(images.map(({ ref }) => ref))].filter((ref) => !isImageId(ref)) : [];
    /** Registries that did not answer: their other images are left to `requireImage` at once. */
    const silent = new Set<string | undefined>();
    const turn = { slots: checks, author, signal };
    await Promise.all(
      refs.map(async (ref) => {
        const registry = registryOf(ref);
        const later = laterIfFault(signal, () => silent.add(registry));
        const image = await readOnce(ref, undefined, { ...turn, isNeeded: () => !silent.has(registry) }).catch(later);
        if (!image) return;
        measuredImages.set(ref, image);
        requireMeasures(ref, image);
        await requireSignature(ref, image.digest, image, turn).catch(later);
      }),
    );
    if (!hasQuota) return;
    const { name, others } = published;
    const own = [...new Set(images.map(({ ref }) => ref))].map((ref) => ({ ref, digest: measuredImages.get(ref)?.digest }));
    await requireQuota(
      { own, others, ofPackage: `The package ${name} has`, ofAuthor: `With the package ${name}, its author has` },
      measuredImages,
      turn,
    );
  };

  return {
    requireName,
    isRemembered,
    requireImage: async ({ ref, digest, author, measures = {} }, signal) => {
      requireName(ref);
      if (!signatures && !hasMeasureRules) return;
      const turn = { slots: checks, author, signal };
      await closed(ref, signal, async () => {
        const isLocal = digest === undefined;
        const image = isLocal
          ? undefined
          : await readOnce(ref, digest, turn).catch((error: unknown) => {
              // The engine's answer is enough where only that is needed.
              if (signatures || signal.aborted || !(error instanceof Fault)) throw error;
              return undefined;
            });
        requireMeasures(ref, image && isSamePlatform(image, measures) ? image : measures);
        await requireSignature(ref, digest, image, turn);
      });
    },
    requireStart: async ({ ref, digest, author }, signal) => {
      requireName(ref);
      if (isRemembered({ digest })) return;
      const turn = { slots: starts, author, signal };
      await closed(ref, signal, async () => {
        const image = digest === undefined ? undefined : await readOnce(ref, digest, turn);
        await requireSignature(ref, digest, image, turn);
      });
    },
    requirePackage: async (published, signal) => {
      const { name, images } = published;
      const overdue = () =>
        new Fault(
          "REGISTRY_UNREACHABLE",
          `The images of the package ${name} were not checked within ${PACKAGE_MS / 1_000} s, because registries answer slowly: publish again later, or name images of fewer registries.`,
        );
      // After a refusal the checks that still wait must not take their author's turns.
      const end = new AbortController();
      try {
        await withTimeout({ clock, ms: PACKAGE_MS, overdue, signal }, (own) => requireAll(published, AbortSignal.any([own, end.signal])));
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== "IMAGE_REFUSED") throw error;
        const at = images.find(({ ref }) => error.message.startsWith(`The image ${ref} `))?.at;
        throw new Fault("PACKAGE_REFUSED", `${at === undefined ? "" : `${at}: `}${error.message}`, { cause: error });
      } finally {
        end.abort(new Error("the check of the package has ended"));
      }
    },
    requirePush: async ({ ref, sizeBytes, author, packageName, ofPackage, ofOthers }, signal) => {
      if (!hasQuota) return;
      const overdue = () =>
        new Fault("REGISTRY_UNREACHABLE", `The quota of images was not checked within ${PACKAGE_MS / 1_000} s, because registries answer slowly.`);
      const quota = {
        own: [{ ref, digest: undefined }, ...ofPackage],
        others: async () => ofOthers,
        ofPackage: `With the image ${ref}, ${packageName === undefined ? "its package" : `the package ${packageName}`} has`,
        ofAuthor: `With the image ${ref}, its author has`,
      };
      await withTimeout({ clock, ms: PACKAGE_MS, overdue, signal }, (own) =>
        requireQuota(quota, new Map([[ref, { sizeBytes }]]), { slots: checks, author, signal: own }),
      ).catch((error: unknown) => {
        if (!(error instanceof Fault) || error.code !== "IMAGE_REFUSED") throw error;
        throw new Fault("PUSH_REFUSED", error.message, { cause: error });
      });
    },
  };
}

/** Of an image for several platforms, linux/amd64 is read in registries; a machine of another architecture runs another image of the same name. */
function isSamePlatform(image: ImageMeasures, ofEngine: ImageMeasures): boolean {
  return !image.platform || !ofEngine.platform || image.platform.image === ofEngine.platform.image;
}

/** Whose turn a check takes, and among which. `isNeeded`: called when the turn comes. */
type CheckTurn = { slots: FairSlots; author: string | undefined; signal: AbortSignal; isNeeded?: () => boolean };

/** A registry that does not answer now gets another request when the image is validated. */
function laterIfFault(signal: AbortSignal, isSilent: () => void) {
  return (error: unknown): undefined => {
    signal.throwIfAborted();
    if (!(error instanceof Fault) || REFUSALS.has(error.code)) throw error;
    if (error.code === "REGISTRY_UNREACHABLE") isSilent();
    return undefined;
  };
}

const REFUSALS: ReadonlySet<FaultCode> = new Set(["IMAGE_REFUSED"]);

/** The id of an image on one engine: it has no name that a pattern could allow. */
function isImageId(ref: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(ref);
}

/** Docker takes the first part for a registry where it has a dot or a colon, or is `localhost`. */
function registryOf(name: string): string | undefined {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  return first === "localhost" || /[.:]/.test(first) ? first : undefined;
}

/** `*` stands for characters of one part of a name, `**` for any. */
function expressionOf(pattern: string): RegExp {
  const pieces = pattern.split(/(\*+)/).map((part) => (part === "*" ? "[^/]*" : part.startsWith("*") ? ".*" : part.replace(/[.:[\]]/g, "\\$&")));
  return new RegExp(`^${pieces.join("")}$`);
}

function listed(names: readonly string[]): string {
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : "";
  const shown = names.slice(0, MOST_NAMED);
  return more === "" && shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown.join(", ") + more;
}

function megabytes(bytes: number): string {
  return bytes < 10 * MEGABYTE ? (bytes / MEGABYTE).toFixed(2) : String(Math.round(bytes / MEGABYTE));
}
