import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { pack } from "tar-stream";
import t from "tap";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";

/** A package in the shapes of public ones: their generated queue worker, an HTTP server with a health check and a user of its own, a database. */
const SHAPES = {
  "package.json": JSON.stringify({ name: "@acme/shapes", version: "1.2.3" }),
  "src/package.ts": `const name: string = 'shapes-server';
    const container = await grok.dapi.docker.dockerContainers.filter(\`name = "\${name}"\`).first();
    const other = await grok.dapi.docker.dockerContainers.filter('no such container').first();`,
  "dockerfiles/server/Dockerfile": `FROM python:3.12-alpine AS builder
RUN pip install flask
FROM python:3.12-alpine
COPY --from=builder /venv /venv
RUN adduser -S grok
WORKDIR /app
COPY --chown=grok:grok . .
USER grok
EXPOSE 5353
HEALTHCHECK --interval=1s CMD wget --spider http://127.0.0.1:5353/health || exit 1
CMD ["python", "app.py"]
`,
  "dockerfiles/server/app.py": `@app.route('/health', methods=['GET'])
@app.route('/square', methods=['POST'])
@app.websocket('/ws')
app.run(host='0.0.0.0', port=5353)
`,
  "dockerfiles/server/container.json": JSON.stringify({ on_demand: true, memory: 256 }),
  "dockerfiles/database/Dockerfile":
    "FROM postgres:17-bookworm\nENV POSTGRES_PASSWORD=datagrok POSTGRES_USER=datagrok POSTGRES_DB=world\nCOPY world.sql /docker-entrypoint-initdb.d/\n",
  "dockerfiles/database/world.sql": "create table city (name text);\n",
  "dockerfiles/celery/Dockerfile": `FROM python:3.11-slim-bookworm
RUN useradd -m datagrok
WORKDIR /app
COPY . /app
USER datagrok
EXPOSE 8000
CMD celery -A $DATAGROK_CELERY_NAME worker \\
    --hostname=$CELERY_HOSTNAME \\
    --concurrency=$WORKERS_PROCESSES \\
    -Q $TASK_QUEUE_NAME
`,
  "dockerfiles/celery/container.json": JSON.stringify({ cpu: 1, on_demand: true, gpu: 1 }),
  "connections/shapes.json": JSON.stringify({
    name: "Shapes",
    parameters: { server: "${Shapes:ShapesDatabase<DockerContainer>}", db: "world" },
    credentials: { parameters: { login: "datagrok", password: "datagrok" } },
  }),
  "dockerfiles/database/container.json": JSON.stringify({ on_demand: true }),
};

async function writeTarball(file: string, files: Record<string, string>): Promise<void> {
  const tar = pack();
  for (const [path, text] of Object.entries(files)) tar.entry({ name: `package/${path}` }, text);
  tar.finalize();
  await pipeline(tar, createGzip(), createWriteStream(file));
}

/** Both rows of a folder, one after the other. */
const rowOf = (output: string, folder: string) =>
  output
    .split("\n")
    .filter((line) => line.includes(`| ${folder} |`))
    .join(" ");

t.test("it publishes, starts, calls and stops each container, says what it replaced, and fails if one fails", async (t) => {
  const images = await buildTestImages(openEngine().docker, ["onDemand", "crashing"]);
  const folder = tempFolder(t);
  await writeTarball(join(folder, "acme-shapes-1.2.3.tgz"), SHAPES);
  await writeTarball(join(folder, "acme-plain-1.0.0.tgz"), { "package.json": JSON.stringify({ name: "@acme/plain", version: "1.0.0" }) });
  // The engine has the base images of these: they are built as their author wrote them.
  await writeTarball(join(folder, "acme-own-1.0.0.tgz"), {
    "package.json": JSON.stringify({ name: "@acme/own", version: "1.0.0" }),
    "dockerfiles/works/Dockerfile": `FROM ${images.onDemand}\n`,
    "dockerfiles/works/container.json": JSON.stringify({ on_demand: true }),
    "dockerfiles/crashes/Dockerfile": `FROM ${images.crashing}\n`,
  });
  const { code, output } = await run(process.execPath, [join(import.meta.dirname, "run.ts"), folder], { env: { BERTH_GRACE_SECONDS: "1" } });
  t.match(
    rowOf(output, "server"),
    /\| http, WebSocket \| 5353 \|.* s by a request \| GET \/health 200; POST \/square 200; proxy-ws \/ws echoes \|.*\| stopped by user \| ok \|.*\| python:3\.12-alpine; 2 RUN, 1 COPY \| `name = "shapes-server"` \|/,
    output,
  );
  t.match(rowOf(output, "database"), /\| database \| 5432 \|.*by a TCP connection \| psql at its listener counts 1 tables.*\| ok \|/);
  t.match(rowOf(output, "celery"), /\| worker \| none; EXPOSE 8000 \| queue worker; nothing listens on port 8000 \|.*takes no requests.*\| ok \|/);
  t.match(output, /`no such container` finds nothing/);
  t.match(output, /Without containers: @acme\/plain 1\.0\.0/);
  t.match(rowOf(output, "works"), /\| 15353 \|.*GET \/ 200.*\| ok \|.*\| nothing \|/);
  t.match(rowOf(output, "crashes"), /FAILED: run: 500 .*exit code 7/);
  t.match(output, /4 containers passed, 1 failed/);
  t.equal(code, 1);
});
