import { isPackageName, nameKey } from "../../model/names.ts";
import type { SealedCredential } from "../../model/records.ts";
import type { Store } from "../../store/open-store.ts";
import { VARIABLE } from "./open-credentials.ts";
import { findTemplates } from "./references.ts";

/** What credentials can be set for, with the names of those that are set and the containers that receive them. Never a value. */
export type CredentialTarget = {
  /** As `Credentials.find` reads it: `chem` or `chem.Chembl`. */
  name: string;
  /** The name of the connection; undefined: the package itself. */
  connection: string | undefined;
  credentials: Pick<SealedCredential, "name" | "origin" | "updatedOn">[];
  containers: { id: string; name: string }[];
};

export type PackageTargets = { package: string; authorId: string; targets: CredentialTarget[] };

/** `text`: a part of the package's name. `isSet`: only packages with credentials. */
export type TargetFilter = { text?: string | undefined; isSet?: boolean | undefined };

/** The targets of some packages, in the order of their names, and how many packages match. */
export async function listTargets(
  store: Pick<Store, "packages" | "connections" | "credentials" | "containers">,
  { text = "", isSet = false }: TargetFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<{ total: number; rows: PackageTargets[] }> {
  const word = text.trim().toLowerCase();
  const withCredentials = isSet ? new Set(await store.credentials.packageIds()) : undefined;
  const packages = (await store.packages.all()).filter(
    ({ id, name }) => name.toLowerCase().includes(word) && (withCredentials === undefined || withCredentials.has(id)),
  );
  const rows: PackageTargets[] = [];
  for (const owner of packages.slice(offset, offset + limit)) rows.push(await targetsOf(store, owner));
  return { total: packages.length, rows };
}

async function targetsOf(
  store: Pick<Store, "connections" | "credentials" | "containers">,
  owner: { id: string; name: string; authorId: string },
): Promise<PackageTargets> {
  const credentials = await store.credentials.byPackage(owner.id);
  const connections = (await store.connections.byPackage(owner.id)).map(({ key, name }) => ({ key, name }));
  // A connection that the package no longer has may still have credentials.
  for (const { entity } of credentials) {
    if (entity !== "" && !connections.some(({ key }) => key === entity)) connections.push({ key: entity, name: entity });
  }
  const containers = (await store.containers.environments(owner.id)).map(({ id, name, env }) => {
    const templates = Object.values(env).flatMap(findTemplates);
    const own = templates.filter(({ package: named }) => named === undefined || isPackageName(owner.name, named));
    return { id, name, entities: new Set(own.map(({ entity }) => nameKey(entity))) };
  });
  const targetOf = (entity: string, connection: string | undefined): CredentialTarget => {
    const set = credentials.filter((one) => one.entity === entity);
    const receive =
      entity === "" ? (set.some(({ name }) => VARIABLE.test(name)) ? containers : []) : containers.filter((one) => one.entities.has(entity));
    return {
      name: connection === undefined ? owner.name : `${owner.name}.${connection}`,
      connection,
      credentials: set.map(({ name, origin, updatedOn }) => ({ name, origin, updatedOn })),
      containers: receive.map(({ id, name }) => ({ id, name })),
    };
  };
  return {
    package: owner.name,
    authorId: owner.authorId,
    targets: [targetOf("", undefined), ...connections.map(({ key, name }) => targetOf(key, name))],
  };
}
