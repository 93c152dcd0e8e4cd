import type { Clock } from "../../../lib/clock.ts";
import type { Driver } from "../../../drivers/driver.ts";
import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";
import type { User } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { type Adoptable, findAdoptable, type Plan, planImport, runsThere } from "./plan-import.ts";
import { type ImportedContainer, type ImportedImage, readContainer, readImage } from "./read-imported.ts";
import { recordImport } from "./record-import.ts";

export type Import = {
  /** As the REST API of the other server returns them. */
  images: readonly unknown[];
  containers: readonly unknown[];
  /** Take over what runs, as it is. */
  adopt: boolean;
  /** Only return the plan. */
  dryRun: boolean;
};

/** Containers that are checked at a time. Each takes a call of the engine, and up to 3 s if it does not answer. */
const AT_ONCE = 32;

export type Importer = {
  /**
   * Takes images and containers of another server into the store: all that it returns, or nothing. Existing ones stay as they are. Faults:
   * REQUEST_INVALID for what cannot be read, ENGINE_UNREACHABLE, ENGINE_FAILED, and the store's.
   */
  take(request: Import, importer: Pick<User, "id" | "login">, signal: AbortSignal): Promise<Plan>;
};

export function openImporter(parts: {
  store: Store;
  driver: Driver;
  lifecycle: Pick<Lifecycle, "requestValidation" | "definitionChanged">;
  environment: string;
  clock: Clock;
}): Importer {
  const { store, lifecycle, environment, clock } = parts;
  return {
    take: async (request, importer, signal) => {
      const { images, containers } = readAll(request);
      const adoptable = await findAdoptables(parts, request, containers, signal);
      const now = clock.now();
      // In one transaction: what is planned is what is written.
      const plan = await store.transaction(async () => {
        const planned = await planImport(store, images, containers, adoptable);
        if (!request.dryRun) await recordImport({ store, environment, now, importer }, planned);
        return planned;
      });
      if (request.dryRun) return plan;
      for (const { image, fate } of plan.images) if (fate === "import") await lifecycle.requestValidation(image.id, importer.id, now);
      for (const { container, fate } of plan.containers)
        if (fate === "import" || fate === "adopt") await lifecycle.definitionChanged(container.id, importer.id);
      return plan;
    },
  };
}

/** Each once. A container may contain its image. */
function readAll({ images, containers }: Import): { images: ImportedImage[]; containers: ImportedContainer[] } {
  const readContainers = containers.map(readContainer);
  const all = [...readContainers.flatMap(({ image }) => image ?? []), ...images.map(readImage)];
  const byId = <T extends { id: string }>(those: readonly T[]) => [...new Map(those.map((one) => [one.id, one])).values()];
  return { images: byId(all), containers: byId(readContainers) };
}

async function findAdoptables(
  parts: { store: Store; driver: Driver; clock: Clock },
  { adopt }: Import,
  containers: readonly ImportedContainer[],
  signal: AbortSignal,
): Promise<Map<string, Adoptable | string>> {
  const here = new Set((await parts.store.containers.stateOfEach()).map(({ id }) => id));
  const running = containers.filter((one) => runsThere(one) && !here.has(one.id));
  const results = new Map<string, Adoptable | string>();
  if (!adopt) return new Map(running.map(({ id }) => [id, "it runs there, and goes on running there"]));
  for (let at = 0; at < running.length; at += AT_ONCE) {
    const some = running.slice(at, at + AT_ONCE);
    const answers = await Promise.all(some.map((one) => findAdoptable(parts, one, signal)));
    for (const [index, { id }] of some.entries()) results.set(id, answers[index] as Adoptable | string);
  }
  return results;
}
