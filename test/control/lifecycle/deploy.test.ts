import t from "tap";
import { planReadiness } from "../../../control/lifecycle/deploy.ts";
import { isQueueWorker } from "../../../lib/queue-worker.ts";

const CONFIG = { cpu: 0.25 };
const IMAGE = { exposed: [8000], command: [] as string[], healthcheck: undefined, dockerfile: "" };
const CHECK = { test: ["CMD-SHELL", "pg_isready"] };
const HTTP = { kind: "http", path: "/health", port: 8000, intervalMs: 10_000, timeoutMs: 5_000 };
const DOCKER = { healthchecks: true } as const;

/** As the publishing client's template writes it, with lines that continue. */
const CELERY = `FROM python:3.11-slim-bookworm
RUN pip install celery
EXPOSE 8000

CMD celery -A $DATAGROK_CELERY_NAME worker \\
    --loglevel=info \\
    --hostname=$CELERY_HOSTNAME \\
    --concurrency=$WORKERS_PROCESSES \\
    -Q $TASK_QUEUE_NAME
`;
const CONDA = `FROM mambaorg/micromamba:latest as builder
RUN echo "celery worker"
FROM mambaorg/micromamba:latest
EXPOSE 8000
SHELL ["/bin/bash", "-c"]
CMD micromamba run -n $(cat /opt/env_name.txt) \\
    celery -A $DATAGROK_CELERY_NAME worker \\
        --loglevel=info
`;

for (const [what, config, image, driver, expected] of [
  ["a port, without other settings", {}, {}, {}, { readiness: { kind: "port" }, port: 8000, isWorker: false, cpu: 0.25 }],
  ["the port of container.json before the image's", { port: 5000 }, {}, {}, { port: 5000 }],
  ["health of container.json", { health: { path: "/health" } }, {}, {}, { readiness: HTTP }],
  ["health before the image's own check", { health: { path: "/health" } }, { healthcheck: CHECK }, DOCKER, { readiness: HTTP }],
  [
    "health with all its fields",
    { health: { path: "/h", port: 81, intervalSeconds: 2, timeoutSeconds: 0.5 } },
    {},
    {},
    { readiness: { kind: "http", path: "/h", port: 81, intervalMs: 2_000, timeoutMs: 500 }, port: 8000 },
  ],
  ["health whose port is the container's only one", { health: { path: "/h", port: 81 } }, { exposed: [] }, {}, { port: 81 }],
  [
    "health without any port is ignored, with a note",
    { health: { path: "/h" } },
    { exposed: [] },
    {},
    { readiness: { kind: "running" }, port: undefined, notes: [/no port is known/] },
  ],
  ["the image's own check, where the driver has such checks", {}, { healthcheck: CHECK }, DOCKER, { readiness: { kind: "healthcheck" } }],
  [
    "a queue worker's own check, whose port need not open",
    { worker: true },
    { healthcheck: CHECK },
    DOCKER,
    { readiness: { kind: "healthcheck", portStaysClosed: true }, isWorker: true },
  ],
  [
    "the same check as a request of berth's own, where it is one and the driver has no such checks",
    {},
    { healthcheck: { test: ["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"], intervalMs: 10_000, timeoutMs: 5_000 } },
    {},
    { readiness: HTTP, notes: [] },
  ],
  [
    "any other check is ignored there, with a note",
    {},
    { healthcheck: CHECK },
    {},
    { readiness: { kind: "port" }, notes: [/HEALTHCHECK is ignored/] },
  ],
  ["a queue worker", { worker: true }, {}, {}, { readiness: { kind: "running" }, port: 8000, isWorker: true, cpu: 1 }],
  ["a queue worker keeps what it asks for", { worker: true, cpu: 4 }, {}, {}, { cpu: 4 }],
  ["a queue worker by its command", {}, { command: ["sh", "-c", "celery -A tasks worker"] }, {}, { readiness: { kind: "running" }, isWorker: true }],
  ["a queue worker by its Dockerfile", {}, { dockerfile: CELERY }, {}, { readiness: { kind: "running" }, isWorker: true }],
  ["what only looks like one", { worker: false }, { dockerfile: CELERY }, {}, { readiness: { kind: "port" }, isWorker: false, cpu: 0.25 }],
  [
    "a queue worker with a health path gets health requests, and stays a worker",
    { worker: true, health: { path: "/health" } },
    {},
    {},
    { readiness: HTTP, isWorker: true },
  ],
  ["no port at all", {}, { exposed: [] }, {}, { readiness: { kind: "running" }, port: undefined, isWorker: false }],
] as const) {
  t.test(`readiness: ${what}`, async (t) => {
    t.match(planReadiness({ ...CONFIG, ...config }, { ...IMAGE, ...image } as typeof IMAGE, driver), expected);
  });
}

for (const [is, what, image] of [
  [true, "the client's template for pip", { dockerfile: CELERY }],
  [true, "the client's template for conda", { dockerfile: CONDA }],
  [true, "the client's template for JavaScript", { dockerfile: "FROM datagrok/celery_node_worker:bleeding-edge\nEXPOSE 8000\n" }],
  [true, "a base of Datagrok's in another registry", { dockerfile: "ARG R=registry.example:5000\nFROM $R/datagrok/celery:1\n" }],
  [true, "a command in JSON", { dockerfile: 'FROM x\nENTRYPOINT ["celery"]\nCMD ["-A", "tasks", "worker"]\n' }],
  [true, "the command of an image without a Dockerfile", { command: ["/usr/local/bin/celery", "--app=tasks", "worker", "-Q", "x"] }],
  [true, "the JavaScript worker's own program", { command: ["node", "/app/celery_node_worker"] }],
  [false, "Celery's scheduler and monitor", { command: ["celery", "-A", "tasks", "beat"] }],
  [false, "a web server whose name has the word", { command: ["gunicorn", "worker:celery"] }],
  [false, "a stage that only builds", { dockerfile: "FROM datagrok/celery:1 AS build\nFROM nginx\nEXPOSE 80\n" }],
  [false, "a Dockerfile whose image runs something else, as its configuration says", { dockerfile: CELERY, command: ["nginx"] }],
  [false, "an image of which nothing is known", {}],
] as const) {
  t.test(`${is ? "a" : "no"} queue worker: ${what}`, async (t) => {
    t.equal(isQueueWorker({ command: [], dockerfile: "", ...image }), is);
  });
}
