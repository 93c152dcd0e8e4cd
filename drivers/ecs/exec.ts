import { withTimeout } from "../../lib/deadline.ts";
import type { ExecOptions, ExecSession, TerminalSize } from "../driver.ts";
import { createMark, endMarkedScript, type ExecMark } from "../exec.ts";
import { advisedFault } from "../faults.ts";
import { containerName, readTags } from "./definition.ts";
import { type DataChannel, openDataChannel, PAYLOADS } from "./data-channel.ts";
import { isNotConnected } from "./faults.ts";
import { findService, findTasks, runs, tasksOf } from "./observe.ts";
import type { EcsSite } from "./site.ts";

/** The agent of a task connects some seconds after the start of the task. */
const AGENT_TRIES = 9;
const AGENT_RETRY_MS = 1_000;
/** Of the command that ends what is left. */
const END_MS = 8_000;
/** What is written before the script has begun: an error, at most a few lines. */
const MOST_BEFORE_START = 65_536;
/** Of a line that `pipeScript` writes: base64 of 24,576 bytes at most, where an image's base64 breaks no lines. */
const MOST_LINE = 65_536;
/** Of input, in one frame: a multiple of 3, so that base64 has no padding before its end. */
const FRAME_BYTES = 48_000;
/** A terminal takes lines of at most 4,095 bytes. */
const LINE_CHARACTERS = 4_000;

/** All processes of a command have the mark in their environment, and this shell too. */
function startScript({ variable, value }: ExecMark): string {
  return `export ${variable}=${value}; exec /bin/sh "$@"`;
}

/**
 * ECS runs each command in a terminal, whose output is made UTF-8, and tells no exit code. So a shell runs it: it says when it has begun, and tells the
 * exit code at the end, as `\x1e<mark>:<code>\x1e`.
 */
function terminalScript({ value }: ExecMark, { columns, rows }: TerminalSize): string {
  return `stty cols ${columns} rows ${rows} 2>/dev/null; echo "+${value}"; trap : INT QUIT; "$@"; printf '\\036${value}:%d\\036' $?`;
}

/** What `pipeScript` needs of an image. `dd` reads one line of a terminal at a time. */
const PROGRAMS = ["stty", "dd", "base64"];

/**
 * A command without a terminal gets pipes. Input comes in frames: a number of lines, and these in base64; `.` ends it. Output goes in lines: `1` or `2` for
 * its stream and base64, `1.` or `2.` at the stream's end, and `=` with the exit code.
 */
function pipeScript({ value }: ExecMark): string {
  return [
    `for p in ${PROGRAMS.join(" ")}; do command -v $p >/dev/null 2>&1 || { echo "!$p"; exit 127; }; done`,
    `stty -echo -onlcr; echo "+${value}"; exec 3>&1`,
    `e() { while x=$(dd bs=24576 count=1 2>/dev/null | base64) && [ -n "$x" ]; do for l in $x; do echo "$1$l"; done; done; echo "$1."; }`,
    `d() { while read -r n && [ "$n" != . ]; do dd bs=4096 count="$n" 2>/dev/null | base64 -d 2>/dev/null; done; }`,
    `{ d 4>&- | { "$@" 2>&4 3>&- 4>&-; echo "=$?" >&3; } | e 1 >&3 4>&-; } 4>&1 | e 2 >&3`,
  ].join("\n");
}

/** Runs a command in the service's task. Undefined if it does not run. Faults: those of AWS, EXEC_UNAVAILABLE. */
export async function openExec(
  site: EcsSite,
  service: string,
  { command, terminal }: ExecOptions,
  signal: AbortSignal,
): Promise<ExecSession | undefined> {
  const mark = createMark();
  const script = terminal ? terminalScript(mark, terminal) : pipeScript(mark);
  const words = ["/bin/sh", "-c", startScript(mark), "sh", "-c", script, "sh", ...command];
  const channel = await startCommand(site, service, words, signal);
  if (!channel) return undefined;
  const closeEarly = () => channel.close();
  signal.addEventListener("abort", closeEarly);
  try {
    const rest = await awaitStart(channel, service, mark);
    signal.throwIfAborted();
    const place = { site, service, channel, mark };
    return terminal ? createTerminalSession(place, rest) : createPipeSession(place, rest);
  } catch (error) {
    channel.close();
    if (signal.aborted) await endMarked(site, service, mark);
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", closeEarly);
  }
}

type ExecPlaceInTask = { site: EcsSite; service: string; channel: DataChannel; mark: ExecMark };

/** Waits for the agent of a task that has just started. */
async function startCommand(site: EcsSite, service: string, command: readonly string[], signal: AbortSignal): Promise<DataChannel | undefined> {
  const { aws, clock } = site;
  for (let tries = 1; ; tries++) {
    const holder = await findService(aws, service, signal);
    if (!holder || !readTags(holder.tags)) return undefined;
    const task = (await tasksOf(aws, holder, signal)).find(runs);
    const { taskArn } = task ?? {};
    if (!task || taskArn === undefined) return undefined;
    if (task.enableExecuteCommand !== true) {
      const sentence = `${service} was started without ECS Exec, before BERTH_SHELL and BERTH_ECS_SHELL_ROLE were set`;
      throw advisedFault("EXEC_UNAVAILABLE", sentence, { todo: "Stop it and start it again." });
    }
    try {
      const request = { task: taskArn, container: containerName({ service }), interactive: true, command: command.map(quote).join(" ") };
      const { session = {} } = await aws.executeCommand(request, signal);
      const isRunning = async () => (await findTasks(aws, [taskArn], undefined)).some(runs);
      return await openDataChannel(session, { clock, doing: `Running a command in ${service}`, isRunning, signal });
    } catch (error) {
      if (!isNotConnected(error) || tries === AGENT_TRIES) throw error;
    }
    await clock.sleep(AGENT_RETRY_MS, signal);
  }
}

/** The agent splits the command as a shell does. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Returns what came behind the script's first line. Faults: EXEC_UNAVAILABLE if there is none. */
async function awaitStart(channel: DataChannel, service: string, { value }: ExecMark): Promise<Buffer> {
  let shown = "";
  while (shown.length < MOST_BEFORE_START) {
    const { value: bytes } = (await channel.output.next()) as IteratorResult<Buffer, undefined>;
    if (!bytes) break;
    shown += bytes.toString("latin1");
    const [line, ...rest] = shown.split(`+${value}`)[1]?.split("\n") ?? [];
    if (line !== undefined && rest.length > 0) return Buffer.from(rest.join("\n"), "latin1");
    const missing = /^!(\w+)\r?\n/m.exec(shown)?.[1];
    if (missing === undefined) continue;
    const todo = "Run it with a terminal: berth exec -t.";
    throw advisedFault("EXEC_UNAVAILABLE", `ECS gives commands only a terminal, and the image of ${service} has no \`${missing}\` to do without`, {
      todo,
    });
  }
  const end = channel.end();
  if (end?.fault) throw end.fault;
  const why = `${end?.message ?? ""} ${shown}`.replace(/\s+/g, " ").trim().slice(0, 400);
  const todo = "On ECS berth runs commands through /bin/sh: an image without it has no shells.";
  throw advisedFault("EXEC_UNAVAILABLE", `ECS ran no command in ${service}: ${why || "its session ended without a reason"}`, { todo });
}

/** What both kinds of session have. `exit` is set when the command has ended. */
function createSessionEnd({ site, service, channel, mark }: ExecPlaceInTask, exit: { code: number | undefined }) {
  let isClosed = false;
  return {
    exitCode: async () => {
      const fault = channel.end()?.fault;
      // Its connection is gone, and not the command.
      if (exit.code === undefined && fault) throw fault;
      return exit.code;
    },
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      const end = channel.end();
      // AWS keeps a command whose client has left for 20 minutes.
      if (exit.code === undefined && (!end || end.fault)) await endMarked(site, service, mark);
      channel.close();
    },
  };
}

function createTerminalSession(place: ExecPlaceInTask, rest: Buffer): ExecSession {
  const { channel, mark } = place;
  const exit: { code: number | undefined } = { code: undefined };
  const exitMark = new RegExp(`\\x1e${mark.value}:(\\d{1,3})\\x1e`);
  /** What may become it with more output. */
  const partOfMark = new RegExp(`\\x1e[^\\x1e]{0,${mark.value.length + 4}}$`);
  const shown = (text: string) => ({ stream: "stdout" as const, bytes: Buffer.from(text, "latin1") });
  async function* readTerminal() {
    let held = rest.toString("latin1");
    for (;;) {
      const ending = exitMark.exec(held);
      if (ending) exit.code = Number(ending[1]);
      const until = (ending ?? partOfMark.exec(held))?.index ?? held.length;
      if (until > 0) yield shown(held.slice(0, until));
      held = held.slice(until);
      if (ending) return;
      const { value: bytes } = (await channel.output.next()) as IteratorResult<Buffer, undefined>;
      if (!bytes) break;
      held += bytes.toString("latin1");
    }
    if (held !== "") yield shown(held);
  }
  return {
    output: readTerminal(),
    write: (bytes) => channel.send(PAYLOADS.output, bytes),
    // A terminal's input has no end.
    endInput: () => {},
    resize: ({ columns, rows }) => channel.send(PAYLOADS.size, Buffer.from(JSON.stringify({ cols: columns, rows }))),
    ...createSessionEnd(place, exit),
  };
}

function createPipeSession(place: ExecPlaceInTask, rest: Buffer): ExecSession {
  const { channel } = place;
  const exit: { code: number | undefined } = { code: undefined };
  const input = { isOver: false, sent: Promise.resolve() };
  const send = (text: string) => (input.sent = input.sent.then(() => channel.send(PAYLOADS.output, Buffer.from(text))));
  const endInput = () => {
    if (input.isOver) return;
    input.isOver = true;
    void send(".\n");
  };
  async function* readStreams() {
    const ended = new Set<string>();
    let held = rest.toString("latin1");
    for (;;) {
      const lines = held.split(/\r?\n/);
      held = lines.pop() ?? "";
      for (const [kind, rows] of byKind(lines)) {
        if (kind === "=") {
          exit.code = Number(rows[0]);
          // The script reads its terminal until then.
          endInput();
        } else {
          if (rows.includes(".")) ended.add(kind);
          const bytes = Buffer.concat(rows.map((row) => Buffer.from(row === "." ? "" : row, "base64")));
          if (bytes.length > 0) yield { stream: kind === "1" ? ("stdout" as const) : ("stderr" as const), bytes };
        }
      }
      if (exit.code !== undefined && ended.size === 2) return;
      // Any program in the container may write to the terminal, without an end of line.
      if (held.length > MOST_LINE)
        throw advisedFault("EXEC_UNAVAILABLE", "The command wrote to its terminal past its pipes", {
          todo: "Run it with a terminal: berth exec -t.",
        });
      const { value: bytes } = (await channel.output.next()) as IteratorResult<Buffer, undefined>;
      if (!bytes) return;
      held += bytes.toString("latin1");
    }
  }
  return {
    output: readStreams(),
    write: async (bytes) => {
      for (let at = 0; at < bytes.length && !input.isOver; at += FRAME_BYTES) {
        const text = Buffer.from(bytes.subarray(at, at + FRAME_BYTES)).toString("base64");
        const lines = text.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, "g")) ?? [];
        await send(`${lines.length}\n${lines.join("\n")}\n`);
      }
    },
    endInput,
    // It has no terminal of its own.
    resize: async () => {},
    ...createSessionEnd(place, exit),
  };
}

/** Neighbouring lines of one kind, without their first character, together. */
function byKind(lines: readonly string[]): [kind: string, rows: string[]][] {
  const groups: [string, string[]][] = [];
  for (const line of lines) {
    const [kind = ""] = line;
    if (!"12=".includes(kind) || kind === "") continue;
    const last = groups.at(-1);
    if (last?.[0] === kind) last[1].push(line.slice(1));
    else groups.push([kind, [line.slice(1)]]);
  }
  return groups;
}

/** An image without `grep` keeps the command until its container stops, or until AWS ends the session for idleness. */
async function endMarked(site: EcsSite, service: string, mark: ExecMark): Promise<void> {
  const overdue = () => advisedFault("ENGINE_UNREACHABLE", `Ending a command in ${service} took more than ${END_MS / 1_000} s`);
  const task = async (signal: AbortSignal) => {
    const channel = await startCommand(site, service, ["/bin/sh", "-c", endMarkedScript(mark)], signal);
    if (!channel) return;
    signal.addEventListener("abort", () => channel.close());
    for await (const _ of channel.output) void _;
    channel.close();
  };
  await withTimeout({ clock: site.clock, ms: END_MS, overdue }, task).catch((error: unknown) =>
    site.log.debug({ service, err: error }, "command of a shell not ended"),
  );
}
