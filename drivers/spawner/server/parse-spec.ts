import { hash } from "node:crypto";
import type { Host, Labels, ResolvedImage, Spec } from "../../driver.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Wanted } from "./deploys.ts";
import type { Body } from "./parse-request.ts";
import { foreignName, readServiceName } from "./service-name.ts";

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
