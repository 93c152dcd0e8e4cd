import { Fault } from "../../fault.ts";
import type { Package } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { isPackageName, nameKey } from "./names.ts";

/** What credentials belong to: a package, or one of its connections. */
export type Target = {
  package: Package;
  /** The connection's key; empty for the package itself. */
  entity: string;
  /** For people: `chem` or `chem.Chembl`. */
  name: string;
};

/**
 * Reads `package` or `package.entity`. Both may hold dots, and a package may have a scope, so the longest beginning that is a package counts.
 * `permit` refuses whoever may not look into the package, before anything is told of it.
 * Faults: those of `permit`, PACKAGE_NOT_FOUND, ENTITY_NOT_FOUND; REQUEST_INVALID where several packages are meant.
 */
export function findTarget(store: Store, text: string, permit: (owner: Package) => void): Target {
  const packages = store.packages.all();
  for (let end = text.length; end > 0; end = text.lastIndexOf(".", end - 1)) {
    const found = findPackage(packages, text.slice(0, end));
    if (!found) continue;
    permit(found);
    const said = text.slice(end + 1);
    return said === "" ? { package: found, entity: "", name: found.name } : findEntity(store, found, said);
  }
  throw new Fault("PACKAGE_NOT_FOUND", `There is no package of the name ${JSON.stringify(text.slice(0, 200))} here.`);
}

function findPackage(packages: readonly Package[], said: string): Package | undefined {
  const exact = packages.find(({ name }) => name === said);
  if (exact) return exact;
  const [first, ...others] = packages.filter(({ name }) => isPackageName(name, said));
  if (others.length === 0) return first;
  const names = [first, ...others].map((one) => one?.name).join(", ");
  throw new Fault("REQUEST_INVALID", `${said} may be any of the packages ${names}: use the whole name.`);
}

function findEntity(store: Store, owner: Package, said: string): Target {
  const key = nameKey(said);
  const known = key === "" ? undefined : store.connections.find(owner.id, key);
  if (known) return { package: owner, entity: key, name: `${owner.name}.${known.name}` };
  // One that its package no longer has may still have credentials, which somebody may want to see and remove.
  if (key !== "" && store.credentials.of(owner.id, key).length > 0) return { package: owner, entity: key, name: `${owner.name}.${said}` };
  const names = store.connections.byPackage(owner.id).map(({ name }) => name);
  const there = names.length === 0 ? "it has no connections" : `it has ${names.join(", ")}`;
  throw new Fault("ENTITY_NOT_FOUND", `The package ${owner.name} has no connection ${JSON.stringify(said.slice(0, 200))}: ${there}.`);
}
