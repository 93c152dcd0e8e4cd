import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { withTimeout } from "../deadline.ts";
import { Fault } from "../fault.ts";
import type { RegistryLogin } from "./registry-login.ts";

/** A public key in PEM, and its name for users. */
export type SignatureKey = { name: string; pem: string };

/** `name` is `registry/repository@digest`. `plainHttp`: its registry speaks no TLS. */
export type SignedImage = { name: string; plainHttp: boolean; login: RegistryLogin | undefined };

export type Cosign = {
  /** Whether one of the keys has signed the digest. Faults: PROGRAM_UNUSABLE, REGISTRY_UNREACHABLE. */
  verify(image: SignedImage, signal: AbortSignal): Promise<boolean>;
  /** Runs it once without a registry. Faults: PROGRAM_UNUSABLE. */
  probe(signal: AbortSignal): Promise<void>;
};

/** For one run. cosign's own requests have no limit. */
const RUN_MS = 30_000;
/** The end of what it writes: the reason stands there. */
const MAX_OUTPUT = 4_096;
/** Exit codes of "no signatures" and "no matching signatures": https://github.com/sigstore/cosign/blob/main/cmd/cosign/errors/exit_codes.go. */
const UNSIGNED: ReadonlySet<number | null> = new Set([10, 12]);
/** What it needs of berth's own environment: proxies and certificates, and no secret. */
const PASSED_ON = ["PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/**
 * Verifies signatures by the program cosign, as a child process: with public keys alone, so it asks the image's registry and nothing else. The transparency log
 * plays no part, which works without the Internet.
 */
export function createCosign(parts: { program: string; keys: readonly SignatureKey[]; env: NodeJS.ProcessEnv; clock: Clock }): Cosign {
  const { program, keys, clock } = parts;
  const env = Object.fromEntries(PASSED_ON.flatMap((name) => (parts.env[name] === undefined ? [] : [[name, parts.env[name]]])));

  const run = (args: readonly string[], home: string, signal: AbortSignal) => {
    const overdue = () => new Fault("REGISTRY_UNREACHABLE", `cosign did not end within ${RUN_MS / 1_000} s.`);
    return withTimeout({ clock, ms: RUN_MS, overdue, signal }, (own) =>
      endOf(spawn(program, args, { env: { ...env, HOME: home, DOCKER_CONFIG: home }, stdio: ["ignore", "ignore", "pipe"] }), program, own),
    );
  };

  /** A folder for one run, which no other user may read: its registry login must not be an argument. */
  const inFolder = async <R>(work: (folder: string) => Promise<R>): Promise<R> => {
    const folder = await mkdtemp(join(tmpdir(), "berth-cosign-"));
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
        for (const { pem } of keys) {
          const key = join(folder, "key.pem");
          await writeFile(key, pem, { mode: 0o600 });
          const options = ["--key", key, "--insecure-ignore-tlog=true", ...(plainHttp ? ["--allow-http-registry=true"] : [])];
          const { code, reason } = await run(["verify", ...options, "--", name], folder, signal);
          if (code === 0) return true;
          if (!UNSIGNED.has(code)) throw new Fault("REGISTRY_UNREACHABLE", `cosign could not read the signatures of ${name}: ${reason}.`);
        }
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

/** As `docker login` writes it. */
function authsOf(name: string, login: RegistryLogin | undefined): Record<string, { auth: string }> {
  if (!login) return {};
  const host = name.slice(0, name.indexOf("/"));
  const auth = Buffer.from(`${login.username}:${login.password}`).toString("base64");
  return { [host === "docker.io" ? "https://index.docker.io/v1/" : host]: { auth } };
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
