import { Fault } from "../../lib/fault.ts";
import type { Call, Registry } from "../driver.ts";
import { parseReference } from "../image.ts";
import type { PullWith } from "./definition.ts";

/** `kubernetes.dockerAuth` as it was understood: the name of a Secret, or what one holds. */
export type DockerAuth = { secret: string } | { auths: Auths } | undefined;

/** By host; an entry has a user's name and password, or both in `auth`. */
type Auths = Record<string, { username?: string; password?: string; auth?: string } | undefined>;
type PullLogin = { username: string; password: string };

const SECRET_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/**
 * The name of a Secret of the namespace, or the text of a Docker `config.json` with `auths`, plain or in base64 as a Secret's manifest has it.
 * Faults: SETTINGS_INVALID, without a word of what was given.
 */
export function readDockerAuth(given: string | undefined): DockerAuth {
  const text = given?.trim() ?? "";
  if (text === "") return undefined;
  if (SECRET_NAME.test(text)) return { secret: text };
  const auths = authsOf(text) ?? authsOf(Buffer.from(text, "base64").toString("utf8"));
  if (auths) return { auths };
  throw new Fault(
    "SETTINGS_INVALID",
    'GROK_SPAWNER_KUBERNETES__DOCKER_AUTH is neither the name of a Secret nor a Docker config.json ({"auths": {…}}), plain or in base64.',
  );
}

function authsOf(text: string): Auths | undefined {
  try {
    const { auths } = JSON.parse(text) as { auths?: unknown };
    return typeof auths === "object" && auths !== null && !Array.isArray(auths) ? (auths as Auths) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What a node signs in with to pull this image: what the administrator gave, and what the registry that is set up wants, renewed at each
 * start. Faults: those of the registry.
 */
export async function pullWith(image: string, auth: DockerAuth, registry: Registry | undefined, call: Call): Promise<PullWith> {
  const reference = parseReference(image);
  const host = reference.kind === "name" ? reference.registry : undefined;
  const login = host === undefined ? undefined : await registry?.login(host, call);
  const given = auth && "auths" in auth ? auth.auths : {};
  const auths = login && host !== undefined ? { ...given, [host]: loginEntry(login) } : given;
  return {
    existing: auth && "secret" in auth ? [auth.secret] : [],
    own: Object.keys(auths).length === 0 ? undefined : JSON.stringify({ auths }),
  };
}

function loginEntry({ username, password }: PullLogin) {
  return { username, password, auth: Buffer.from(`${username}:${password}`).toString("base64") };
}

/** What berth itself signs in with to read of an image: as for a pull, but not with a Secret that only nodes read. */
export async function loginAt(host: string, auth: DockerAuth, registry: Registry | undefined, call: Call): Promise<PullLogin | undefined> {
  const login = await registry?.login(host, call);
  if (login) return login;
  const entry = auth && "auths" in auth ? auth.auths[host] : undefined;
  const [username, ...password] = Buffer.from(entry?.auth ?? "", "base64")
    .toString("utf8")
    .split(":");
  if (entry?.username !== undefined && entry.password !== undefined) return { username: entry.username, password: entry.password };
  return username ? { username, password: password.join(":") } : undefined;
}
