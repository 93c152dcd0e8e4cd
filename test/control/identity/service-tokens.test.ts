import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:https";
import { join } from "node:path";
import { connect } from "amqplib";
import { createLocalJWKSet, createRemoteJWKSet, decodeJwt, jwtVerify, SignJWT } from "jose";
import t from "tap";
import { createSigningKeys, pipeToken, queueToken, spawnerToken } from "../../../control/identity/signing-keys.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { startBerth } from "../../fixtures/berth.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { openRabbitmq } from "../../fixtures/rabbitmq.ts";
import { listen } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openApiDeps } from "../api/fixtures/open-api-fixture.ts";

const DAY_SECONDS = 86_400;

t.test("a token names its service, its audience and its end, and is valid for no other service", async (t) => {
  const clock = createStillClock();
  const { deps, close } = await openApiDeps({}, clock);
  t.teardown(close);
  const { signingKeys } = deps;
  const common = { issuer: "https://stand.example", seconds: 30 * DAY_SECONDS };
  const queue = await queueToken({ signingKeys, clock }, { ...common, audience: "datagrok-mq", service: "berth-worker" });
  const keys = createLocalJWKSet({ keys: await signingKeys.published() });
  const { payload } = await jwtVerify(queue, keys, { audience: "datagrok-mq", issuer: "https://stand.example", currentDate: new Date(clock.now()) });
  t.match(payload, {
    sub: "berth-worker",
    lim: "queue",
    scope: "datagrok-mq.configure:*/* datagrok-mq.read:*/* datagrok-mq.write:*/*",
    exp: Math.floor(clock.now() / 1_000) + 30 * DAY_SECONDS,
  });
  t.match(queue, /^[\w.-]+$/, "workers write it into an amqp:// address as it is");

  const pipe = decodeJwt(await pipeToken({ signingKeys, clock }, { ...common, audience: "datagrok-pipe", service: "berth-worker" }));
  t.match(pipe, { aud: "datagrok-pipe", sub: "berth-worker", lim: "pipe" });
  t.notOk("scope" in pipe);
  const spawner = decodeJwt(await spawnerToken({ signingKeys, clock }, { issuer: undefined, audience: "datagrok-spawner" }));
  t.match(spawner, { aud: "datagrok-spawner", lim: "spawner" });
  t.notOk("iss" in spawner);
});

t.test("a key that signed queue tokens is published until the last of them has ended", async (t) => {
  const clock = createStillClock();
  const { deps, folder, close } = await openApiDeps({}, clock);
  t.teardown(close);
  const { store, log } = deps;
  const vault = await openVault({ store, keyFile: openKeyFile(folder), given: [], log });
  const keys = createSigningKeys({ store, vault, clock, log, longestSeconds: 30 * DAY_SECONDS });
  const { kid } = await keys.signer();
  await clock.advance(1_000);
  await keys.rotate();
  const isPublished = async () => (await keys.published()).some((key) => key.kid === kid);
  await clock.advance(30 * DAY_SECONDS * 1_000);
  t.ok(await isPublished());
  await keys.rotate();
  t.ok(await isPublished(), "another rotation does not remove it early");
  await clock.advance(61_000);
  t.notOk(await isPublished());
});

const FILES = {
  "package.json": JSON.stringify({ name: "queue-walk", version: "1.0.0" }),
  "dockerfiles/worker/Dockerfile": 'FROM node:26\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 80\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/worker/container.json": JSON.stringify({ on_demand: true }),
  "dockerfiles/worker/server.mjs": `
    import { createServer } from "node:http";
    createServer((request, response) => response.end(JSON.stringify(process.env))).listen(process.env.PORT);
    process.on("SIGTERM", () => process.exit(0));`,
};

t.test("RabbitMQ, which fetches berth's keys, accepts the password that a container gets, and no other token", async (t) => {
  const folder = tempFolder(t);
  // RabbitMQ fetches keys over HTTPS only: this stands for what terminates TLS in front of berth.
  const front = { to: "" };
  makeCertificate(folder, "authority");
  // Erlang trusts no certificate that signs itself.
  const certificate = makeCertificate(folder, "front", undefined, undefined, { signedBy: "authority" });
  const tls = createServer(certificate, (request, response) => {
    const pass = async () => {
      const answer = await fetch(`${front.to}${request.url}`);
      response.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text());
    };
    void pass();
  });
  const { port: tlsPort } = await listen(t, tls);
  const broker = await openRabbitmq(t, {
    config: [
      "auth_backends.1 = rabbit_auth_backend_oauth2",
      "auth_oauth2.resource_server_id = datagrok-mq",
      `auth_oauth2.jwks_url = https://localhost:${tlsPort}/api/.well-known/jwks.json`,
      `auth_oauth2.https.cacertfile = ${join(folder, "authority.made.crt")}`,
    ],
  });
  const queueSettings = { amqpHost: broker.host, amqpPort: broker.port, amqpAuthMode: "jwt", amqpPassword: "unused", pipeAuthMode: "jwt" };
  const berth = await startBerth({
    data: folder,
    env: { BERTH_DRIVER: "process", GROK_PARAMETERS: JSON.stringify({ queueSettings }), GROK_PARAMETERS_QUEUE_SETTINGS__PIPE_AUDIENCE: "our-pipe" },
  });
  t.teardown(() => berth.stop());
  front.to = berth.base;
  t.equal((await berth.publish("queue-walk", FILES)).status, 200);
  const { id, serviceName } = await berth.container("queue-walk-worker");
  const variables = async () => (await (await berth.call(`/docker/containers/proxy/${id}/`)).json()) as Record<string, string>;
  const given = await variables();
  const connectAs = (password: string | undefined) =>
    connect({
      hostname: given["DATAGROK_AMPQ_HOST"] ?? "",
      port: Number(given["DATAGROK_AMPQ_PORT"]),
      username: given["DATAGROK_AMPQ_USER"] ?? "",
      password: password ?? "",
    });

  await t.test("what a worker does on the queue is allowed", async (t) => {
    const connection = await connectAs(given["DATAGROK_AMPQ_PASSWORD"]);
    const channel = await connection.createChannel();
    await channel.assertExchange("calls_fanout", "fanout");
    const { queue } = await channel.assertQueue(given["TASK_QUEUE_NAME"] ?? "");
    await channel.bindQueue(queue, "calls_fanout", "");
    const taken = new Promise<string>((resolve) => {
      void channel.consume(queue, (message) => resolve(String(message?.content)), { noAck: true });
    });
    channel.publish("calls_fanout", "", Buffer.from("a call"), { userId: serviceName });
    t.equal(await taken, "a call", "the subject is the user");
    await connection.close();
  });

  await t.test("other tokens and passwords are refused", async (t) => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const { kid = "" } = JSON.parse(Buffer.from((given["DATAGROK_AMPQ_PASSWORD"] ?? "").split(".")[0] ?? "", "base64url").toString()) as {
      kid?: string;
    };
    const forged = new SignJWT(decodeJwt(given["DATAGROK_AMPQ_PASSWORD"] ?? "")).setProtectedHeader({ alg: "RS256", kid }).sign(privateKey);
    const basic = `Basic ${Buffer.from(`any:${berth.key}`).toString("base64")}`;
    const docker = (await (await fetch(`${berth.api}/docker/token?service=x`, { headers: { authorization: basic } })).json()) as { token: string };
    for (const [what, password] of [
      ["a token for the pipe", given["DATAGROK_PIPE_KEY"]],
      ["a docker token", docker.token],
      ["a token that another key signed", await forged],
      ["the password of the settings", "unused"],
    ] as const)
      await t.rejects(connectAs(password), /ACCESS_REFUSED/, what);
  });

  await t.test("the pipe's key is a token too, for its audience, and each start has new ones", async (t) => {
    const keys = createRemoteJWKSet(new URL(`${berth.api}/docker/keys`));
    const { payload } = await jwtVerify(given["DATAGROK_PIPE_KEY"] ?? "", keys, { audience: "our-pipe", subject: serviceName });
    t.equal((payload.exp ?? 0) - (payload.iat ?? 0), 30 * DAY_SECONDS);
    await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
    const next = await variables();
    t.not(next["DATAGROK_AMPQ_PASSWORD"], given["DATAGROK_AMPQ_PASSWORD"]);
    await (await connectAs(next["DATAGROK_AMPQ_PASSWORD"])).close();
  });
  t.notOk(berth.output().includes(given["DATAGROK_AMPQ_PASSWORD"] ?? "-"), "no token is logged");
});
