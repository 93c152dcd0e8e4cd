import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { withTimeout } from "../deadline.ts";
import { Fault } from "../fault.ts";
import { HUB_NAME } from "./docker-hub.ts";
import { basicCredentials, type RegistryLogin } from "./registry-login.ts";

/** A public key in PEM, and its name for users. */
export type SignatureKey = { name: string; pem: string };

/**
 * Who may sign without a key of their own: an identity of this OIDC issuer, as the certificate of a signature has it. `*` in `identity` stands for any characters
 * but `/`.
 */
export type SignerIdentity = { issuer: string; identity: string };

/**
 * What such signatures are verified by, each PEM: the certificates of the authority that signs their certificates (Fulcio), the public key of the transparency log
 * (Rekor), which proves when they were signed, and of the log of certificates; without the last one, certificates need not be in such a log.
 */
export type SigstoreTrust = { roots: string; intermediates: string | undefined; logKey: string; certificateLogKey: string | undefined };

/** `name` is `registry/repository@digest`. `plainHttp`: its registry speaks no TLS. */
export type SignedImage = { name: string; plainHttp: boolean; login: RegistryLogin | undefined };

export type Cosign = {
  /** Whether one of the keys, or of the identities, has signed the digest. Faults: PROGRAM_UNUSABLE, REGISTRY_UNREACHABLE. */
  verify(image: SignedImage, signal: AbortSignal): Promise<boolean>;
  /** Runs it once without a registry. Faults: PROGRAM_UNUSABLE. */
  probe(signal: AbortSignal): Promise<void>;
};

/** For one run. cosign's own requests have no limit. */
const RUN_MS = 30_000;
/** The end of what it writes: the reason stands there. */
const MAX_OUTPUT = 4_096;
/** Exit codes of "no signatures", "no matching signatures" and "no certificate found on a signature": https://github.com/sigstore/cosign/blob/main/cmd/cosign/errors/exit_codes.go. */
const UNSIGNED: ReadonlySet<number | null> = new Set([10, 12, 16]);
/** What it needs of berth's own environment: proxies and certificates, and no secret. */
const PASSED_ON = ["PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/**
 * Verifies signatures by the program cosign, as a child process: with public keys and certificates of the settings alone, so it asks the image's registry and
 * nothing else, and works without the Internet. For keys, the transparency log plays no part; a signature of an identity has its entry with it.
 */
export function createCosign(parts: {
  program: string;
  keys: readonly SignatureKey[];
  /** Who may sign without a key, and the trust for it. */
  keyless?: { identities: readonly SignerIdentity[]; trust: SigstoreTrust } | undefined;
  /** Where it has a folder for each run, with the registry's login. */
  folder: string;
  env: NodeJS.ProcessEnv;
  clock: Clock;
}): Cosign {
  const { program, keys, keyless, clock } = parts;
  const env = Object.fromEntries(PASSED_ON.flatMap((name) => (parts.env[name] === undefined ? [] : [[name, parts.env[name]]])));

  const run = (args: readonly string[], home: string, signal: AbortSignal, more: NodeJS.ProcessEnv = {}) => {
    const overdue = () => new Fault("REGISTRY_UNREACHABLE", `cosign did not end within ${RUN_MS / 1_000} s.`);
    return withTimeout({ clock, ms: RUN_MS, overdue, signal }, (own) =>
      endOf(spawn(program, args, { env: { ...env, ...more, HOME: home, DOCKER_CONFIG: home }, stdio: ["ignore", "ignore", "pipe"] }), program, own),
    );
  };

  /** A folder for one run, which no other user may read: its registry login must not be an argument. */
  const inFolder = async <R>(work: (folder: string) => Promise<R>): Promise<R> => {
    const folder = await mkdtemp(join(parts.folder, "berth-cosign-"));
    try {
      return await work(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

  return {
    verify: ({ name, plainHttp, login }, signal) =>
      inFolder(async (folder) => {
        await writeFile(join(folder, "config.json"), JSON.stringify({ auths: authsOf(name, login) }), { mode: 0o600 });
        const put = async (file: string, pem: string) => {
          await writeFile(join(folder, file), pem, { mode: 0o600 });
          return join(folder, file);
        };
        const isSigned = async (options: readonly string[], more: NodeJS.ProcessEnv = {}) => {
          const args = ["verify", ...options, ...(plainHttp ? ["--allow-http-registry=true"] : []), "--", name];
          const { code, reason } = await run(args, folder, signal, more);
          if (code === 0 || UNSIGNED.has(code)) return code === 0;
          throw new Fault("REGISTRY_UNREACHABLE", `cosign could not read the signatures of ${name}: ${reason}.`);
        };
        for (const { pem } of keys) if (await isSigned(["--key", await put("key.pem", pem), "--insecure-ignore-tlog=true"])) return true;
        if (keyless === undefined) return false;
        const { roots, intermediates, logKey, certificateLogKey } = keyless.trust;
        const trusted = [`--ca-roots=${await put("roots.pem", roots)}`, "--offline=true"];
        if (intermediates !== undefined) trusted.push(`--ca-intermediates=${await put("intermediates.pem", intermediates)}`);
        const logs: NodeJS.ProcessEnv = { SIGSTORE_REKOR_PUBLIC_KEY: await put("log.pub", logKey) };
        if (certificateLogKey === undefined) trusted.push("--insecure-ignore-sct=true");
        else logs["SIGSTORE_CT_LOG_PUBLIC_KEY_FILE"] = await put("certificate-log.pub", certificateLogKey);
        for (const identity of keyless.identities) if (await isSigned([...optionsOf(identity), ...trusted], logs)) return true;
        return false;
      }),
    probe: (signal) =>
      inFolder(async (folder) => {
        const { code, reason } = await run(["version"], folder, signal);
        if (code !== 0)
          throw new Fault("PROGRAM_UNUSABLE", `${program} does not run: ${reason}. Install cosign, or set BERTH_IMAGE_COSIGN to its path.`);
      }),
  };
}

function optionsOf({ issuer, identity }: SignerIdentity): string[] {
  const who = identity.includes("*")
    ? `--certificate-identity-regexp=^${identity.split("*").map(escaped).join("[^/]*")}$`
    : `--certificate-identity=${identity}`;
  return [`--certificate-oidc-issuer=${issuer}`, who];
}

/** For Go's regular expressions. */
function escaped(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, "\\$&");
}

/** As `docker login` writes it. */
function authsOf(name: string, login: RegistryLogin | undefined): Record<string, { auth: string }> {
  if (!login) return {};
  const host = name.slice(0, name.indexOf("/"));
  return { [host === HUB_NAME ? "https://index.docker.io/v1/" : host]: { auth: basicCredentials(login) } };
}

/** `reason`: its last line, without "Error: ". */
function endOf(child: ChildProcess, program: string, signal: AbortSignal): Promise<{ code: number | null; reason: string }> {
  return new Promise((resolve, reject) => {
    let output = "";
    child.stderr?.setEncoding("utf8").on("data", (piece: string) => void (output = (output + piece).slice(-MAX_OUTPUT)));
    const kill = () => void child.kill("SIGKILL");
    const settle = (act: () => void) => {
      signal.removeEventListener("abort", kill);
      act();
    };
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    child.once("error", (cause: NodeJS.ErrnoException) =>
      settle(() => {
        const why = cause.code === "ENOENT" ? "is not installed" : `does not run: ${cause.message}`;
        reject(
          new Fault(
            "PROGRAM_UNUSABLE",
            `${program}, which verifies signatures of images, ${why}. Install cosign, or set BERTH_IMAGE_COSIGN to its path.`,
            { cause },
          ),
        );
      }),
    );
    child.once("close", (code) =>
      settle(() => {
        if (signal.aborted) return reject(signal.reason as Error);
        const [last = ""] = output.trimEnd().split("\n").slice(-1);
        resolve({ code, reason: last.replace(/^(?:Error|error during command execution): /, "").slice(0, 500) || `it ended with code ${code}` });
      }),
    );
  });
}
