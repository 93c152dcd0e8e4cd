import { randomUUID } from "node:crypto";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Container, Package } from "../../model/entities.ts";
import { isPackageName, nameKey } from "../../model/names.ts";
import type { Sealed, SealedCredential } from "../../model/records.ts";
import type { Store } from "../../store/open-store.ts";
import type { PublishedConnection } from "../publish/connections.ts";
import { credentialContext, type Vault } from "./open-vault.ts";
import { findReferenced, type FindReferenced, findTarget, type Target } from "./references.ts";
import { findTemplates, renderTemplates, type Template } from "./references.ts";

/** Linux starts no program whose variables and arguments are larger than some 2 MB together. */
const MAX_RENDERED_CHARACTERS = 1_048_576;

/** The secrets of packages and of their connections. What is set now, a container gets at its next start. */
export type Credentials = {
  /** `permit` throws for a caller who may not read the package. Faults: its own, PACKAGE_NOT_FOUND, ENTITY_NOT_FOUND, REQUEST_INVALID. */
  find(text: string, permit: (owner: Package) => Promise<void>): Promise<Target>;
  names(target: Target): Promise<string[]>;
  /** All of them, and no others. Faults: REQUEST_INVALID, CREDENTIALS_UNREADABLE. */
  replace(target: Target, values: Values): Promise<void>;
  /** These, beside those that there are. Faults: as `replace`. */
  merge(target: Target, values: Values): Promise<void>;
  /** All, or those named. */
  remove(target: Target, names?: readonly string[]): Promise<void>;
  /** Stores the connections of a published package, in its transaction; returns warnings for the author. Faults: CREDENTIALS_UNREADABLE. */
  record(owner: Package, connections: readonly PublishedConnection[]): Promise<string[]>;
  /** The package's own, as variables. Faults: CREDENTIALS_UNREADABLE. */
  packageEnv(packageId: string): Promise<Record<string, string>>;
  /**
   * The container's map with its templates rendered: entities of its own package with their credentials, those of other packages without. Faults:
   * CREDENTIAL_NOT_FOUND, CREDENTIALS_UNREADABLE, VARIABLES_TOO_LARGE.
   */
  renderEnv(container: Pick<Container, "packageId" | "env">): Promise<Record<string, string>>;
};

/** What a shell takes for a variable's name; others are stored, but no container is given them. */
export const VARIABLE = /^[A-Za-z_]\w*$/;

export function openCredentials({ store, vault, clock }: { store: Store; vault: Vault; clock: Clock }): Credentials {
  const insertSealed = async (
    packageId: string,
    secrets: readonly { entity: string; name: string; value: unknown }[],
    origin: SealedCredential["origin"],
  ) => {
    const rows = secrets.map(({ entity, name }) => ({ packageId, entity, name }));
    const boxes = await vault.sealAll(
      secrets.map(({ value }, index) => ({ context: credentialContext(rows[index] as (typeof rows)[0]), text: JSON.stringify(value) })),
    );
    for (const [index, row] of rows.entries())
      await store.credentials.insert({ ...row, ...(boxes[index] as Sealed), id: randomUUID(), origin, updatedOn: clock.now() });
  };
  const put = async (packageId: string, entity: string, values: Values) => {
    for (const row of await store.credentials.of(packageId, entity)) if (Object.hasOwn(values, row.name)) await store.credentials.remove(row.id);
    await insertSealed(
      packageId,
      Object.entries(values).map(([name, value]) => ({ entity, name, value })),
      "set",
    );
  };
  const read = async (packageId: string, entity: string, what: string): Promise<Record<string, unknown>> =>
    Object.fromEntries(
      (await store.credentials.of(packageId, entity)).map((row) => [row.name, JSON.parse(vault.open(credentialContext(row), row, what)) as unknown]),
    );

  /** The entity as JSON, in one line. */
  const render = async (owner: Package, variable: string, template: Template, others: () => Promise<FindReferenced>): Promise<string> => {
    const refuse = (why: string) => new Fault("CREDENTIAL_NOT_FOUND", `${template.text} in the variable ${variable} does not resolve: ${why}.`);
    const isOwn = template.package === undefined || isPackageName(owner.name, template.package);
    const source = isOwn ? owner : (await others())(template.package ?? "");
    if (!source) throw refuse(`${owner.name} may use no other package of this name`);
    const connection = template.entity === "" ? undefined : await store.connections.find(source.id, nameKey(template.entity));
    if (!connection) throw refuse(`${source.name} has no connection of this name`);
    if (!isOwn) return JSON.stringify({ ...connection.entity, credentials: undefined });
    const parameters = await read(owner.id, connection.key, `The credentials of ${owner.name}.${connection.name}`);
    if (Object.keys(parameters).length === 0) return JSON.stringify(connection.entity);
    return JSON.stringify({ ...connection.entity, credentials: { ...(connection.entity["credentials"] as object | undefined), parameters } });
  };

  return {
    find: (text, permit) => findTarget(store, text, permit),
    names: async ({ package: { id }, entity }) => (await store.credentials.of(id, entity)).map(({ name }) => name),
    replace: async ({ package: { id }, entity }, values) => {
      requireValues(values);
      await store.transaction(async () => {
        await store.credentials.removeOf(id, entity);
        await put(id, entity, values);
      });
    },
    merge: async ({ package: { id }, entity }, values) => {
      requireValues(values);
      await store.transaction(() => put(id, entity, values));
    },
    remove: ({ package: { id }, entity }, names) =>
      store.transaction(async () => {
        for (const row of await store.credentials.of(id, entity)) if (!names || names.includes(row.name)) await store.credentials.remove(row.id);
      }),
    record: async (owner, connections) => {
      await store.connections.removeByPackage(owner.id);
      await store.credentials.removeBrought(owner.id);
      for (const { name, key, entity } of connections) await store.connections.insert({ id: randomUUID(), packageId: owner.id, key, name, entity });
      const set = new Set(await store.credentials.entities(owner.id));
      const secret = connections.filter(({ secrets }) => Object.keys(secrets).length > 0);
      const brought = secret.filter(({ key }) => !set.has(key));
      await insertSealed(
        owner.id,
        brought.flatMap(({ key, secrets }) => Object.entries(secrets).map(([name, value]) => ({ entity: key, name, value }))),
        "package",
      );
      const kept = secret.filter(({ key }) => set.has(key));
      return kept.map(({ name }) => `The connection ${name} brings credentials; those that were set here are kept.`);
    },
    packageEnv: async (packageId) => {
      const values = Object.entries(await read(packageId, "", "The package's credentials")).filter(([name]) => VARIABLE.test(name));
      return Object.fromEntries(values.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]));
    },
    renderEnv: async ({ packageId, env }) => {
      if (Object.values(env).every((value) => findTemplates(value).length === 0)) return env;
      const owner = await store.packages.find(packageId);
      if (!owner) return env;
      const rendered = new Map<string, string>();
      let referenced: Promise<FindReferenced> | undefined;
      const others = () => (referenced ??= findReferenced(store, owner.authorId));
      let left = MAX_RENDERED_CHARACTERS;
      for (const [variable, value] of Object.entries(env)) {
        for (const template of findTemplates(value)) {
          const text = rendered.get(template.text) ?? (await render(owner, variable, template, others));
          rendered.set(template.text, text);
          left -= text.length;
          if (left >= 0) continue;
          const sentence = `The entities in the variables of a container have more than ${MAX_RENDERED_CHARACTERS} characters together, at ${variable}.`;
          throw new Fault("VARIABLES_TOO_LARGE", sentence);
        }
      }
      return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, renderTemplates(value, ({ text }) => rendered.get(text) ?? text)]));
    },
  };
}

/** Credentials by name: text mostly, but whatever JSON holds is kept as it is. */
export type Values = Record<string, unknown>;

const MOST_NAMES = 100;
const LONGEST_NAME = 200;
/** Linux takes 128 KiB for one variable, its name and what stands around a credential in it included. */
const LONGEST_VALUE = 64 * 1_024;

/** No sentence here may hold a value. Faults: REQUEST_INVALID. */
export function requireValues(values: unknown): asserts values is Values {
  const refuse = (why: string) => new Fault("REQUEST_INVALID", why);
  if (typeof values !== "object" || values === null || Array.isArray(values))
    throw refuse('A JSON object of names and values is needed, such as {"login":"…","password":"…"}.');
  const entries = Object.entries(values);
  if (entries.length > MOST_NAMES) throw refuse(`There are ${entries.length} credentials; ${MOST_NAMES} are allowed.`);
  for (const [name, value] of entries) {
    if (!isName(name)) throw refuse(`A credential's name has 1 to ${LONGEST_NAME} characters, none of them a control character or "=".`);
    const text = JSON.stringify(value);
    if (value === null || text === undefined) throw refuse(`The credential ${name} has no value.`);
    if (Buffer.byteLength(text) > LONGEST_VALUE) throw refuse(`The credential ${name} is longer than ${LONGEST_VALUE} bytes.`);
    if (text.includes("\\u0000")) throw refuse(`The credential ${name} holds a zero character, which no variable can.`);
  }
}

function isName(name: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  return name.length > 0 && name.length <= LONGEST_NAME && !/[\u0000-\u001f\u007f=]/.test(name);
}
