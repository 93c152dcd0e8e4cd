import type { Address, Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { describeAddresses } from "../../lifecycle/addresses.ts";
import type { ContainerConfig, Image } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { readContainerKeys } from "../publish/container-json.ts";
import { MASK } from "../publish/save-container.ts";

/** `here`: its id is known already, and it is left as it is; `left`: it is not taken, for the reason that `why` says. */
export type Fate = "import" | "adopt" | "here" | "left";

export type PlannedImage = { image: ImportedImage; fate: Exclude<Fate, "adopt">; why: string };
export type PlannedContainer = { container: ImportedContainer; fate: Fate; why: string; adoptable: Adoptable | undefined };
export type Plan = { images: PlannedImage[]; containers: PlannedContainer[] };

/** Decides about one after the other, from the current store: what one takes, the next cannot have. All images come before the first container. */
export type ImportPlanner = {
  image(image: ImportedImage): Promise<PlannedImage>;
  container(container: ImportedContainer): Promise<PlannedContainer>;
};

/** `adoptable`: for each container that runs there, its instance here, or why it cannot be adopted. */
export function createImportPlanner(store: Store, adoptable: ReadonlyMap<string, Adoptable | string>): ImportPlanner {
  const usable = new Set<string>();
  const names = new Set<string>();
  const services = new Set<string>();
  // The end of an adopted and removed instance is still to come: it would be taken for this one's.
  const isFree = async (service = "") =>
    !services.has(service) && (await store.containers.byService(service)) === undefined && (await store.tombstones.adopted(service)) === undefined;
  const planImage = async (image: ImportedImage): Promise<PlannedImage> => {
    const { fate, why } = await fateOfImage(store, image);
    if (fate !== "left") usable.add(image.id);
    return { image, fate, why };
  };
  const planContainer = async (container: ImportedContainer): Promise<PlannedContainer> => {
    const { fate, why } = await fateOf(store, container, usable, names);
    names.add(container.name.toLowerCase());
    if (fate !== "import") return { container, fate, why, adoptable: undefined };
    const running = adoptable.get(container.id);
    const warnings = container.warnings.join(" ");
    if (typeof running === "object" && (await isFree(container.service))) {
      services.add(container.service ?? "");
      return { container, fate: "adopt", why: `runs as ${container.service}. ${warnings}`.trim(), adoptable: running };
    }
    const note = typeof running === "object" ? `${container.service} is another container's service here` : (running ?? "");
    return { container, fate, why: [note, warnings].filter(Boolean).join(". "), adoptable: undefined };
  };
  return { image: planImage, container: planContainer };
}

/** Whether it runs, by the status of that server. */
export function runsThere({ status }: Pick<ImportedContainer, "status">): boolean {
  return status.startsWith("started") || status.startsWith("checking");
}

async function fateOfImage(store: Store, { id, status }: ImportedImage): Promise<Pick<PlannedImage, "fate" | "why">> {
  if (await store.images.find(id)) return { fate: "here", why: "" };
  return status === "deleted" ? { fate: "left", why: "it was deleted there" } : { fate: "import", why: "" };
}

async function fateOf(
  store: Store,
  { id, name, imageId }: ImportedContainer,
  usable: ReadonlySet<string>,
  names: ReadonlySet<string>,
): Promise<Pick<PlannedContainer, "why"> & { fate: Exclude<Fate, "adopt"> }> {
  if (await store.containers.find(id)) return { fate: "here", why: "" };
  if (await store.tombstones.find(id)) return { fate: "left", why: "it was removed here" };
  if (!usable.has(imageId)) return { fate: "left", why: "its image is not there" };
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  // Plugins find containers by name.
  if (names.has(name.toLowerCase()) || (await store.containers.ids({ where })).length > 0)
    return { fate: "left", why: `another container is named ${name}` };
  return { fate: "import", why: "" };
}

/** An instance that runs and can be taken over as it is. */
export type Adoptable = { instance: string; addresses: Address[]; port: number | undefined };

/** How long a container that should be running may take to accept a connection. */
const REACH_MS = 3_000;

/** What runs at the orchestrator under a container's service name; else why it cannot be taken over. */
export async function findAdoptable(
  { driver, clock }: { driver: Driver; clock: Clock },
  { service, config: { port }, name }: ImportedContainer,
  signal: AbortSignal,
): Promise<Adoptable | string> {
  const call = { signal };
  const foreign = await driver.foreign?.(call);
  if (foreign === undefined) return `it cannot be taken over with the driver ${driver.name}`;
  if (service === undefined) return "that server tells no service's name of it";
  const instance = await foreign.find(service, port, call);
  if (instance === undefined) return `nothing is named ${service} at this orchestrator`;
  if (instance.labels !== undefined) return `${service} was made by a berth (store ${instance.labels.store}), which may go on managing it`;
  if (!instance.running) return `${service} does not run`;
  const { instance: id, addresses } = instance;
  const [first] = addresses;
  if (first === undefined) {
    if (port === undefined) return { instance: id, addresses, port };
    return `${service} has no address at which berth can reach its port ${port}`;
  }
  const overdue = () => new Fault("CONTAINER_NOT_READY", `${name} accepted no connection at ${describeAddresses(addresses)}`);
  try {
    await withTimeout({ clock, ms: REACH_MS, overdue, signal }, (limited) =>
      Promise.all(addresses.map((address) => foreign.reached(address, { signal: limited }))),
    );
    return { instance: id, addresses, port: port ?? first.port };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Fault && error.code === "CONTAINER_NOT_READY") return `${service} accepts no connection at ${describeAddresses(addresses)}`;
    throw error;
  }
}

/** An image of another server, in the terms of this one. */
export type ImportedImage = Pick<
  Image,
  "id" | "name" | "friendlyName" | "description" | "version" | "ref" | "dockerfile" | "dockerfilePath" | "mutable"
> & {
  status: string;
  /** The login of its author there; undefined: unknown. */
  author: string | undefined;
};

export type ImportedContainer = {
  id: string;
  imageId: string;
  name: string;
  friendlyName: string;
  /** Its name at the orchestrator, where it has one. */
  service: string | undefined;
  status: string;
  config: ContainerConfig;
  env: Record<string, string>;
  author: string | undefined;
  warnings: string[];
};

type Fields = Record<string, unknown>;
type Kind = "image" | "container";

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** A name at another server; it appears in lists, log lines and tables. */
// oxlint-disable-next-line no-control-regex
const NAME = /^[^\u0000-\u001f\u007f]{1,200}$/;
const REFERENCE = /^[\w][\w./:@-]{0,511}$/;
const SERVICE = /^[A-Za-z0-9][\w.-]{0,254}$/;
/** Settings that servers have outside of `config`, or under other names. */
const OWN_KEYS = ["cpu", "memory", "gpu", "on_demand", "shutdown_timeout", "shm_size", "storage", "onDemand", "shutdownTimeout"];
const OTHER_NAMES: Readonly<Record<string, string>> = { onDemand: "on_demand", shutdownTimeout: "shutdown_timeout" };

/** Reads an entry of `GET /docker/images`. Faults: REQUEST_INVALID, which names the entity and the field. */
export function readImage(entity: unknown): ImportedImage {
  const { fields, text, optionalText } = fieldsOf("image", entity);
  const name = text("name", NAME, "a name");
  const version = optionalText("version") ?? "";
  const ref = optionalText("imageRef", REFERENCE, "an image reference") ?? (version === "" ? `datagrok/${name}` : `datagrok/${name}:${version}`);
  return {
    id: text("id", UUID, "a UUID").toLowerCase(),
    name,
    friendlyName: optionalText("friendlyName") || name,
    description: optionalText("description") ?? "",
    version,
    ref,
    // A tag that names a version does not move; a developer's tag does.
    mutable: !ref.includes("@sha256:") && !/:v?\d+\.\d[^/:]*$/.test(ref),
    dockerfile: optionalText("dockerfile") ?? "",
    dockerfilePath: optionalText("dockerfilePath") ?? "",
    status: (optionalText("status") ?? "").toLowerCase(),
    author: authorOf(fields),
  };
}

/** Reads an entry of `GET /docker/containers`. Faults: REQUEST_INVALID, which names the entity and the field. */
export function readContainer(entity: unknown): ImportedContainer & { image: ImportedImage | undefined } {
  const { fields, text, optionalText, wrong } = fieldsOf("container", entity);
  const id = text("id", UUID, "a UUID").toLowerCase();
  const name = text("name", NAME, "a name");
  const { image, imageId } = imageOf(fields, wrong);
  const port = fields["port"] ?? undefined;
  const own = Object.fromEntries(OWN_KEYS.map((key) => [key, fields[key]]));
  const config = { ...(port === undefined ? {} : { port }), ...settingsIn(own), ...settingsIn(fields["config"]) };
  try {
    if (isRecord(fields["environmentVars"]) && Object.values(fields["environmentVars"]).includes(MASK))
      throw wrong("environmentVars are masked; the key has to be of a user who may see them");
    const read = readContainerKeys({ ...config, environmentVars: fields["environmentVars"] ?? {} }, "config");
    return {
      id,
      imageId,
      image,
      name,
      friendlyName: optionalText("friendlyName") || name,
      service: optionalText("serviceName", SERVICE, "a service's name"),
      status: text("status").toLowerCase(),
      config: read.config,
      env: read.env,
      author: authorOf(fields),
      warnings: read.warnings,
    };
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "PACKAGE_INVALID") throw error;
    throw wrong(error.message);
  }
}

/** The whole entity, or its id alone. */
function imageOf(fields: Fields, wrong: (sentence: string) => Fault): { image: ImportedImage | undefined; imageId: string } {
  const image = fields["dockerfile"];
  const imageId = isRecord(image) ? image["id"] : image;
  if (typeof imageId !== "string" || !UUID.test(imageId)) throw wrong("dockerfile names no image by its id");
  return { image: isRecord(image) && "name" in image ? readImage(image) : undefined, imageId: imageId.toLowerCase() };
}

function fieldsOf(kind: Kind, entity: unknown) {
  if (!isRecord(entity)) throw new Fault("REQUEST_INVALID", `The server sent a ${kind} that is no object: ${JSON.stringify(entity)?.slice(0, 100)}.`);
  const called = [entity["name"], entity["id"]].filter((one): one is string => typeof one === "string").map((one) => one.slice(0, 200));
  const wrong = (sentence: string) =>
    new Fault("REQUEST_INVALID", `The server's ${kind} ${called.join(", ") || "without a name and an id"}: ${sentence.replace(/\.$/, "")}.`);
  const optionalText = (field: string, pattern = /^/, allowed = "a text"): string | undefined => {
    const value = entity[field];
    if (value === undefined || value === null || value === "") return undefined;
    if (typeof value !== "string" || !pattern.test(value)) throw wrong(`${field} is ${JSON.stringify(value).slice(0, 100)}; ${allowed} is needed`);
    return value;
  };
  const text = (field: string, pattern?: RegExp, allowed?: string): string => {
    const value = optionalText(field, pattern, allowed);
    if (value === undefined) throw wrong(`${field} is missing`);
    return value;
  };
  return { fields: entity, wrong, text, optionalText };
}

function authorOf(fields: Fields): string | undefined {
  const logins = [fields["author"], fields["createdBy"]].map((one) => (isRecord(one) ? one["login"] : one));
  return logins.find((login): login is string => typeof login === "string" && login !== "");
}

function settingsIn(value: unknown): Fields {
  const set = Object.entries(isRecord(value) ? value : {}).filter(([, of]) => of !== null && of !== undefined);
  return Object.fromEntries(set.map(([key, of]) => [OTHER_NAMES[key] ?? key, of]));
}

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
