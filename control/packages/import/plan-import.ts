import { describeAddresses } from "../../lifecycle/addresses.ts";
import type { Store } from "../../store/open-store.ts";
import type { ImportedContainer, ImportedImage } from "./read-imported.ts";
import type { Address, Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";

/** `here`: its id is known already, and it is left as it is; `left`: it is not taken, for the reason that `why` says. */
export type Fate = "import" | "adopt" | "here" | "left";

export type PlannedImage = { image: ImportedImage; fate: Exclude<Fate, "adopt">; why: string };
export type PlannedContainer = { container: ImportedContainer; fate: Fate; why: string; adoptable: Adoptable | undefined };
export type Plan = { images: PlannedImage[]; containers: PlannedContainer[] };

/** Decides about each, from the current store. `adoptable`: for each container that runs there, its instance here, or why it cannot be adopted. */
export async function planImport(
  store: Store,
  images: readonly ImportedImage[],
  containers: readonly ImportedContainer[],
  adoptable: ReadonlyMap<string, Adoptable | string>,
): Promise<Plan> {
  const plannedImages: PlannedImage[] = [];
  for (const image of images) plannedImages.push({ image, ...(await fateOfImage(store, image)) });
  const usable = new Set(plannedImages.filter(({ fate }) => fate !== "left").map(({ image }) => image.id));
  const names = new Set<string>();
  const services = new Set<string>();
  // The end of an adopted and removed instance is still to come: it would be taken for this one's.
  const isFree = async (service = "") =>
    !services.has(service) && (await store.containers.byService(service)) === undefined && (await store.tombstones.adopted(service)) === undefined;
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
  const plannedContainers: PlannedContainer[] = [];
  // One after the other: what one takes, the next cannot have.
  for (const container of containers) plannedContainers.push(await planContainer(container));
  return { images: plannedImages, containers: plannedContainers };
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
