import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { Clock } from "../../lib/clock.ts";
import { openDeadline } from "../../lib/deadline.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";

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
        stream.setEncoding("utf8").on("data", (piece: string) => {
          if (stream === child.stdout && onLine === undefined) out += piece;
          const lines = (rest + piece).split(/[\r\n]+/);
          rest = lines.pop() ?? "";
          for (const line of lines.filter((one) => one.trim() !== "")) {
            last.push(line);
            if (last.length > LAST_LINES) last.shift();
            onLine?.(line);
          }
        });
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
