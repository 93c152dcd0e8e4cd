import { hash } from "node:crypto";
import type { Host, Labels, ResolvedImage, Spec } from "../../driver.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Wanted } from "./deploys.ts";
import type { Body } from "./parse-request.ts";
import { isServiceName } from "../../labels.ts";
import { trimTrailing } from "../../../lib/trim-trailing.ts";

/** What a body leaves out, as in `container.json`. */
const DEFAULTS = { env: {}, cpu: 0.25, memoryMb: 512, shmMb: 64, storageGb: 21, gpu: 0, graceMs: 3_000 };

/** A deploy that is wished, before its image is looked at. */
export type DeployRequest = Wanted & {
  /** What a foreign server calls the image is still to be resolved: berth's own control has done so. */
  unresolved: boolean;
  image: string;
  folder: string | undefined;
  /** The whole of it, once the image is known; the image's own port fills the gap that a foreign body leaves. */
  spec(image: Pick<ResolvedImage, "id" | "exposed">): Spec;
};

/**
 * With `labels` a body is berth's own: the spec as it stands, whose generation is what is new about it. Without, it is a foreign server's:
 * named and labelled here, and new where anything in it, or its host, is. Faults: REQUEST_INVALID.
 */
export function parseSpec({ host, service }: { host: Host; service: string }, body: Body, environment: string): DeployRequest {
  const { image, labels, port, folder, ...given } = body;
  if (image === undefined) throw new Fault("REQUEST_INVALID", "The body's image is missing.");
  const sizes = { ...DEFAULTS, ...given };
  if (labels !== undefined) {
    const name = readServiceName(service);
    return {
      service: name,
      owner: ownerOf(labels),
      identity: `generation ${labels.generation}`,
      generation: labels.generation,
      unresolved: false,
      image,
      folder,
      spec: ({ id }) => ({ ...sizes, service: name, host, labels, image: id, folder, port }),
    };
  }
  const name = foreignName(environment, service);
  const foreign = foreignLabels(environment, name);
  return {
    service: name,
    owner: ownerOf({ ...foreign, generation: 0 }),
    identity: digest({ ...sizes, host, image, folder, port }),
    generation: undefined,
    unresolved: true,
    image,
    folder,
    spec: ({ id, exposed }) => {
      const spec = { ...sizes, service: name, host, image: id, folder, port: port ?? exposed[0] };
      // A driver replaces what has another generation, whichever is the larger.
      return { ...spec, labels: { ...foreign, generation: Number.parseInt(digest(spec).slice(0, 12), 16) } };
    },
  };
}

/** What a service that a foreign server named bears. */
export function foreignLabels(environment: string, name: string): Omit<Labels, "generation"> {
  return { store: `spawner-${environment}`, environment, container: name };
}

function ownerOf({ store, container }: Labels): string {
  return `${store} ${container}`;
}

/** Of what is said, in whatever order. */
function digest(value: object): string {
  return hash("sha256", JSON.stringify(sorted(value)));
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, of]) => [name, sorted(of)]),
  );
}

const LONGEST_LABEL = 63;
const HASH_LENGTH = 8;

/** A service's name at the orchestrator, as berth's own control gives it. Faults: REQUEST_INVALID. */
export function readServiceName(name: string): string {
  if (isServiceName(name)) return name;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} is not a DNS label, which a service's name must be.`);
}

/**
 * The name of a service that a foreign server names: the environment in front, as with everything that a spawner makes. What is no DNS label
 * then is made one, with a hash of its own name at the end so that two stay apart. The same name always becomes the same.
 */
export function foreignName(environment: string, name: string): string {
  const prefix = `${slug(environment).replace(/^\d[-\d]*/, "") || "berth"}-`;
  const whole = name.startsWith(prefix) ? name : prefix + name;
  if (isServiceName(whole)) return whole;
  const room = LONGEST_LABEL - HASH_LENGTH - 1;
  return `${trimTrailing(slug(whole).slice(0, room), "-")}-${hash("sha256", name).slice(0, HASH_LENGTH)}`;
}

function slug(text: string): string {
  const parts = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "");
  return trimTrailing(parts, "-");
}
