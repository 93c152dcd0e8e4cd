import { randomUUID } from "node:crypto";
import { connect, type ConsumeMessage } from "amqplib";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { buildCeleryWorker } from "../fixtures/celery-image.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tagOwnImage } from "../fixtures/images.ts";
import { openRabbitmq } from "../fixtures/rabbitmq.ts";

// A package with functions in Python as the publishing client makes one: EXPOSE 8000, and Celery, which listens nowhere.
const IMAGE = "queued-celery";
const IDLE_MINUTES = 0.5;
const HOLD_MS = 3_000;

t.setTimeout(600_000);
const { docker, host } = openEngine();
const { dockerfile, ref } = await buildCeleryWorker(docker, IMAGE);
const image = await tagOwnImage(docker, ref, IMAGE);
const broker = await openRabbitmq(t, { at: "0.0.0.0" });
const environment = `queued-${process.pid}`;
const berth = await startBerth({
  data: t.testdir(),
  env: {
    BERTH_DRIVER: "docker",
    DOCKER_HOST: host,
    BERTH_DOCKER_NETWORK: `berth-${environment}`,
    GROK_SPAWNER_ENVIRONMENT: environment,
    GROK_PARAMETERS: JSON.stringify({
      dockerSettings: { proxyRequestTimeout: HOLD_MS },
      queueSettings: { amqpHost: "host.docker.internal", amqpPort: broker.port, amqpUser: broker.user, amqpPassword: broker.password },
    }),
  },
});
t.teardown(async () => {
  await berth.stop();
  await removeInstallation(docker, environment, `berth-${environment}`);
});
const published = await berth.publish("queued", {
  "package.json": JSON.stringify({ name: "queued", version: "1.0.0" }),
  "dockerfiles/celery/Dockerfile": dockerfile,
  "dockerfiles/celery/container.json": JSON.stringify({ on_demand: true, shutdown_timeout: IDLE_MINUTES, memory: 1_024 }),
  "dockerfiles/celery/image.json": JSON.stringify({ image, fallback: false }),
});
if (published.status !== 200) throw new Error(await published.text());
const { id } = await berth.container("queued-celery");

const connection = await connect({ hostname: "127.0.0.1", port: broker.port, username: broker.user, password: broker.password });
t.teardown(() => connection.close());
const channel = await connection.createChannel();
const { queue: replies } = await channel.assertQueue("", { exclusive: true });
const results = new Map<string, { status: string; result: unknown }>();
await channel.consume(
  replies,
  (message: ConsumeMessage | null) =>
    void (
      message && results.set(String(message.properties.correlationId), JSON.parse(message.content.toString()) as { status: string; result: unknown })
    ),
  { noAck: true },
);

/** As Celery's own client sends a task: docs.celeryq.dev, message protocol 2. Returns its id. */
function send(task: string, ...args: unknown[]): string {
  const id = randomUUID();
  const body = Buffer.from(JSON.stringify([args, {}, { callbacks: null, errbacks: null, chain: null, chord: null }]));
  const headers = { lang: "py", task, id, root_id: id, parent_id: null, group: null, argsrepr: JSON.stringify(args), kwargsrepr: "{}" };
  channel.sendToQueue(IMAGE, body, {
    contentType: "application/json",
    contentEncoding: "utf-8",
    correlationId: id,
    replyTo: replies,
    deliveryMode: 2,
    headers,
  });
  return id;
}

const resultOf = (task: string) => eventually("a result", () => results.get(task));

t.test("a Celery worker that listens nowhere starts, and stays started", async (t) => {
  const answer = await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  t.equal(answer.status, 200, answer.status === 200 ? "started" : await answer.clone().text());
  t.match(await berth.container("queued-celery"), { status: "started", note: "queue worker; nothing listens on port 8000" });
  const explained = (await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { why: string };
  t.match(explained.why, /It is a queue worker; nothing listens on port 8000\./);
  const [instance] = await docker.listContainers({ filters: { label: [`berth.container=${id}`] } });
  const { HostConfig } = await docker.getContainer(instance?.Id ?? "").inspect();
  t.equal(HostConfig.NanoCpus, 1e9, "a whole core, although its package asks for less");
});

t.test("it takes a task from the queue", async (t) => {
  t.match(await resultOf(send("square", 12)), { status: "SUCCESS", result: 144 });
});

t.test("a request for it waits, and its response says that nothing listens", async (t) => {
  const begun = performance.now();
  const answer = await berth.call(`/docker/containers/proxy/${id}/health`);
  t.equal(answer.status, 504);
  t.ok(performance.now() - begun >= HOLD_MS * 0.9);
  t.match(await answer.text(), /queued-celery was not ready within 3 s\. It is a queue worker; nothing listens on port 8000\./);
  t.match(await berth.container("queued-celery"), { status: "started" });
});

t.test("it does not fall asleep while it computes, and does so when it is idle", async (t) => {
  const begun = Date.now();
  const seconds = IDLE_MINUTES * 60 + 15;
  const statuses = new Set<string>();
  const task = send("compute", seconds);
  await eventually(
    "the task to end",
    async () => {
      statuses.add((await berth.container("queued-celery")).status);
      return results.get(task);
    },
    (seconds + 60) * 1_000,
  );
  t.strictSame([...statuses], ["started"]);
  t.match(results.get(task), { status: "SUCCESS", result: "computed" });
  t.ok(Date.now() - begun >= seconds * 1_000, "it worked for longer than it may be idle");
  await berth.until("queued-celery", ["stopped by system"], (IDLE_MINUTES * 60 + 60) * 1_000);
});

t.test("a task that was sent meanwhile is taken by the next start", async (t) => {
  const task = send("square", 5);
  await (await berth.call(`/docker/containers/${id}/run?awaitStart=true`)).text();
  t.match(await resultOf(task), { status: "SUCCESS", result: 25 });
});
