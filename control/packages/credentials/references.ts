import { Fault } from "../../../lib/fault.ts";
import { mayManageAuthor } from "../../identity/rights.ts";
import type { Package } from "../../model/entities.ts";
import { isPackageName, nameKey, unscoped } from "../../model/names.ts";
import type { Store } from "../../store/open-store.ts";
import type { PublishedConnection } from "../publish/connections.ts";

/** What credentials belong to: a package, or one of its connections. */
export type Target = {
  package: Package;
  /** The connection's key; empty for the package itself. */
  entity: string;
  /** For messages: `chem` or `chem.Chembl`. */
  name: string;
};

/**
 * Reads `package` or `package.entity`; the package is named whole, with its scope: another author may publish a package whose name is a part of it. Both may hold
 * dots, so a text may mean several packages; one of those that `permit` does not refuse is meant.
 * Faults: those of `permit`, before the response depends on the package; PACKAGE_NOT_FOUND, ENTITY_NOT_FOUND; REQUEST_INVALID where several packages are meant.
 */
export async function findTarget(store: Store, text: string, permit: (owner: Package) => Promise<void>): Promise<Target> {
  const packages = await store.packages.all();
  const matches: { owner: Package; entity: string; refusal: unknown }[] = [];
  for (let end = text.length; end > 0; end = text.lastIndexOf(".", end - 1)) {
    const owner = findPackage(packages, text.slice(0, end));
    if (owner) matches.push({ owner, entity: text.slice(end + 1), refusal: await refusalOf(permit(owner)) });
  }
  const permitted = matches.filter(({ refusal }) => refusal === undefined);
  const [meant, ...others] = permitted;
  if (!meant) {
    if (matches[0]) throw matches[0].refusal;
    throw new Fault(
      "PACKAGE_NOT_FOUND",
      `There is no package of the name ${JSON.stringify(text.slice(0, 200))} here. Use its whole name, with its scope.`,
    );
  }
  if (others.some(({ owner }) => owner.authorId !== meant.owner.authorId)) {
    const names = permitted.map(({ owner }) => owner.name).join(" and ");
    throw new Fault("REQUEST_INVALID", `${JSON.stringify(text.slice(0, 200))} may be of any of the packages ${names}, which have different authors.`);
  }
  return meant.entity === "" ? { package: meant.owner, entity: "", name: meant.owner.name } : findEntity(store, meant.owner, meant.entity);
}

async function refusalOf(work: Promise<void>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}

/** In whatever case; where several names differ in that alone, as it is written. */
function findPackage(packages: readonly Package[], name: string): Package | undefined {
  const alike = packages.filter((one) => one.name.toLowerCase() === name.toLowerCase());
  return alike.find((one) => one.name === name) ?? (alike.length === 1 ? alike[0] : undefined);
}

async function findEntity(store: Store, owner: Package, name: string): Promise<Target> {
  const key = nameKey(name);
  const connection = key === "" ? undefined : await store.connections.find(owner.id, key);
  if (connection) return { package: owner, entity: key, name: `${owner.name}.${connection.name}` };
  // A connection that its package no longer has may still have credentials, which its author can list and remove.
  if (key !== "" && (await store.credentials.of(owner.id, key)).length > 0) return { package: owner, entity: key, name: `${owner.name}.${name}` };
  const names = (await store.connections.byPackage(owner.id)).map(({ name }) => name);
  const there = names.length === 0 ? "it has no connections" : `it has ${names.join(", ")}`;
  throw new Fault("ENTITY_NOT_FOUND", `The package ${owner.name} has no connection ${JSON.stringify(name.slice(0, 200))}: ${there}.`);
}

/** Finds a package by its name in a template, in whatever spelling; undefined for an unknown name, and for one that means several packages. */
export type FindReferenced = (name: string) => Package | undefined;

/**
 * The packages that a template in a package of this author may name: the author could look into them. Create it once for many templates: it reads all packages,
 * and a look-up then costs the same however many there are.
 */
export async function findReferenced(store: Store, authorId: string): Promise<FindReferenced> {
  const author = await store.users.find(authorId);
  const person = { userId: authorId, admin: author?.admin ?? false };
  const authors = new Map<string, boolean>();
  const [byName, byKey] = [new Map<string, Package[]>(), new Map<string, Package[]>()];
  for (const one of await store.packages.all()) {
    const may = authors.get(one.authorId) ?? (await mayManageAuthor(store, person, one.authorId));
    authors.set(one.authorId, may);
    if (!may) continue;
    addTo(byName, one.name.toLowerCase(), one);
    addTo(byKey, nameKey(unscoped(one.name)), one);
  }
  return (name) => {
    const alike = byName.get(name.toLowerCase()) ?? [];
    return alike.find((one) => one.name === name) ?? onlyOne(alike.length > 0 ? alike : (byKey.get(nameKey(name)) ?? []));
  };
}

function addTo(index: Map<string, Package[]>, key: string, one: Package): void {
  const there = index.get(key);
  if (there) there.push(one);
  else index.set(key, [one]);
}

function onlyOne<T>(values: readonly T[]): T | undefined {
  return values.length === 1 ? values[0] : undefined;
}

/** A reference to an entity in a value of a container's map. */
export type Template = {
  /** As it stands there. */
  text: string;
  /** Undefined where only an entity is named: the container's own package is meant. */
  package: string | undefined;
  /** Empty where it is not well formed, and therefore means nothing. */
  entity: string;
};

/** `#{x.Package:Entity}` and `#{x.Entity}`. One that is never closed is found too, so that it is not handed over as text. */
const TEMPLATE = /#\{x\.([^{}]*)(\})?/g;

export function findTemplates(value: string): Template[] {
  return [...value.matchAll(TEMPLATE)].map(([text, inner = "", end]) => readTemplate(text, inner, end === "}"));
}

/** The value with every template replaced by what `render` makes of it. */
export function renderTemplates(value: string, render: (template: Template) => string): string {
  return value.replace(TEMPLATE, (text: string, inner: string, end: string | undefined) => render(readTemplate(text, inner, end === "}")));
}

function readTemplate(text: string, inner: string, closed: boolean): Template {
  const names = inner.split(":").map((name) => name.trim());
  const [first = "", second] = names;
  if (!closed || names.length > 2) return { text, package: undefined, entity: "" };
  return second === undefined ? { text, package: undefined, entity: first } : { text, package: first, entity: second };
}

/** Makes a sentence for each template in a container's map that no entity answers to: the container would not start. `isPackage`: other packages that it may name. */
export function unresolvedTemplates(
  packageName: string,
  connections: readonly PublishedConnection[],
  isPackage: (name: string) => boolean,
): (container: string, env: Record<string, string>) => string[] {
  const keys = new Set(connections.map(({ key }) => key));
  const reason = ({ package: owner, entity }: Template) => {
    if (owner === undefined || isPackageName(packageName, owner))
      return keys.has(nameKey(entity)) ? undefined : "names no connection of this package";
    return entity !== "" && isPackage(owner) ? undefined : "names no package that this one may use";
  };
  return (container, env) =>
    Object.entries(env).flatMap(([variable, value]) =>
      findTemplates(value).flatMap((template) => {
        const why = reason(template);
        return why === undefined ? [] : [`The container ${container} will not start: ${template.text} in its variable ${variable} ${why}.`];
      }),
    );
}
