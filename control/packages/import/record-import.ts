import { randomUUID } from "node:crypto";
import { claimImage, imageOfRef } from "../../identity/rights.ts";
import { ownedAddresses } from "../../lifecycle/addresses.ts";
import { newContainer } from "../publish/new-container.ts";
import { followerFolder, importedPackageName } from "../publish/record-package.ts";
import type { Container, User } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import type { Plan, PlannedContainer, PlannedImage } from "./plan-import.ts";

type ImportDeps = { store: Store; environment: string; now: number; importer: Pick<User, "id" | "login"> };

/** Writes the plan, with the ids of the other server; call it in a transaction. */
export async function recordImport(deps: ImportDeps, { images, containers }: Plan): Promise<void> {
  for (const { image, fate } of images) if (fate === "import") await recordImage(deps, image);
  for (const planned of containers) if (planned.fate === "import" || planned.fate === "adopt") await recordContainer(deps, planned);
}

/** Its owner here: the user with the author's login, else the importer. */
export async function ownerOf(
  { store, importer }: Pick<ImportDeps, "store" | "importer">,
  author: string | undefined,
): Promise<Pick<User, "id" | "login">> {
  return (author === undefined ? undefined : await store.users.byLogin(author)) ?? importer;
}

async function recordImage(deps: ImportDeps, { author, status: _status, ...image }: PlannedImage["image"]): Promise<void> {
  const { store, now } = deps;
  const packageId = await packageOf(deps, author);
  for (const name of [image.name, imageOfRef(image.ref)]) if (name !== undefined) await claimImage(store, name, { packageId }, now);
  await store.images.insert({
    ...image,
    packageId,
    // No folder of a package has such a name: each stays apart until its package is published.
    folder: image.id,
    files: "",
    state: "PENDING_VALIDATION",
    since: now,
    fault: undefined,
    resolvedId: undefined,
    digest: undefined,
    exposed: [],
    command: [],
    healthcheck: undefined,
    contentHash: undefined,
    warnings: [],
    logs: "",
    createdOn: now,
    updatedOn: now,
  });
}

async function recordContainer(deps: ImportDeps, { container, adoptable }: PlannedContainer): Promise<void> {
  const { store, environment, now, importer } = deps;
  const { id, name, friendlyName, imageId, config, env, status, service } = container;
  const image = await store.images.find(imageId);
  if (image === undefined) return;
  const isFirst = (await store.containers.byImage(imageId)).every(({ folder }) => folder !== image.folder);
  const rest: Partial<Container> = status.startsWith("stopped by system") ? { state: "SYSTEM_STOPPED", stopFor: "system" } : {};
  const port = config.port ?? adoptable?.port;
  const addresses = ownedAddresses(adoptable?.addresses ?? [], adoptable?.instance);
  // An address that another container has is verified first, with the orchestrator.
  const isShared = (await store.containers.atAddresses(addresses)).length > 0;
  await store.containers.insert({
    ...newContainer(environment, id, name, config, now),
    ...rest,
    ...(adoptable === undefined
      ? {}
      : {
          service: service ?? "",
          state: isShared ? ("CHECKING" as const) : ("STARTED" as const),
          desiredInstances: 1 as const,
          requestedBy: importer.id,
          requestedOn: now,
          runningGeneration: 1,
          deployed: { ref: image.ref },
          addresses: isShared ? [] : addresses,
          adopted: { instance: adoptable.instance, generation: 1, port: adoptable.port },
          // Used until now, for all that is known.
          lastActive: now,
        }),
    packageId: image.packageId,
    imageId,
    folder: isFirst ? image.folder : followerFolder(image, id),
    name,
    friendlyName,
    config: port === undefined ? config : { ...config, port },
    env,
    updatedOn: now,
  });
}

async function packageOf(deps: ImportDeps, author: string | undefined): Promise<string> {
  const { store, now } = deps;
  const { id: authorId, login } = await ownerOf(deps, author);
  const name = importedPackageName(login);
  return (
    (await store.packages.byName(name)) ??
    (await store.packages.insert({ id: randomUUID(), name, version: "0.0.0", authorId, createdOn: now, updatedOn: now }))
  ).id;
}
