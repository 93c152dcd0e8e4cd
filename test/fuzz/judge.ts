import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { HeaderLine } from "../../gateway/decision.ts";
import type { ReadMessage } from "../gateway/http1/read-stream.ts";

export type Stream = { kind: keyof typeof KINDS; methods: readonly string[]; sent: Buffer };

/** h11 in a process of its own: what it sees in streams, as text that `written` gives for what is expected. */
export type Judge = { judge(streams: readonly Stream[]): Promise<string[]>; close(): Promise<void> };

const KINDS = { requests: 0, responses: 1, responsesThatEnd: 2, requestsOfClient: 3 };

/** Needs Debian's python3-h11, which the system's own Python finds. */
export function openJudge(): Judge {
  const child = spawn("/usr/bin/python3", [join(import.meta.dirname, "h11-judge.py")], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const pieces = child.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let held: Buffer = Buffer.alloc(0);
  const take = async (size: number): Promise<Buffer> => {
    const received = [held];
    let length = held.length;
    while (length < size) {
      const { value, done } = await pieces.next();
      if (done === true) throw new Error("h11 has ended");
      received.push(value);
      length += value.length;
    }
    const all = Buffer.concat(received);
    held = all.subarray(size);
    return all.subarray(0, size);
  };
  return {
    async judge(streams) {
      const questions = streams.flatMap(({ kind, methods, sent }) => {
        const names = Buffer.from(methods.join(" "), "latin1");
        return [Buffer.from([KINDS[kind]]), size(names), names, size(sent), sent];
      });
      child.stdin.write(Buffer.concat([size(Buffer.alloc(streams.length)), ...questions]));
      const total = (await take(4)).readUInt32LE();
      const answers = await take(total);
      const judged: string[] = [];
      for (let at = 0; at < answers.length;) {
        const length = answers.readUInt32LE(at);
        judged.push(answers.toString("latin1", at + 4, at + 4 + length));
        at += 4 + length;
      }
      return judged;
    },
    async close() {
      child.stdin.end();
      await exited;
    },
  };
}

/** A message as h11 has read it: `first` is its method or status, `second` its target or reason. */
export type JudgedMessage = { first: string; second: string; lines: string; body: string; complete: boolean };

/** The messages in what `judge` gives; an error's words behind them are left out. */
export function parseJudged(text: string): JudgedMessage[] {
  const messages: JudgedMessage[] = [];
  let at = 0;
  const take = (): string | undefined => {
    const colon = text.indexOf(":", at);
    const length = /^\d+$/.test(text.slice(at, colon)) ? Number(text.slice(at, colon)) : -1;
    if (colon === -1 || length === -1 || colon + 1 + length > text.length) return undefined;
    at = colon + 1 + length;
    return text.slice(colon + 1, at);
  };
  for (;;) {
    const [first, second, lines, body, trailers, complete] = [take(), take(), take(), take(), take(), take()];
    if (first === undefined || second === undefined || lines === undefined || body === undefined || trailers === undefined || complete === undefined)
      return messages;
    messages.push({ first, second, lines, body, complete: complete === "1" });
  }
}

function size(bytes: Buffer): Buffer {
  const written = Buffer.alloc(4);
  written.writeUInt32LE(bytes.length);
  return written;
}

/** As h11-judge.py writes what it saw. */
export function written(seen: readonly ReadMessage[]): string {
  return seen
    .map((message) =>
      [message.method, message.target, lines(message.lines), message.body, lines(message.trailers), message.complete ? "1" : "0"].map(field).join(""),
    )
    .join("");
}

function lines(all: readonly HeaderLine[]): string {
  // h11 shows a coding in lower case.
  return all.map(([name, value]) => field(name) + field(name.toLowerCase() === "transfer-encoding" ? value.toLowerCase() : value)).join("");
}

function field(text: string): string {
  return `${text.length}:${text}`;
}
