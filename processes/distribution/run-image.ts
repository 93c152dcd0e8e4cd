import { once } from "node:events";
import { systemClock } from "../../lib/clock.ts";
import { demux } from "../../drivers/engine/streams.ts";
import { openEngine } from "../../drivers/engine/engine.ts";
import { pull, localImage } from "../../drivers/engine/images.ts";
import { parseReference } from "../../drivers/image.ts";
import { Fault } from "../../lib/fault.ts";
import { DISTRIBUTION_ENDS_MS, type ImageRun } from "./distribution-program.ts";

const OWNER = "berth.registry";
const WORDS = "berth.registry.words";
/** The parent kills this process after that time: the container has to end before. */
const STOP_SECONDS = DISTRIBUTION_ENDS_MS / 1_000 - 1;

/**
 * Distribution as an image on a Docker engine of this machine, run as the program itself would be: its output is ours, SIGTERM stops it. What an
 * earlier run with the same words left behind is removed first; without words, all that any left. Answers with the code to end with, as it does.
 */
export async function runImage([given = "{}", ...words]: readonly string[]): Promise<number> {
  const { image, engine: at, owner, mounts, hasNetwork = false } = JSON.parse(given) as ImageRun;
  const engine = openEngine(at, systemClock());
  const stopRequested = new AbortController();
  process.on("SIGTERM", () => stopRequested.abort(new Fault("REGISTRY_FAILED", "The registry was stopped before it ran.")));
  try {
    await clear();
    return words.length > 0 ? await run() : 0;
  } catch (error) {
    console.error(error instanceof Fault ? error.message : error);
    return 1;
  } finally {
    engine.close();
  }

  async function clear(): Promise<void> {
    const label = [`${OWNER}=${owner}`, ...(words.length === 0 ? [] : [`${WORDS}=${words.join(" ")}`])];
    const doing = "Looking for what an earlier registry left behind";
    const left = await engine.call({ doing }, (docker) => docker.listContainers({ all: true, filters: { label } }));
    for (const { Id } of left) await engine.call({ doing }, (docker) => docker.getContainer(Id).remove({ force: true, v: true }));
  }

  async function run(): Promise<number> {
    const doing = `Running the registry's image ${image}`;
    const named = parseReference(image);
    if (named.kind === "name" && !(await localImage(engine, image, stopRequested.signal))) await pull(engine, named, stopRequested);
    const container = await engine.call({ doing, kind: "start" }, (docker) =>
      docker.createContainer(definition({ image, owner, mounts, hasNetwork }, words)),
    );
    try {
      const output = await engine.call({ doing }, () => container.attach({ stream: true, stdout: true, stderr: true }));
      stopRequested.signal.throwIfAborted();
      await engine.call({ doing, kind: "start" }, () => container.start());
      const stop = () => void container.stop({ t: STOP_SECONDS }).catch(() => {});
      stopRequested.signal.addEventListener("abort", stop);
      if (stopRequested.signal.aborted) stop();
      for await (const text of demux(output as AsyncIterable<Buffer> & NodeJS.ReadWriteStream))
        if (!process.stdout.write(text)) await once(process.stdout, "drain");
      const { StatusCode } = (await container.wait()) as { StatusCode: number };
      return StatusCode;
    } finally {
      await engine.call({ doing }, () => container.remove({ force: true, v: true }));
    }
  }
}

/** It runs as this user, who then owns its files and its socket. */
function definition({ image, owner, mounts, hasNetwork }: Omit<ImageRun, "engine">, words: string[]) {
  return {
    Image: image,
    Cmd: words,
    User: `${process.getuid?.()}:${process.getgid?.()}`,
    Env: ["OTEL_TRACES_EXPORTER=none"],
    Labels: { [OWNER]: owner, [WORDS]: words.join(" ") },
    HostConfig: {
      NetworkMode: hasNetwork === true ? "host" : "none",
      // What it says is in our log already.
      LogConfig: { Type: "none", Config: {} },
      Mounts: mounts.map((folder) => ({ Type: "bind" as const, Source: folder, Target: folder })),
    },
  };
}

/** As a process of its own, this file is the program. */
if (import.meta.main) void runImage(process.argv.slice(2)).then((code) => (process.exitCode = code));
