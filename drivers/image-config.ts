import { isIP } from "node:net";
import { Agent, request } from "undici";
import { Fault } from "../lib/fault.ts";
import { type RedirectRules, redirectRules } from "../lib/registry-client/redirect-rules.ts";
import { isLocal, realmTrust } from "../lib/registry-client/trusted-realm.ts";
import type { ResolvedImage } from "./driver.ts";
import { exposedPorts } from "./exposed.ts";

/** What a registry says of an image without pulling it: https://github.com/opencontainers/distribution-spec, and image-spec's config. */
export type ImageConfig = { digest: string | undefined } & Pick<ResolvedImage, "exposed" | "guessed">;

type Login = { username: string; password: string };
/**
 * `trusted`: the settings name this registry, and it may be anywhere. One that a package's author named is judged as a redirect is: not at an
 * address of this machine, unless `listed` has it (`BERTH_REGISTRY_REDIRECT_HOSTS`).
 */
type At = {
  host: string;
  repository: string;
  version: string;
  login: Login | undefined;
  trusted: boolean;
  listed: readonly string[];
  signal: AbortSignal;
};

const INDEXES = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/** What is run where nothing else is asked for. */
const PLATFORM = { os: "linux", architecture: "amd64" };
const MOST_BYTES = 4 * 1_048_576;
const MOST_REDIRECTS = 3;
const SILENCE_MS = 10_000;
const CONNECT_MS = 5_000;
const HUB = "docker.io";
const HUB_API = "registry-1.docker.io";

type Manifest = { manifests?: { digest: string; platform?: { os?: string; architecture?: string } }[]; config?: { digest?: string } };
type Config = { config?: { ExposedPorts?: Record<string, unknown> | null } | null; history?: { created_by?: string }[] | null };
type Answer = { status: number; body: Buffer; header(name: string): string | undefined };

/**
 * The ports that an image exposes, from its manifest and its configuration. Faults: IMAGE_NOT_FOUND, PULL_DENIED, REGISTRY_UNREACHABLE; rejects with
 * the signal's reason where it aborts.
 */
export async function readImageConfig(at: At): Promise<ImageConfig> {
  const ask = openAsk(at);
  const first = await ask(`manifests/${at.version}`, [...INDEXES, ...MANIFESTS]);
  let manifest = read<Manifest>(first.body, at);
  if (manifest.manifests) {
    const own = manifest.manifests.find(({ platform }) => platform?.os === PLATFORM.os && platform.architecture === PLATFORM.architecture);
    if (!own) throw new Fault("IMAGE_NOT_FOUND", `${nameOf(at)} has no form for ${PLATFORM.os}/${PLATFORM.architecture}, which is what would run.`);
    manifest = read<Manifest>((await ask(`manifests/${own.digest}`, MANIFESTS)).body, at);
  }
  const digest = first.header("docker-content-digest");
  if (manifest.config?.digest === undefined) return { digest, exposed: [] };
  const { config, history } = read<Config>((await ask(`blobs/${manifest.config.digest}`, ["*/*"])).body, at);
  return {
    digest,
    ...exposedPorts(
      Object.keys(config?.ExposedPorts ?? {}),
      (history ?? []).map(({ created_by }) => created_by ?? ""),
    ),
  };
}

/** Where to ask for a full name, which loses its tag or digest. */
export function placeOf(reference: string): Pick<At, "host" | "repository"> {
  const slash = reference.indexOf("/");
  return { host: reference.slice(0, slash), repository: (reference.slice(slash + 1).split("@", 1)[0] ?? "").replace(/:[\w.-]+$/, "") };
}

/** Signs in as the registry wants: by name and password, or with a token that it sends for. */
function openAsk(at: At) {
  const host = at.host === HUB ? HUB_API : at.host;
  const root = rootOf(host);
  const { hostname } = root;
  const rules = redirectRules({ hostname, port: portOf(root) }, at.listed, at.trusted ? "by settings" : "by author");
  let authorization = at.login && basic(at.login);
  return async (path: string, accept: readonly string[]): Promise<Answer> => {
    const url = new URL(`/v2/${at.repository}/${path}`, root);
    let answer = await get(url, { accept: accept.join(", "), authorization }, at, rules);
    if (answer.status === 401) {
      authorization = await tokenFor(answer.header("www-authenticate") ?? "", root, at, rules);
      if (authorization !== undefined) answer = await get(url, { accept: accept.join(", "), authorization }, at, rules);
    }
    for (let hops = 0; [301, 302, 303, 307, 308].includes(answer.status) && hops < MOST_REDIRECTS; hops++) {
      const to = URL.parse(answer.header("location") ?? "", url.href);
      if (!to || !mayLead(root, to))
        throw new Fault("REGISTRY_UNREACHABLE", `The registry leads elsewhere for ${nameOf(at)}, in a way that is not safe.`);
      // Elsewhere, what signs in here is nobody's business.
      answer = await get(to, { accept: accept.join(", "), authorization: to.host === root.host ? authorization : undefined }, at, rules);
    }
    if (answer.status === 404) throw new Fault("IMAGE_NOT_FOUND", `The registry has no ${nameOf(at)}.`);
    if (answer.status === 401 || answer.status === 403)
      throw new Fault("PULL_DENIED", `The registry does not let ${nameOf(at)} be read (${answer.status}).`);
    if (answer.status !== 200) throw new Fault("REGISTRY_UNREACHABLE", `The registry answered ${answer.status} for ${nameOf(at)}.`);
    return answer;
  };
}

/** As engines do: without TLS only on this machine, and on the port where registries listen that have no certificate. */
function rootOf(host: string): URL {
  const url = URL.parse(`https://${host}`);
  if (url === null) throw new Fault("REGISTRY_UNREACHABLE", `${host} is no host of a registry.`);
  return isLocal(url.hostname.replace(/^\[|\]$/g, "")) || url.port === "5000" ? new URL(`http://${host}`) : url;
}

function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === "https:" ? 443 : 80);
}

/** A registry over TLS leads to nothing without it, such as what answers inside a network alone. */
export function mayLead(from: URL, to: URL): boolean {
  return to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:");
}

/**
 * https://distribution.github.io/distribution/spec/auth/token/. Whatever answers there is sent back to the registry, so it has to be of the registry's
 * own domain: else a registry would have control fetch from inside its network, and read the answer. The login goes to the registry's own host only.
 */
async function tokenFor(challenge: string, root: URL, at: At, rules: RedirectRules): Promise<string | undefined> {
  if (!/^bearer /i.test(challenge)) return undefined;
  const parameters = Object.fromEntries([...challenge.matchAll(/\b(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]));
  const realm = URL.parse(parameters["realm"] ?? "");
  const hostname = root.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (!realm || realmTrust(realm, { hostname, secure: root.protocol === "https:" }) !== "credentials") {
    const where = realm?.host ?? "no URL";
    const why = `The registry of ${nameOf(at)} sends for a token to ${where}, which is not of its own domain. Name the image in a registry that signs in at its own domain.`;
    throw new Fault("REGISTRY_UNREACHABLE", why);
  }
  if (parameters["service"] !== undefined) realm.searchParams.set("service", parameters["service"]);
  realm.searchParams.set("scope", `repository:${at.repository}:pull`);
  const authorization = at.login && realm.host === root.host ? basic(at.login) : undefined;
  const answer = await get(realm, { accept: "application/json", authorization }, at, rules);
  if (answer.status !== 200) return undefined;
  const { token, access_token } = read<{ token?: string; access_token?: string }>(answer.body, at);
  const given = token ?? access_token;
  return given === undefined ? undefined : `Bearer ${given}`;
}

async function get(url: URL, headers: { accept: string; authorization: string | undefined }, at: At, rules: RedirectRules): Promise<Answer> {
  const { accept, authorization } = headers;
  const http = dialling(await targetOf(url, at, rules));
  try {
    const answer = await request(url, {
      headers: { accept, ...(authorization === undefined ? {} : { authorization }) },
      signal: at.signal,
      headersTimeout: SILENCE_MS,
      bodyTimeout: SILENCE_MS,
      dispatcher: http,
    });
    const pieces: Buffer[] = [];
    let size = 0;
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > MOST_BYTES) throw new Fault("REGISTRY_UNREACHABLE", `The registry answered with more than ${MOST_BYTES} bytes for ${nameOf(at)}.`);
      pieces.push(piece);
    }
    const header = (name: string) => [answer.headers[name]].flat()[0];
    return { status: answer.statusCode, body: Buffer.concat(pieces), header };
  } catch (error) {
    at.signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    const { code, message } = error as { code?: string; message?: string };
    throw new Fault("REGISTRY_UNREACHABLE", `${url.host} cannot be reached (${code ?? message}).`, { cause: error });
  } finally {
    await http.destroy();
  }
}

async function targetOf(url: URL, at: At, rules: RedirectRules): Promise<string> {
  try {
    return (await rules.targetOf(url)).host;
  } catch (error) {
    at.signal.throwIfAborted();
    if (!(error instanceof Fault)) throw error;
    throw new Fault("REGISTRY_UNREACHABLE", `${nameOf(at)} is not read: ${error.message}`, { cause: error });
  }
}

/** Connects there whatever the name in the URL leads to by now: the address that was judged is the one that is dialled. */
function dialling(host: string): Agent {
  const family = isIP(host);
  if (family === 0) return new Agent({ connect: { timeout: CONNECT_MS } });
  return new Agent({
    connect: {
      timeout: CONNECT_MS,
      lookup: (_name, { all }, done) => (all ? done(null, [{ address: host, family }]) : done(null, host, family)),
    },
  });
}

function read<T>(body: Buffer, at: At): T {
  try {
    return JSON.parse(body.toString()) as T;
  } catch (cause) {
    throw new Fault("REGISTRY_UNREACHABLE", `The registry answered something that is not JSON for ${nameOf(at)}.`, { cause });
  }
}

function basic({ username, password }: Login): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function nameOf({ host, repository, version }: At): string {
  return `${host}/${repository}${version.includes(":") ? "@" : ":"}${version}`;
}
