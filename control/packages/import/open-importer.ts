import type { Clock } from "../../../lib/clock.ts";
import type { Driver } from "../../../drivers/driver.ts";
import type { Told } from "../publish/told.ts";
import type { User } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { type Adoptable, findAdoptable, type Plan, planImport, runsThere } from "./plan-import.ts";
import { type ImportedContainer, type ImportedImage, readContainer, readImage } from "./read-imported.ts";
import { recordImport } from "./record-import.ts";

export type Import = {
  /** As another server's REST tells them. */
  images: readonly unknown[];
  containers: readonly unknown[];
  /** Take over what runs, as it is. */
  adopt: boolean;
  /** Only say what would be done. */
  dryRun: boolean;
};

/** Asked about at a time: each takes a call of the engine, and up to 3 s where nobody answers. */
const AT_ONCE = 32;

export type Importer = {
  /**
   * Takes images and containers of another server into the store: all that the answer says, or nothing. What is there already is left. Faults:
   * REQUEST_INVALID for what cannot be read, ENGINE_UNREACHABLE, ENGINE_FAILED, and the store's.
   */
  take(asked: Import, importer: Pick<User, "id" | "login">, signal: AbortSignal): Promise<Plan>;
};

export function openImporter(parts: { store: Store; driver: Driver; lifecycle: Told; environment: string; clock: Clock }): Importer {
  const { store, lifecycle, environment, clock } = parts;
  return {
    take: async (asked, importer, signal) => {
      const { images, containers } = readAll(asked);
      const found = await adoptables(parts, asked, containers, signal);
      const now = clock.now();
      // In one transaction: what is planned is what is written.
      const plan = await store.transaction(async () => {
        const planned = await planImport(store, images, containers, found);
        if (!asked.dryRun) await recordImport({ store, environment, now, importer }, planned);
        return planned;
      });
      if (asked.dryRun) return plan;
      for (const { image, fate } of plan.images) if (fate === "import") await lifecycle.requestValidation(image.id, importer.id, now);
      for (const { container, fate } of plan.containers)
        if (fate === "import" || fate === "adopt") await lifecycle.definitionChanged(container.id, importer.id);
      return plan;
    },
  };
}

/** Each once; an image that only its container tells of is one too. */
function readAll({ images, containers }: Import): { images: ImportedImage[]; containers: ImportedContainer[] } {
  const readContainers = containers.map(readContainer);
  const all = [...readContainers.flatMap(({ image }) => image ?? []), ...images.map(readImage)];
  const byId = <T extends { id: string }>(those: readonly T[]) => [...new Map(those.map((one) => [one.id, one])).values()];
  return { images: byId(all), containers: byId(readContainers) };
}

async function adoptables(
  parts: { store: Store; driver: Driver; clock: Clock },
  { adopt }: Import,
  containers: readonly ImportedContainer[],
  signal: AbortSignal,
): Promise<Map<string, Adoptable | string>> {
  const here = new Set((await parts.store.containers.stateOfEach()).map(({ id }) => id));
  const running = containers.filter((one) => runsThere(one) && !here.has(one.id));
  const found = new Map<string, Adoptable | string>();
  if (!adopt) return new Map(running.map(({ id }) => [id, "it runs there, and goes on running there"]));
  for (let at = 0; at < running.length; at += AT_ONCE) {
    const some = running.slice(at, at + AT_ONCE);
    const answers = await Promise.all(some.map((one) => findAdoptable(parts, one, signal)));
    for (const [index, { id }] of some.entries()) found.set(id, answers[index] as Adoptable | string);
  }
  return found;
}
