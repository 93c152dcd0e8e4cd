import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import t, { type Test } from "tap";
import type { Driver, ExecSession } from "../../../drivers/driver.ts";
import { openAws } from "../../../drivers/ecs/aws.ts";
import { systemClock } from "../../../lib/clock.ts";
import type { FaultCode } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { call, namer, rejectsWith, specOf } from "../conformance.ts";
import { faster } from "../kubernetes/test-cluster.ts";
import { denied, failure } from "./answer.ts";
import { openStand, SHELL_ROLE } from "./fixture.ts";

const name = namer("exec");
const IMAGE = { ref: "berth-test/ondemand:1" };
const TERMINAL = { columns: 90, rows: 30 };
const STAYS = ["node", "-e", "console.log('runs'); setInterval(() => {}, 1000)"];

async function open(driver: Driver, service: string, command: readonly string[], terminal?: typeof TERMINAL): Promise<ExecSession> {
  const session = await driver.exec?.(service, { command, terminal }, call());
  if (!session) throw new Error(`${service} does not run.`);
  return session;
}

async function readAll(session: ExecSession): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const { bytes } of session.output) all.push(bytes);
  return Buffer.concat(all);
}

async function refused(t: Test, driver: Driver, service: string, code: FaultCode) {
  return rejectsWith(t, code, driver.exec?.(service, { command: ["true"], terminal: undefined }, call()) ?? Promise.resolve());
}

t.test("shells in tasks of ECS", async (t) => {
  const stand = await openStand(t, ["onDemand"], { shells: true });
  const { troubles } = stand.sessions;
  const calm = { ...troubles };
  t.afterEach(() => void Object.assign(troubles, calm));
  const logged: unknown[] = [];
  const note = (fields: object, message: string) => void logged.push(message, fields);
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const driver = stand.open({ shellRole: SHELL_ROLE, log });
  const messages: string[] = [];
  const service = name("runs");
  await driver.deploy(await specOf(driver, service, IMAGE), call());

  await t.test("a service that shells may be opened in has the role and the setting, and others have neither", async (t) => {
    const created = stand.requests.filter(({ body }) => body["serviceName"] === service || body["family"] === service);
    t.match(created, [
      {
        action: "RegisterTaskDefinition",
        body: { taskRoleArn: SHELL_ROLE, containerDefinitions: [{ linuxParameters: { initProcessEnabled: true } }] },
      },
      { action: "CreateService", body: { enableExecuteCommand: true } },
    ]);
    const without = stand.open();
    t.equal(without.exec, undefined);
    const early = name("early");
    await without.deploy(await specOf(without, early, IMAGE), call());
    const sent = JSON.stringify(stand.requests.filter(({ body }) => body["serviceName"] === early || body["family"] === early));
    t.notMatch(sent, /taskRoleArn|enableExecuteCommand|initProcessEnabled/);
    const fault = await refused(t, driver, early, "EXEC_UNAVAILABLE");
    t.match(fault.message, /without ECS Exec, before BERTH_SHELL and BERTH_ECS_SHELL_ROLE were set\. Stop it and start it again\./);
    await driver.destroy(early, call());
  });

  await t.test("messages that come twice, late, or not at all, change no byte", async (t) => {
    // Of every seven, one is lost, one comes twice, and two change their places; what is sent again is another message.
    const worse = () => {
      let count = 0;
      let held: Buffer | undefined;
      return (bytes: Buffer): Buffer[] => {
        count++;
        if (count % 7 === 1) return [];
        if (count % 7 === 3) return [bytes, bytes];
        if (count % 7 === 5) {
          held = bytes;
          return [];
        }
        const late = held;
        held = undefined;
        return late ? [bytes, late] : [bytes];
      };
    };
    Object.assign(troubles, { toClient: worse(), toAgent: worse() });
    const session = await open(driver, service, ["cat"]);
    const sent = randomBytes(6_000);
    void session.write(sent).then(() => session.endInput());
    t.ok(sent.equals(await readAll(session)));
    t.equal(await session.exitCode(), 0);
    await session.close();
    t.strictSame(stand.sessions.rejected, [], "the agent takes every message");
  });

  await t.test("a message whose payload has changed on the way counts for nothing, and is sent again", async (t) => {
    let changed = 0;
    const change = (bytes: Buffer): Buffer[] => {
      if (bytes.toString("latin1", 4, 22) !== "output_stream_data" || changed++ % 3 > 0) return [bytes];
      const other = Buffer.from(bytes);
      other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
      return [other];
    };
    troubles.toClient = change;
    const session = await open(driver, service, ["echo", 'it\'s "quoted" $HOME #1']);
    t.equal((await readAll(session)).toString(), 'it\'s "quoted" $HOME #1\n');
    t.ok(changed > 1);
    await session.close();
  });

  await t.test("the agent's handshake is answered; a session that is encrypted is refused, with what to do", async (t) => {
    troubles.handshakes = true;
    const session = await open(driver, service, ["echo", "hello"]);
    t.equal((await readAll(session)).toString(), "hello\n");
    await session.close();
    troubles.encrypts = true;
    const fault = await refused(t, driver, service, "EXEC_UNAVAILABLE");
    messages.push(fault.message);
    t.match(fault.message, /encrypts its sessions \(KMSEncryption\).*kmsKeyId/);
  });

  await t.test("the agent of a task that has just started is waited for; one that never connects is named", async (t) => {
    const waits = name("waits");
    stand.agentMs = 1_500;
    await driver.deploy(await specOf(driver, waits, IMAGE), call());
    const session = await open(driver, waits, ["echo", "connected"]);
    t.equal((await readAll(session)).toString(), "connected\n");
    await session.close();
    await driver.destroy(waits, call());
    stand.agentMs = 0;
    stand.answers = ({ action }) =>
      action === "ExecuteCommand"
        ? failure("TargetNotConnectedException", "The execute command failed due to an internal error. Try again later.")
        : undefined;
    const fault = await refused(t, stand.open({ shellRole: SHELL_ROLE, log, clock: faster(20) }), service, "EXEC_UNAVAILABLE");
    messages.push(fault.message);
    stand.answers = () => undefined;
    t.match(fault.message, /agent for shells is not connected.*BERTH_ECS_SHELL_ROLE.*shell-role\.json.*ssmmessages/);
    t.ok(stand.requests.filter(({ action }) => action === "ExecuteCommand").length > 3);
  });

  await t.test("a right that is missing is named, with the policy that has it", async (t) => {
    stand.answers = ({ action }) => (action === "ExecuteCommand" ? denied("ecs:ExecuteCommand") : undefined);
    const fault = await refused(t, driver, service, "ENGINE_ACTION_DENIED");
    stand.answers = () => undefined;
    t.match(fault.message, /denies ecs:ExecuteCommand .*conf\/ecs\/policy-shell\.json/);
  });

  await t.test("an image without a shell, or without what pipes are made with, is named", async (t) => {
    stand.images = "bare";
    const bare = await refused(t, driver, service, "EXEC_UNAVAILABLE");
    t.match(bare.message, /fork\/exec \/bin\/sh: no such file or directory.*an image without it has no shells/);
    stand.images = "shell";
    const few = await refused(t, driver, service, "EXEC_UNAVAILABLE");
    t.match(few.message, /only a terminal.*has no `stty`.*berth exec -t/);
    const session = await open(driver, service, ["node", "-e", "console.log('whole')"], TERMINAL);
    t.equal((await readAll(session)).toString(), "whole\r\n");
    t.equal(await session.exitCode(), 0);
    await session.close();
    stand.images = "whole";
    messages.push(bare.message, few.message);
  });

  await t.test("what a command writes to its terminal past its pipes, without an end of line, fills no memory", async (t) => {
    const session = await open(driver, service, ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' 1 > /dev/tty; sleep 60"]);
    const fault = await rejectsWith(t, "EXEC_UNAVAILABLE", readAll(session));
    t.match(fault.message, /past its pipes/);
    await session.close();
  });

  await t.test("a connection that breaks ends the output, no exit code is invented, and the command is ended", async (t) => {
    for (const terminal of [undefined, TERMINAL]) {
      const session = await open(driver, service, STAYS, terminal);
      const running = stand.sessions.running();
      t.equal(running, 1);
      for await (const { bytes } of session.output) if (Buffer.from(bytes).toString().includes("runs")) stand.sessions.breakOff();
      const fault = await rejectsWith(t, "ENGINE_UNREACHABLE", session.exitCode());
      messages.push(fault.message);
      await session.write(Buffer.from("into the void"));
      await session.close();
      await eventually("its command has ended", () => stand.sessions.running() === 0);
    }
  });

  await t.test("a call that is given up leaves no command", async (t) => {
    const caller = new AbortController();
    troubles.toClient = (bytes) => (bytes.toString("latin1", 4, 22) === "output_stream_data" ? [] : [bytes]);
    const opening = driver.exec?.(service, { command: STAYS, terminal: TERMINAL }, { signal: caller.signal });
    opening?.catch(() => {});
    await eventually("its command runs", () => stand.sessions.running() === 1);
    Object.assign(troubles, calm);
    caller.abort(new Error("enough"));
    await t.rejects(async () => opening, { message: "enough" });
    await eventually("its command has ended", () => stand.sessions.running() === 0);
  });

  await t.test("a command's output is held back at its source, and what is read late is whole", async (t) => {
    const much = 5_000_000;
    const session = await open(driver, service, ["node", "-e", `process.stdout.write(Buffer.alloc(${much}, 'x'))`]);
    const before = stand.sessions.sent();
    let last = before;
    await eventually("the agent sends no more", () => {
      const isSame = last > before && stand.sessions.sent() === last;
      last = stand.sessions.sent();
      return isSame;
    });
    t.ok(stand.sessions.sent() - before < much);
    t.equal((await readAll(session)).length, much);
    await session.close();
  });

  await t.test("the token of no session is in a log or in a message", async (t) => {
    const tokens = stand.sessions.tokens();
    t.ok(tokens.length > 8);
    const all = `${JSON.stringify(logged, (_, value: unknown) => (value instanceof Error ? [value.message, value.stack, value.cause] : value))} ${messages.join(" ")}`;
    t.strictSame(
      tokens.filter((token) => all.includes(token.slice(0, 20))),
      [],
    );
  });
  await driver.destroy(service, call());
});

t.test("a command is never sent on a connection that was used, which AWS may be about to close: it cannot be sent twice", async (t) => {
  const used = new Set<unknown>();
  const server = createServer((request, response) => {
    if (used.has(request.socket)) return request.socket.resetAndDestroy();
    used.add(request.socket);
    response.setHeader("content-type", "application/x-amz-json-1.1").end("{}");
  });
  // The last test of the file: the stand is gone.
  const { host, port } = await listen(t, server);
  Object.assign(process.env, { AWS_ENDPOINT_URL: `http://${host}:${port}`, AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" });
  const aws = openAws({ cluster: "c", region: "us-east-1", logsRegion: undefined, rate: { perSecond: 10, burst: 10 }, clock: systemClock() });
  t.teardown(() => aws.close());
  for (let index = 0; index < 2; index++) {
    await aws.executeCommand({ command: "true", interactive: true, task: "t" }, new AbortController().signal);
  }
  t.equal(used.size, 2);
});
