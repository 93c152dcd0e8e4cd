import { parseJson } from "../parse-json.ts";
import { isHub } from "./docker-hub.ts";
import { parseBasic, type RegistryLogin } from "./registry-login.ts";

/** The `auths` of a Docker `config.json`. The keys are hosts or URLs: `docker login` writes `https://index.docker.io/v1/` for Docker Hub. */
export type DockerAuths = Record<string, { username?: unknown; password?: unknown; auth?: unknown } | null>;

/** Undefined: the text is no such file. */
export function parseDockerAuths(text: string): DockerAuths | undefined {
  const { auths } = (parseJson(text) ?? {}) as { auths?: unknown };
  return typeof auths === "object" && auths !== null && !Array.isArray(auths) ? (auths as DockerAuths) : undefined;
}

/** Name and password stand apart, or both in `auth`. Undefined: a credential helper has them. */
export function loginOf(entry: DockerAuths[string]): RegistryLogin | undefined {
  const { username, password, auth } = entry ?? {};
  if (typeof username === "string" && typeof password === "string") return { username, password };
  return typeof auth === "string" ? parseBasic(`Basic ${auth}`) : undefined;
}

/** The first login for a registry that has any of these names, with their ports. */
export function findLogin(auths: DockerAuths, names: readonly string[]): RegistryLogin | undefined {
  for (const [key, entry] of Object.entries(auths)) {
    const [host = ""] = key
      .replace(/^https?:\/\//, "")
      .toLowerCase()
      .split("/", 1);
    if (names.some((name) => name.toLowerCase() === host || (isHub(name) && isHub(host)))) return loginOf(entry);
  }
  return undefined;
}
