import { spawn } from "node:child_process";

/** How a program ended, and what it wrote, both streams together. */
export type Ran = { code: number | null; output: string };

const LONGEST_MS = 120_000;

/** Runs a program to its end, with `input` as what it reads. */
export function run(program: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; input?: string } = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, ...options.env }, stdio: ["pipe", "pipe", "pipe"], timeout: LONGEST_MS });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => void (output += piece));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
    child.stdin.on("error", () => undefined).end(options.input ?? "");
  });
}
