import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { imageName, imageRepository, isOfRepository } from "../../control/model/names.ts";
import type { Definition } from "../../control/packages/publish/definitions.ts";
import type { Clock } from "../../lib/clock.ts";
import { openDeadline } from "../../lib/deadline.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import { isOnThisMachine } from "../registry/open-v2.ts";
import type { ServerClient } from "../server/server-client.ts";
import type { ProgressLine } from "../terminal.ts";

/** The image of one folder, and the content of its `image.json`. */
export type PreparedImage = {
  folder: string;
  image: string;
  how: "built" | "unchanged";
  imageJson: { image: string; fallback: boolean; hashMatch?: boolean };
};

/** Of most servers. Only this machine's own engine may differ. */
const PLATFORM = "linux/amd64";

type LatestCompatible = { image: string; hashMatch: boolean };

/**
 * Prepares the image of a folder. An image of the same content is used as it is, unless `rebuild` is set. Otherwise it is built, and pushed if there is a
 * registry. Faults: those of docker and of the server.
 */
export async function prepareImage(
  definition: Definition,
  deps: {
    packageName: string;
    /** The version of the package; for a debug publish the developer's login. */
    version: string;
    rebuild: boolean;
    registry: string | undefined;
    server: Pick<ServerClient, "call">;
    /** Called only if an image must be built. */
    docker: () => Promise<DockerCommand>;
    env: NodeJS.ProcessEnv;
    progress: ProgressLine;
  },
): Promise<PreparedImage> {
  const { folder, hash, at, ref } = definition;
  const { server, registry, progress } = deps;
  const name = imageName(deps.packageName, folder);
  progress.update(`looking for a published ${name}`);
  const same = deps.rebuild ? undefined : await findCompatible(server, name, deps.version, hash);
  if (same && !isOfRepository(same.image, imageRepository(name)))
    throw new Fault(
      "IMAGE_NOT_FOUND",
      `The server offers ${JSON.stringify(same.image).slice(0, 200)} in place of an image of ${imageRepository(name)}: it is not used. ` +
        "Build the image with --rebuild, and report it to an administrator.",
    );
  if (same?.hashMatch)
    return { folder, image: same.image, how: "unchanged", imageJson: { image: same.image, fallback: same.image !== ref, hashMatch: true } };
  const docker = await deps.docker();
  // Docker reads the variable itself.
  const isLeftToDocker = registry === undefined || isOnThisMachine(registry) || (deps.env["DOCKER_DEFAULT_PLATFORM"] ?? "") !== "";
  const platform = isLeftToDocker ? undefined : PLATFORM;
  // Not under its final name: an engine beside the server would prefer it to the registry's image.
  const built = ref.slice(ref.indexOf("/") + 1);
  let part = 0;
  progress.update(`building ${built}`, part);
  await docker.build(at, built, platform, (line) => progress.update(`building ${built}`, (part = buildProgress(line) ?? part)));
  const target = registry === undefined ? ref : `${registry}/${ref}`;
  await docker.tag(built, target);
  if (registry !== undefined) {
    const pushed = createPushProgress();
    part = 0;
    progress.update(`pushing ${target}`, part);
    await docker.push(target, (line) => progress.update(`pushing ${target}`, (part = pushed(line) ?? part)));
  }
  return { folder, image: ref, how: "built", imageJson: { image: ref, fallback: false } };
}

/** A server without one answers 404. */
async function findCompatible(
  server: Pick<ServerClient, "call">,
  name: string,
  version: string,
  hash: string,
): Promise<LatestCompatible | undefined> {
  const query = new URLSearchParams({ version, contentHash: hash });
  try {
    return await server.call<LatestCompatible>("GET", `/docker/images/${encodeURIComponent(name)}/latest-compatible?${query.toString()}`);
  } catch (error) {
    if (error instanceof Fault && error.status === 404) return undefined;
    throw error;
  }
}

/** The progress from 0 to 1 in a line of `docker build`: `Step 2/5 : …` of the old builder, `#7 [2/5] …` of BuildKit. */
function buildProgress(line: string): number | undefined {
  const [, at, all] = /^(?:Step |#\d+ \[(?:\S+ )?)\s*(\d+)\/(\d+)/.exec(line) ?? [];
  return at === undefined ? undefined : (Number(at) - 1) / Number(all);
}

const DONE = /^(Pushed|Layer already exists|Mounted from)/;

/** The progress of `docker push`: pushed layers out of those in its output. */
function createPushProgress(): (line: string) => number | undefined {
  const layers = new Map<string, boolean>();
  return (line) => {
    const [, layer, state = ""] = /^([0-9a-f]{12}): (.*)$/.exec(line) ?? [];
    if (layer === undefined) return undefined;
    layers.set(layer, DONE.test(state));
    return [...layers.values()].filter(Boolean).length / layers.size;
  };
}

/** The `docker` command, as far as publishing needs it. */
export type DockerCommand = {
  /** Faults: NOT_PERMITTED, REGISTRY_UNREACHABLE. */
  login(registry: string, key: string): Promise<void>;
  /** Faults: IMAGE_BUILD_FAILED with its log tail. */
  build(folder: string, tag: string, platform: string | undefined, onLine: LineHandler): Promise<void>;
  tag(from: string, to: string): Promise<void>;
  /** Faults: IMAGE_PUSH_FAILED with its log tail. */
  push(tag: string, onLine: LineHandler): Promise<void>;
};

type LineHandler = (line: string) => void;

const ASK_MS = 60_000;
/** Images with large models, pushed over slow lines. */
const WORK_MS = 2 * 3_600_000;
const LAST_LINES = 20;

/**
 * Logs in with the configuration folder `config`, so that the user's own logins stay. Builds with the user's configuration, because private base images
 * may need it. `env` is the user's; berth's secrets are removed. Faults: ENGINE_UNREACHABLE without the command or an engine.
 */
export async function createDockerCommand(deps: {
  env: NodeJS.ProcessEnv;
  config: string;
  clock: Clock;
  signal: AbortSignal;
}): Promise<DockerCommand> {
  const { clock, signal } = deps;
  const env = Object.fromEntries(Object.entries(deps.env).filter(([name]) => !name.startsWith("BERTH_")));
  mkdirSync(deps.config, { recursive: true, mode: 0o700 });

  const run = (
    args: string[],
    how: { env?: NodeJS.ProcessEnv; input?: string; onLine?: LineHandler; ms?: number; code: FaultCode; failed: string },
  ) =>
    new Promise<string>((resolve, reject) => {
      const { ms = ASK_MS, onLine, failed, code } = how;
      const overdue = () => new Fault(code, `${failed}: docker did not end within ${ms / 1_000} s.`);
      const deadline = openDeadline({ clock, ms, overdue, signal });
      const { signal: until } = deadline;
      const child = spawn("docker", args, { env: { ...env, ...how.env }, stdio: ["pipe", "pipe", "pipe"], signal: until });
      const last: string[] = [];
      let out = "";
      for (const stream of [child.stdout, child.stderr]) {
        let rest = "";
        const take = (lines: readonly string[]) => {
          for (const line of lines.filter((one) => one.trim() !== "")) {
            last.push(line);
            if (last.length > LAST_LINES) last.shift();
            onLine?.(line);
          }
        };
        stream.setEncoding("utf8").on("data", (piece: string) => {
          if (stream === child.stdout && onLine === undefined) out += piece;
          const lines = (rest + piece).split(/[\r\n]+/);
          rest = lines.pop() ?? "";
          take(lines);
        });
        // The last line may have no end, such as the error of BuildKit.
        stream.once("end", () => take([rest]));
      }
      const end = (act: () => void) => {
        act();
        deadline.close();
      };
      // The deadline also ends a program that did not start.
      child.on("error", (cause: NodeJS.ErrnoException) =>
        end(() => {
          if (until.aborted && signal.aborted) reject(signal.reason as Error);
          else if (until.aborted) reject(until.reason as Error);
          else if (cause.code === "ENOENT")
            reject(new Fault("ENGINE_UNREACHABLE", "There is no docker command on the PATH: images are built by Docker.", { cause }));
          else reject(new Fault(code, `${failed}: ${cause.message}.`, { cause }));
        }),
      );
      child.once("close", (status) =>
        end(() => (status === 0 ? resolve(out) : reject(new Fault(code, `${failed}; docker's log tail:`, { logs: last })))),
      );
      child.stdin.on("error", () => undefined).end(how.input ?? "");
    });

  const unreachable = { code: "ENGINE_UNREACHABLE", failed: "The Docker engine cannot be used" } as const;
  await run(["version", "--format", "{{.Server.Version}}"], unreachable);
  // The engine of the user's context, which the separate configuration does not have.
  const engine = env["DOCKER_HOST"] ?? (await run(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], unreachable)).trim();
  const own = { DOCKER_CONFIG: deps.config, ...(engine === "" ? {} : { DOCKER_HOST: engine }) };

  return {
    login: async (registry, key) => {
      const failed = `The registry ${registry} cannot be signed in to`;
      const login = run(["login", registry, "-u", "any", "--password-stdin"], { env: own, input: key, code: "REGISTRY_UNREACHABLE", failed });
      await login.catch((error: unknown) => {
        if (error instanceof Fault && /unauthorized|denied|incorrect username/i.test(error.logs?.join("\n") ?? ""))
          throw new Fault("NOT_PERMITTED", `The registry ${registry} does not accept this developer key.`, { cause: error });
        throw error;
      });
    },
    build: async (folder, tag, platform, onLine) => {
      const failed = `${tag} cannot be built`;
      const args = ["build", ...(platform === undefined ? [] : ["--platform", platform]), "-t", tag, folder];
      await run(args, { onLine, ms: WORK_MS, code: "IMAGE_BUILD_FAILED", failed });
    },
    tag: async (from, to) => void (await run(["tag", from, to], { code: "IMAGE_BUILD_FAILED", failed: `${from} cannot be tagged` })),
    push: async (tag, onLine) => {
      await run(["push", tag], { env: own, onLine, ms: WORK_MS, code: "IMAGE_PUSH_FAILED", failed: `${tag} cannot be pushed` });
    },
  };
}
