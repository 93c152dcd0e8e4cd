import { randomBytes, randomUUID } from "node:crypto";
import type { Driver, ExecSession, TerminalSize } from "../../../drivers/driver.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { call, specOf } from "./asking.ts";
import type { ConformanceTheme } from "./harness.ts";

/** More than any buffer on the way holds. */
const MUCH = 3_000_000;
/** As a shell sends them. */
const PIECE = 65_536;

/** Of drivers that run commands in a service's container. Each image has Node. */
export const COMMANDS: ConformanceTheme = {
  title: "Commands in a container",
  cases: [
    {
      id: "exec",
      promise: "a command gets every byte of its input, its two outputs come back apart with its exit code, and one that is not read waits",
      run: async (t, { driver, harness, name }) => {
        const service = name("exec");
        t.equal(await driver.exec?.(service, { command: ["node", "-v"], terminal: undefined }, call()), undefined, "none in an unknown service");
        await driver.deploy(await specOf(driver, service, await harness.image("onDemand"), { env: { GREETING: "hello" } }), call());
        const script =
          "process.stdin.pipe(process.stdout); process.stdin.on('end', () => { console.error(process.env.GREETING); process.exitCode = 7 })";
        const session = await openCommand(driver, service, ["node", "-e", script]);
        const sent = randomBytes(MUCH);
        const warnings: string[] = [];
        const noteWarning = ({ name: kind }: Error) => void warnings.push(kind);
        process.on("warning", noteWarning);
        const write = async () => {
          for (let at = 0; at < MUCH; at += PIECE) await session.write(sent.subarray(at, at + PIECE));
          session.endInput();
        };
        const written = write();
        const { stdout, stderr } = await readAll(session);
        await written;
        process.off("warning", noteWarning);
        t.ok(sent.equals(stdout), `${stdout.length} bytes came back as they were sent`);
        t.notOk(warnings.includes("MaxListenersExceededWarning"), "nothing of a write stays behind it");
        t.equal(stderr.toString(), "hello\n", "with the container's variables");
        t.equal(await session.exitCode(), 7);
        await session.close();
        const missing = await openCommand(driver, service, ["/no/such/program"]);
        await readAll(missing);
        t.match(await missing.exitCode(), /^12[67]$/, "a program that does not exist has a shell's exit code");
        await missing.close();
        await driver.destroy(service, call());
      },
    },
    {
      id: "exec-terminal",
      promise: "with a terminal a command knows its size, learns of a new one, and is interrupted by Ctrl-C; it ends with its container",
      run: async (t, { driver, harness, name }) => {
        const service = name("tty");
        await driver.deploy(await specOf(driver, service, await harness.image("onDemand")), call());
        const script =
          "const size = () => console.log('size ' + process.stdout.columns + ' ' + process.stdout.rows);" +
          "size(); process.stdout.on('resize', size); process.on('SIGINT', () => { console.log('interrupted'); process.exit(9) }); setInterval(() => {}, 1000)";
        const session = await openCommand(driver, service, ["node", "-e", script], { columns: 101, rows: 31 });
        let output = "";
        const reading = (async () => {
          for await (const { stream, bytes } of session.output) output += `${stream === "stdout" ? "" : stream}${Buffer.from(bytes).toString()}`;
        })();
        await eventually("its size", async () => output.includes("size 101 31"));
        await session.resize({ columns: 77, rows: 22 });
        await eventually("its new size", async () => output.includes("size 77 22"));
        await session.write(Buffer.from("\u0003"));
        await reading;
        t.match(output, /interrupted\r\n/);
        t.equal(await session.exitCode(), 9);
        await session.close();
        const other = await openCommand(driver, service, ["node", "-e", "setInterval(() => {}, 1000)"], { columns: 80, rows: 24 });
        const ended = readAll(other).catch(() => undefined);
        await driver.destroy(service, call());
        await ended;
        t.pass("it ended with its container");
        await other.close();
      },
    },
    {
      id: "exec-left",
      promise: "a command that its client leaves is ended",
      run: async (t, { driver, harness, name }) => {
        const service = name("left");
        await driver.deploy(await specOf(driver, service, await harness.image("onDemand")), call());
        const mark = randomUUID();
        const count = async () => {
          const script =
            "const fs = require('fs'); const mark = [...process.argv[1]].reverse().join(''); let n = 0; for (const p of fs.readdirSync('/proc')) { try { if (p > 0 && p !== String(process.pid) && " +
            "fs.readFileSync('/proc/' + p + '/cmdline', 'utf8').includes(mark)) n++ } catch {} } console.log(String(n))";
          // Backwards: what runs this command has its words as well.
          const session = await openCommand(driver, service, ["node", "-e", script, [...mark].toReversed().join("")]);
          const { stdout } = await readAll(session);
          await session.close();
          return Number(stdout.toString());
        };
        for (const terminal of [undefined, { columns: 80, rows: 24 }]) {
          const session = await openCommand(driver, service, ["node", "-e", "console.log('runs'); setInterval(() => {}, 1000)", mark], terminal);
          for await (const { bytes } of session.output) if (Buffer.from(bytes).toString().includes("runs")) break;
          await session.close();
          await eventually("the command has ended", async () => (await count()) === 0);
        }
        t.pass("with a terminal and without");
        await driver.destroy(service, call());
      },
    },
  ],
};

async function openCommand(driver: Driver, service: string, command: readonly string[], terminal?: TerminalSize): Promise<ExecSession> {
  const session = await driver.exec?.(service, { command, terminal }, call());
  if (!session) throw new Error(`${service} does not run, or its driver runs no commands.`);
  return session;
}

async function readAll({ output }: ExecSession): Promise<{ stdout: Buffer; stderr: Buffer }> {
  const collected = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  for await (const { stream, bytes } of output) collected[stream].push(bytes);
  return { stdout: Buffer.concat(collected.stdout), stderr: Buffer.concat(collected.stderr) };
}
