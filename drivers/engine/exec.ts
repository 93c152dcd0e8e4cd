import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Duplex } from "node:stream";
import type Docker from "dockerode";
import type { ExecOptions, ExecSession, TerminalSize } from "../driver.ts";
import { createMark, endMarkedScript, type ExecMark } from "../exec.ts";
import type { Engine } from "./engine.ts";
import { engineFault, undefinedOn } from "./faults.ts";
import { type EngineFrame, readFrames } from "./streams.ts";

/** The engine learns the exit code shortly after it has closed the streams. */
const EXIT_TRIES = 50;
const EXIT_RETRY_MS = 100;
/** Of the script that ends what is left. */
const END_MS = 5_000;

/** Runs a command in a container of this engine. Undefined if the container does not run. Faults: those of the engine. */
export async function openExec(
  engine: Engine,
  id: string,
  { command, terminal }: ExecOptions,
  signal: AbortSignal,
): Promise<ExecSession | undefined> {
  const doing = `Running a command in ${id}`;
  const mark = createMark();
  const variable = `${mark.variable}=${mark.value}`;
  const exec = await undefinedOn([404, 409], () =>
    engine.call({ doing, signal }, (docker, abortSignal) =>
      docker.getContainer(id).exec({
        Cmd: [...command],
        Env: terminal ? [variable, "TERM=xterm-256color"] : [variable],
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        Tty: terminal !== undefined,
        ...(terminal ? { ConsoleSize: [terminal.rows, terminal.columns] } : {}),
        abortSignal,
      }),
    ),
  );
  if (exec === undefined) return undefined;
  const stream = await undefinedOn([404, 409], () =>
    engine.call({ doing, signal }, (_docker, abortSignal) => exec.start({ hijack: true, stdin: true, Tty: terminal !== undefined, abortSignal })),
  );
  if (stream === undefined) return undefined;
  return createSession(engine, { id, exec, stream, mark, terminal });
}

type OpenedExec = { id: string; exec: Docker.Exec; stream: Duplex; mark: ExecMark; terminal: TerminalSize | undefined };

function createSession(engine: Engine, { id, exec, stream, mark, terminal }: OpenedExec): ExecSession {
  const inspect = (doing: string) => engine.call({ doing }, (_docker, abortSignal) => exec.inspect({ abortSignal }));
  let broken: Error | undefined;
  let isClosed = false;
  const chunks = { [Symbol.asyncIterator]: () => stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer> } as AsyncIterable<Buffer>;
  // Listened to from the first moment: the connection may break before it is read.
  stream.on("error", (error) => (broken = error));
  return {
    output: terminal ? readTerminal(chunks) : readFrames(chunks),
    write: async (bytes) => {
      if (stream.destroyed || stream.writableEnded || stream.write(bytes)) return;
      // What is still listened to after that would stay as long as the command, once for each write.
      const settled = new AbortController();
      const { signal } = settled;
      await Promise.race([once(stream, "drain", { signal }), once(stream, "close", { signal })]).catch(() => undefined);
      settled.abort();
    },
    endInput: () => {
      // A terminal that loses its input loses its output as well.
      if (!terminal) stream.end();
    },
    resize: async ({ columns, rows }) => {
      if (!terminal) return;
      // The command may have ended meanwhile.
      await engine.call({ doing: `Resizing the terminal in ${id}` }, () => exec.resize({ w: columns, h: rows })).catch(() => undefined);
    },
    exitCode: async () => {
      for (let tries = 0; tries < EXIT_TRIES; tries++) {
        const { Running, ExitCode } = await inspect(`Inspecting a command in ${id}`);
        if (!Running) return ExitCode ?? undefined;
        // Its connection is gone, and not the command.
        if (broken) throw engineFault(broken, "control", `Running a command in ${id}`);
        await engine.clock.sleep(EXIT_RETRY_MS);
      }
      return undefined;
    },
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      if (stream.readableEnded) return void stream.destroy();
      try {
        // Before the connection ends: after it the engine says that the command has ended, although it still runs.
        const { Running, Pid } = await inspect(`Inspecting a command in ${id}`);
        if (Running && !(await hangUp(id, Pid))) await endMarked(engine, id, mark);
      } catch {
        // With its container the command is gone too. Without an engine nothing can be ended.
      } finally {
        stream.destroy();
      }
    },
  };
}

async function* readTerminal(chunks: AsyncIterable<Buffer>): AsyncGenerator<EngineFrame> {
  for await (const bytes of chunks) yield { stream: "stdout", bytes };
}

/** Where berth sees the processes of the engine's machine and may end them. The control group has the container's id: elsewhere another process has this number. */
async function hangUp(id: string, pid: number): Promise<boolean> {
  try {
    if (pid <= 0 || !(await readFile(`/proc/${pid}/cgroup`, "latin1")).includes(id)) return false;
    process.kill(pid, "SIGHUP");
    return true;
  } catch {
    return false;
  }
}

/** An image without a shell and `grep` keeps the command until its container stops. */
async function endMarked(engine: Engine, id: string, mark: ExecMark): Promise<void> {
  await engine.call({ doing: `Ending a command in ${id}`, ms: END_MS }, async (docker, abortSignal) => {
    const helper = await docker.getContainer(id).exec({ Cmd: ["sh", "-c", endMarkedScript(mark)], AttachStdout: true, abortSignal });
    const output = await helper.start({ hijack: false, stdin: false, abortSignal });
    output.resume();
    await once(output, "close", { signal: abortSignal });
  });
}
