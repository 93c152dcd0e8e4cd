import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { listen } from "../fixtures/server.ts";

/**
 * What a command writes arrives whole, however slowly the other end of the pipe reads. A pipe of the kernel holds 64 KiB; a program that exits with
 * more in its own memory loses the rest. A shell makes the pipes: those that Node makes for a child are sockets, which hold more.
 */
const BERTH = join(import.meta.dirname, "../../berth.ts");
const CONTAINERS = 3_000;
const NAME_LENGTH = 1_500;

/** Answers every list with containers that make about 5 MB of output. */
async function openLongList(t: Test): Promise<string> {
  const containers = Array.from({ length: CONTAINERS }, (_, index) => ({
    id: `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`,
    name: `long-${index}-${"x".repeat(NAME_LENGTH)}`,
    status: "stopped by system",
    dockerfile: { status: "ready", name: "long" },
  }));
  const body = JSON.stringify(containers);
  const server = createServer((request, response) => {
    response.setHeader("content-type", "application/json");
    if (request.method === "POST") return response.end(JSON.stringify({ isSuccess: true, token: "session" }));
    const isFirst = !/[?&]page=(?!0\b)/.test(request.url ?? "");
    return response.end(isFirst ? body : "[]");
  });
  const { port } = await listen(t, server);
  return `http://127.0.0.1:${port}`;
}

/** Runs `berth <args>` in front of a pipe whose reader starts late; answers with the exit code and what `reader` printed. */
async function runPiped(args: string[], { stream, reader }: { stream: "stdout" | "stderr"; reader: string }) {
  const other = stream === "stdout" ? "2>/dev/null" : "2>&1 >/dev/null";
  const script = `exec 3>&1; { "$@" ${other}; echo "exit $?" >&3; } | { sleep 1; ${reader}; }`;
  const child = spawn("sh", ["-c", script, "sh", process.execPath, BERTH, ...args], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => (printed += piece));
  await once(child, "close");
  return printed.trim().split("\n");
}

t.test("5 MB of JSON reach a slow reader whole", async (t) => {
  const url = await openLongList(t);
  const printed = await runPiped(["containers", "--json", "--server", url, "--key", "x"], {
    stream: "stdout",
    reader: `"${process.execPath}" -e 'process.stdin.setEncoding("utf8").toArray().then((all) => console.log(JSON.parse(all.join("")).length, all.join("").length))'`,
  });
  t.ok(printed.includes("exit 0"), printed.join(" "));
  const [count, length] = (printed.find((line) => !line.startsWith("exit")) ?? "").split(" ").map(Number);
  t.equal(count, CONTAINERS);
  t.ok((length ?? 0) > 4_500_000, `${length} characters`);
});

t.test("a long error message reaches a slow reader whole", async (t) => {
  const word = "y".repeat(120_000);
  const printed = await runPiped(["version", word], { stream: "stderr", reader: "wc -c" });
  t.ok(printed.includes("exit 2"), printed.join(" "));
  t.ok(Number(printed.find((line) => !line.startsWith("exit"))) > word.length);
});

t.test("a reader that closes the pipe early ends a command that prints without end", async (t) => {
  const url = await openLongList(t);
  const printed = await runPiped(["ps", "--watch", "--server", url, "--key", "x"], { stream: "stdout", reader: "head -c 10 >/dev/null" });
  t.same(printed, ["exit 0"]);
});

t.test("a reader that closes the pipe early ends a list", async (t) => {
  const url = await openLongList(t);
  const printed = await runPiped(["containers", "--json", "--server", url, "--key", "x"], { stream: "stdout", reader: "head -c 10 >/dev/null" });
  t.same(printed, ["exit 0"]);
});

t.test("output that cannot be written is one sentence, and exit code 1", async (t) => {
  const child = spawn("sh", ["-c", '"$@" >/dev/full', "sh", process.execPath, BERTH, "help"], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let printed = "";
  child.stderr.setEncoding("utf8").on("data", (piece: string) => (printed += piece));
  const [code] = (await once(child, "close")) as [number];
  t.equal(code, 1);
  t.match(printed, /^berth: The output cannot be written: ENOSPC[^\n]*\n$/);
});
