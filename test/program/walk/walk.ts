import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { chromium } from "playwright-core";
import { CHROMIUM } from "../../fixtures/chromium.ts";
import { workingIn } from "../../fixtures/processes.ts";

const ROOT = join(import.meta.dirname, "../../..");
/** What a fresh clone does not have. */
const LEFT_OUT = new Set(["node_modules", ".git", ".berth", ".tap", "dist", "coverage"]);
/** An install by a slow network. */
const START_MS = 600_000;
const STEP_MS = 120_000;

export type WalkStep = { step: string; seconds: number; shown: string };
export type WalkOptions = {
  /** An empty folder. */
  folder: string;
  /** Has `npm start` install its packages, as on a newcomer's machine; else it finds those of this tree. */
  install: boolean;
  signal: AbortSignal;
  /** Called after each step. */
  onStep?(step: WalkStep): void;
};

/**
 * What a newcomer does from the README, in a fresh copy of this tree: `npm start`, the console in a browser, a first package that is written, published, called,
 * read and removed. Each step fails unless its result is seen. Without Docker.
 */
export async function walk({ folder, install, signal, onStep }: WalkOptions): Promise<WalkStep[]> {
  const clone = join(folder, "berth");
  cpSync(ROOT, clone, {
    recursive: true,
    filter: (path) =>
      !relative(ROOT, path)
        .split("/")
        .some((part) => LEFT_OUT.has(part)),
  });
  if (!install) symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));
  const bare = Object.entries(process.env).filter(([name]) => !/^(BERTH|GROK|TAP|DOCKER|npm)_/.test(name));
  const env = { ...Object.fromEntries(bare), HOME: process.env["HOME"], BERTH_EDGE_PORT: "0", BERTH_CONSOLE_PORT: "0" };
  const steps: WalkStep[] = [];
  const take = async <T>(step: string, act: () => Promise<{ shown: string; value: T }>): Promise<T> => {
    signal.throwIfAborted();
    const began = performance.now();
    const { shown, value } = await act();
    const taken = { step, seconds: Math.round((performance.now() - began) / 100) / 10, shown };
    steps.push(taken);
    onStep?.(taken);
    return value;
  };
  const type = (step: string, command: string, expected: RegExp) =>
    take(step, async () => {
      const output = await runShell(command, clone, env, signal);
      const [shown = ""] = expected.exec(output) ?? [];
      if (shown === "") throw new Error(`${command}\nprinted no ${expected}:\n${output}`);
      return { shown, value: output };
    });

  const demo = startDemo(clone, env, signal);
  try {
    const banner = await take("`npm start` prints the console's address and the key", async () => {
      const text = await demo.until(/berth stops the container after/);
      return { shown: /^Console: +(\S+)/m.exec(text)?.[1] ?? "", value: text };
    });
    const key = /admin"\. Its developer key.*\n +(\S+)/.exec(banner)?.[1] ?? "";
    const consoleUrl = /^Console: +(\S+)/m.exec(banner)?.[1] ?? "";
    const edge = /^Edge: +(\S+)/m.exec(banner)?.[1] ?? "";
    await type("the pasted `curl` starts the demo", /^ {2}(curl .*)$/m.exec(banner)?.[1] ?? "", /\{"result":16\}/);
    await using page = await openPage();
    await take("the console signs in and lists it", async () => {
      await page.goto(consoleUrl);
      await page.getByLabel("Developer key").fill(key);
      await page.keyboard.press("Enter");
      await page.getByRole("link", { name: "demo-square", exact: true }).first().waitFor({ timeout: STEP_MS });
      return { shown: await page.title(), value: undefined };
    });
    await type("`./berth init first`", "./berth init first", /dockerfiles\/api\/server\.mjs/);
    await type("`./berth publish first`", "./berth publish first 2>&1", /Published first 0\.1\.0/);
    const listed = await type("`./berth ps`", "./berth ps -o json", /"first-api"/);
    const { id } = (JSON.parse(listed) as { id: string; name: string }[]).find(({ name }) => name === "first-api") ?? { id: "" };
    const call = `curl -sS -H "Authorization: $(cat .berth/demo.token)" "${edge}/api/docker/containers/proxy/${id}/square?number=5"`;
    await type("a request starts it", call, /\{"result":25\}/);
    await take("the console shows it started", async () => {
      await page.goto(`${consoleUrl}#/containers/${id}`);
      await page.locator("h1 .status.good", { hasText: "started" }).waitFor({ timeout: STEP_MS });
      return { shown: await page.title(), value: undefined };
    });
    await type("`./berth logs first-api`", "./berth logs first-api", /listening on port \d+/);
    await type("`./berth unpublish first --yes`", "./berth unpublish first --yes && ./berth ps -o name", /first-api\ndemo-square\n$/);
    await take("Ctrl-C ends it", async () => ({ shown: `exit code ${await demo.interrupt()}`, value: undefined }));
  } finally {
    await demo.kill();
    // Containers are processes that go on after their berth, whose next start would adopt them.
    for (const pid of workingIn(clone)) end(pid);
  }
  return steps;
}

/** In a process group of its own, as a shell starts it. */
function startDemo(cwd: string, env: NodeJS.ProcessEnv, signal: AbortSignal) {
  const child = spawn("npm", ["start"], { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let text = "";
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
      for (const look of waiting) look();
    });
  const gone = new Promise<number | null>((resolve) => child.once("close", resolve));
  const send = (name: NodeJS.Signals) => endGroup(child, name);
  const abort = () => send("SIGKILL");
  signal.addEventListener("abort", abort, { once: true });
  return {
    until: (expected: RegExp) =>
      new Promise<string>((resolve, reject) => {
        const fail = () => reject(new Error(`npm start did not print ${expected}:\n${text}`));
        const timer = setTimeout(fail, START_MS);
        void gone.then(fail);
        const look = () => {
          if (!expected.test(text)) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(text);
        };
        waiting.add(look);
        look();
      }),
    interrupt: async () => {
      send("SIGINT");
      return gone;
    },
    kill: async () => {
      signal.removeEventListener("abort", abort);
      send("SIGKILL");
      await gone;
    },
  };
}

function endGroup(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid !== undefined) end(-child.pid, name);
}

function end(pid: number, name: NodeJS.Signals = "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch {
    // All of it has ended.
  }
}

/** The output of a command; standard error is in the failure. */
function runShell(command: string, cwd: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", command], { cwd, env, stdio: ["ignore", "pipe", "pipe"], signal, timeout: STEP_MS });
    let [out, errors] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (out += piece));
    child.stderr.setEncoding("utf8").on("data", (piece: string) => (errors += piece));
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve(out) : reject(new Error(`${command}\nended with ${code}:\n${out}${errors}`))));
  });
}

async function openPage() {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1_280, height: 800 } });
  return Object.assign(page, { [Symbol.asyncDispose]: () => browser.close() });
}

/** As a table of Markdown. */
export function walkTable(steps: readonly WalkStep[]): string {
  const total = steps.reduce((sum, { seconds }) => sum + seconds, 0);
  const rows = steps.map(({ step, seconds }) => `| ${step} | ${seconds.toFixed(1)} |\n`);
  return `| step | s |\n| --- | ---: |\n${rows.join("")}| all | ${total.toFixed(1)} |\n`;
}
