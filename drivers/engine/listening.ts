import { readFile } from "node:fs/promises";
import type Docker from "dockerode";
import type { Listeners } from "../driver.ts";
import { LONGEST_SOCKET_TABLE, parseListening, readSocketTables } from "../listening.ts";
import type { Engine } from "./engine.ts";
import { undefinedOn } from "./faults.ts";
import { inspectOwn } from "./reach.ts";
import { demux } from "./streams.ts";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];
/** `cat` needs a hundredth of it. */
const HELPER_BYTES = 32 * 1024 * 1024;

/** The engine's name server, which it puts into each container. */
const NAME_SERVER = "127.0.0.11";

/**
 * On which addresses a container of this engine listens. Where berth sees the processes of the engine's machine, it reads the kernel's tables there. Else a
 * container of berth's own image in the network of that container reads them, and where berth runs in no container, the image's own `cat`. Undefined if it
 * does not run here, or none of it can.
 */
export async function containerListeners(engine: Engine, id: string, signal: AbortSignal): Promise<Listeners | undefined> {
  const call = { doing: `Inspecting ${id}`, signal };
  const container = await undefinedOn([404], () => engine.call(call, (docker, abortSignal) => docker.getContainer(id).inspect({ abortSignal })));
  if (!container?.State.Running) return undefined;
  const text =
    (await readOnThisMachine(id, container.State.Pid)) ??
    (await readByHelper(engine, id, (await inspectOwn(engine, signal))?.Image, signal)) ??
    (await readInside(engine, id, signal));
  const sockets = text === undefined ? undefined : parseListening(text)?.filter(({ host }) => host !== NAME_SERVER);
  return sockets && { sockets };
}

/** Another machine, or berth's own container, has other processes of the same number: the control group has the container's id. */
async function readOnThisMachine(id: string, pid: number): Promise<string | undefined> {
  const groups = pid > 0 ? await readFile(`/proc/${pid}/cgroup`, "latin1").catch(() => "") : "";
  return groups.includes(id) ? readSocketTables(pid) : undefined;
}

/** The engine removes the helper when it has ended. `image` must have `cat`. */
export async function readByHelper(engine: Engine, id: string, image: string | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (image === undefined) return undefined;
  const body = {
    Image: image,
    Entrypoint: ["cat"],
    Cmd: TABLES,
    User: "65534",
    Healthcheck: { Test: ["NONE"] },
    HostConfig: {
      NetworkMode: `container:${id}`,
      AutoRemove: true,
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Memory: HELPER_BYTES,
      PidsLimit: 16,
      LogConfig: { Type: "none", Config: {} },
    },
  };
  return readOutput(engine, `Reading the sockets of ${id}`, signal, async (docker, abortSignal) => {
    const helper = await docker.createContainer({ ...body, abortSignal });
    try {
      const output = await helper.attach({ stream: true, stdout: true, abortSignal });
      await helper.start({ abortSignal });
      return output;
    } catch (error) {
      await helper.remove({ force: true }).catch(() => {});
      throw error;
    }
  });
}

/** By the image's own `cat`, if it has one. */
export async function readInside(engine: Engine, id: string, signal: AbortSignal): Promise<string | undefined> {
  return readOutput(engine, `Reading the sockets of ${id}`, signal, async (docker, abortSignal) => {
    const exec = await docker.getContainer(id).exec({ Cmd: ["cat", ...TABLES], AttachStdout: true, abortSignal });
    return exec.start({ hijack: false, stdin: false, abortSignal });
  });
}

/** It only helps an explanation: a refusal of the engine, or an image without `cat`, is no failure. */
async function readOutput(
  engine: Engine,
  doing: string,
  signal: AbortSignal,
  run: (docker: Docker, signal: AbortSignal) => Promise<NodeJS.ReadableStream>,
): Promise<string | undefined> {
  try {
    return await engine.call({ doing, signal }, async (docker, abortSignal) => {
      const stream = await run(docker, abortSignal);
      const stop = () => (stream as unknown as { destroy(): void }).destroy();
      abortSignal.addEventListener("abort", stop, { once: true });
      try {
        let text = "";
        for await (const piece of demux(stream as unknown as AsyncIterable<Buffer>)) {
          text += piece;
          if (text.length >= LONGEST_SOCKET_TABLE) break;
        }
        return text.includes("local_address") ? text : undefined;
      } finally {
        abortSignal.removeEventListener("abort", stop);
        stop();
      }
    });
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
