import { Fault } from "../../lib/fault.ts";
import { type DockerAuths, findLogin, parseDockerAuths } from "../../lib/registry-client/docker-config.ts";
import { basicCredentials, type RegistryLogin } from "../../lib/registry-client/registry-login.ts";
import type { Call, Registry } from "../driver.ts";
import { parseReference } from "../image.ts";
import type { KubernetesApi } from "./cluster.ts";
import type { PullWith } from "./definition.ts";
import { find } from "./objects.ts";

/** The parsed `kubernetes.dockerAuth`: the name of a Secret, or the content of one. */
export type DockerAuth = { secret: string } | { auths: DockerAuths } | undefined;

const SECRET_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/**
 * The name of a Secret of the namespace, or the text of a Docker `config.json` with `auths`, plain or in base64 as in a Secret's manifest.
 * Faults: SETTINGS_INVALID, without the value.
 */
export function parseDockerAuth(setting: string | undefined): DockerAuth {
  const text = setting?.trim() ?? "";
  if (text === "") return undefined;
  if (SECRET_NAME.test(text)) return { secret: text };
  const auths = parseDockerAuths(text) ?? parseDockerAuths(Buffer.from(text, "base64").toString("utf8"));
  if (auths) return { auths };
  throw new Fault(
    "SETTINGS_INVALID",
    'GROK_SPAWNER_KUBERNETES__DOCKER_AUTH is neither the name of a Secret nor a Docker config.json ({"auths": {…}}), plain or in base64.',
  );
}

/**
 * The credentials with which a node pulls this image: those of the administrator, and those of the configured registry, new at each start.
 * Faults: those of the registry.
 */
export async function pullWith(image: string, auth: DockerAuth, registry: Registry | undefined, call: Call): Promise<PullWith> {
  const reference = parseReference(image);
  const host = reference.kind === "name" ? reference.registry : undefined;
  const login = host === undefined ? undefined : await registry?.login(host, call);
  const configured = auth && "auths" in auth ? auth.auths : {};
  const auths = login && host !== undefined ? { ...configured, [host]: { ...login, auth: basicCredentials(login) } } : configured;
  return {
    existing: auth && "secret" in auth ? [auth.secret] : [],
    own: Object.keys(auths).length === 0 ? undefined : JSON.stringify({ auths }),
  };
}

/** Of a Secret that does not exist or holds no credentials: none. The registry's refusal then says so. */
async function readAuths(cluster: KubernetesApi, auth: DockerAuth, { signal }: Call): Promise<DockerAuths | undefined> {
  if (!auth) return undefined;
  if ("auths" in auth) return auth.auths;
  const secret = await find(cluster, "secrets", auth.secret, signal);
  return parseDockerAuths(Buffer.from(secret?.data?.[".dockerconfigjson"] ?? "", "base64").toString("utf8"));
}

/** Where berth looks for credentials, for the fault of a refused look-up. */
export function describeAuth(auth: DockerAuth): string {
  if (!auth) return "Set GROK_SPAWNER_KUBERNETES__DOCKER_AUTH if it needs credentials.";
  if ("auths" in auth) return "Check its entry in GROK_SPAWNER_KUBERNETES__DOCKER_AUTH.";
  return `Check its entry in the Secret ${auth.secret} (GROK_SPAWNER_KUBERNETES__DOCKER_AUTH): the type is kubernetes.io/dockerconfigjson.`;
}

/** The login with which berth reads an image's configuration: as for a pull. Faults: those of the registry and of reading the Secret. */
export async function loginAt(
  cluster: KubernetesApi,
  host: string,
  { auth, registry }: { auth: DockerAuth; registry: Registry | undefined },
  call: Call,
): Promise<RegistryLogin | undefined> {
  return (await registry?.login(host, call)) ?? findLogin((await readAuths(cluster, auth, call)) ?? {}, [host]);
}
