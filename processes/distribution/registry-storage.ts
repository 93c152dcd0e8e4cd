import { hkdfSync } from "node:crypto";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Settings } from "../../conf/settings.ts";
import { Fault } from "../../lib/fault.ts";

/** Where berth's own registry has its images. `isShared`: registries on other machines may have them too. */
export type RegistryStorage =
  | { kind: "folder"; folder: string; isShared: boolean }
  /** `login`: undefined leaves it to Distribution, which takes AWS's variables, files and roles. */
  | {
      kind: "s3";
      isShared: true;
      bucket: string;
      prefix: string;
      region: string;
      endpoint: string | undefined;
      encrypt: boolean;
      login: { keyId: string; secret: string } | undefined;
    };

/** Where grok_registry has its images, as a volume. */
const GROK_REGISTRY = "/var/lib/registry";
const DEFAULT_REGION = "us-east-1";
const PARAMETERS = ["region", "endpoint", "encrypt"];

/**
 * Its own folder, for its configuration, and the storage of its images: by default the volume of a grok_registry that it replaces, if there is one.
 * Faults: SETTINGS_INVALID.
 */
export function registryPlace(settings: Settings, volume = GROK_REGISTRY): { folder: string; storage: RegistryStorage } {
  const { data, registry, awsRegion } = settings;
  const folder = resolve(data, "registry");
  if (registry.storage === undefined) {
    const usual = registry.kind === "embedded" || !existsSync(volume) ? join(folder, "images") : volume;
    return { folder, storage: { kind: "folder", folder: resolve(registry.folder ?? usual), isShared: false } };
  }
  if (registry.folder !== undefined) throw invalid("BERTH_REGISTRY_STORAGE and BERTH_REGISTRY_FOLDER are set: one of them is enough.");
  const url = new URL(registry.storage);
  if (url.username !== "" || url.password !== "")
    throw invalid("BERTH_REGISTRY_STORAGE has credentials: set BERTH_REGISTRY_STORAGE_KEY_ID and BERTH_REGISTRY_STORAGE_SECRET instead.");
  if (url.protocol === "file:") return { folder, storage: { kind: "folder", folder: folderOf(url), isShared: true } };
  return { folder, storage: s3Storage(url, registry, awsRegion) };
}

function folderOf(url: URL): string {
  if (url.host !== "" || url.search !== "") throw invalid("BERTH_REGISTRY_STORAGE names a shared folder by its path alone: file:///mnt/registry.");
  return resolve(fileURLToPath(url));
}

function s3Storage(url: URL, { storageKeyId: keyId, storageSecret: secret }: Settings["registry"], awsRegion: string | undefined): RegistryStorage {
  const { searchParams: query, hostname: bucket } = url;
  const unknown = [...query.keys()].find((name) => !PARAMETERS.includes(name));
  if (unknown !== undefined) throw invalid(`BERTH_REGISTRY_STORAGE has the parameter ${unknown}; it takes ${PARAMETERS.join(", ")}.`);
  if (bucket === "" || url.port !== "") throw invalid("BERTH_REGISTRY_STORAGE names no bucket: s3://bucket/prefix?region=eu-west-1.");
  const endpoint = query.get("endpoint") ?? undefined;
  if (endpoint !== undefined && !(URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)))
    throw invalid("The endpoint in BERTH_REGISTRY_STORAGE is not an http or https URL.");
  const encrypt = query.get("encrypt") ?? "off";
  if (encrypt !== "on" && encrypt !== "off") throw invalid("The parameter encrypt of BERTH_REGISTRY_STORAGE is `on` or `off`.");
  if ((keyId === undefined) !== (secret === undefined))
    throw invalid("BERTH_REGISTRY_STORAGE_KEY_ID and BERTH_REGISTRY_STORAGE_SECRET belong together: set both, or neither.");
  return {
    kind: "s3",
    isShared: true,
    bucket,
    prefix: decodeURIComponent(url.pathname).split("/").filter(Boolean).join("/"),
    region: query.get("region") ?? awsRegion ?? DEFAULT_REGION,
    endpoint,
    encrypt: encrypt === "on",
    login: keyId === undefined || secret === undefined ? undefined : { keyId, secret },
  };
}

/** For users and logs: without credentials. */
export function storageName(storage: RegistryStorage): string {
  if (storage.kind === "folder") return storage.folder;
  const { bucket, prefix, endpoint } = storage;
  return `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}${endpoint === undefined ? "" : ` at ${new URL(endpoint).host}`}`;
}

/** Its part of Distribution's configuration, the same for versions 2.8 and 3. */
export function storageConfig(storage: RegistryStorage): object {
  if (storage.kind === "folder") return { filesystem: { rootdirectory: storage.folder } };
  const { bucket, prefix, region, endpoint, encrypt, login } = storage;
  return {
    s3: {
      bucket,
      region,
      encrypt,
      rootdirectory: `/${prefix}`,
      ...(endpoint === undefined ? {} : { regionendpoint: endpoint, secure: endpoint.startsWith("https:") }),
      ...(login === undefined ? {} : { accesskey: login.keyId, secretkey: login.secret }),
    },
    // Clients may reach this registry only.
    redirect: { disable: true },
  };
}

/** What Distribution gets of this program's environment: credentials and roles of AWS, the authorities of TLS, a proxy. */
const STORAGE_VARIABLES = /^(AWS_\w+|SSL_CERT_(FILE|DIR)|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy|HOME)$/;

export function storageEnvironment({ kind }: RegistryStorage, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return kind === "folder" ? {} : Object.fromEntries(Object.entries(env).filter(([name]) => STORAGE_VARIABLES.test(name)));
}

/**
 * Signs the state of uploads. All registries on one storage need the same one, or a load balancer could not send one upload to several of them: so it
 * comes from a secret that they share, that of the bucket, else the key of the credentials. Undefined: each registry has its own.
 */
export function sharedUploadSecret(storage: RegistryStorage, credentialsKeys: readonly string[]): string | undefined {
  const [key] = [...(storage.kind === "s3" && storage.login ? [storage.login.secret] : []), ...credentialsKeys];
  if (!storage.isShared || key === undefined) return undefined;
  return Buffer.from(hkdfSync("sha256", key, "", "berth registry uploads", 32)).toString("base64url");
}

function invalid(sentence: string): Fault {
  return new Fault("SETTINGS_INVALID", sentence);
}
