import t from "tap";
import { chooseStandIn, commandLine, type StandInConfig } from "./choose-stand-in.ts";
import { metadataDockerfile } from "./metadata-dockerfile.ts";
import { findLookUps } from "./look-ups.ts";

t.test("the command is the one that runs in the end, with the image's variables", async (t) => {
  const shell = ["/bin/sh", "-c"];
  for (const [config, expected] of [
    [
      { Entrypoint: [...shell, "gunicorn app:app -b $HOST:${PORT} --workers 2"], Env: ["HOST=0.0.0.0", "PORT=45001"] },
      "gunicorn app:app -b 0.0.0.0:45001 --workers 2",
    ],
    [{ Entrypoint: ["micromamba", "run", "-n", "my", "/bin/bash", "-c", "micromamba run -n my celery -A app worker"] }, "celery -A app worker"],
    [{ Entrypoint: ["docker-entrypoint.sh"], Cmd: ["node", "dist/server.js"] }, "node dist/server.js"],
    [{ Cmd: [...shell, "celery -A app worker -Q $TASK_QUEUE_NAME"] }, "celery -A app worker -Q $TASK_QUEUE_NAME"],
  ] as [StandInConfig, string][])
    t.equal(commandLine(config), expected);
});

t.test("a stand-in listens where the original's command or source says", async (t) => {
  const flask = (line: string) => new Map([["app.py", `@app.route('/square', methods=['POST'])\n${line}\n`]]);
  for (const [command, sources, expected] of [
    ["python app.py", flask("app.run(host='0.0.0.0', port=5353)"), { host: "0.0.0.0", port: 5353, routes: [{ method: "POST", path: "/square" }] }],
    ["python app.py", flask("app.run(port=5353)"), { host: "127.0.0.1", port: 5353 }],
    ["python -m app --host 0.0.0.0 --port 9000", flask("app.run(host='0.0.0.0', port=8000)"), { port: 8000 }],
    ["python run.py --port 9000", new Map(), { port: 9000, routes: [] }],
    ["uvicorn --host 0.0.0.0 alignment.api:api", new Map(), { host: "0.0.0.0", port: 8000 }],
    ["uvicorn alignment.api:api", new Map(), { host: "127.0.0.1", port: 8000 }],
    ["gunicorn app:app -b 0.0.0.0:45001", new Map(), { host: "0.0.0.0", port: 45001 }],
    [
      "node dist/server.js",
      new Map([["src/server.ts", "const PORT = 5355;\napp.get('/health', (c) => c);\napp.get('/ws', upgradeWebSocket(() => {"]]),
      { host: "0.0.0.0", port: 5355, routes: [{ method: "GET", path: "/health" }], webSockets: ["/ws"] },
    ],
    ["./start", new Map(), { kind: "http", host: "0.0.0.0", port: 7000 }],
    ["celery -A app worker", flask("app.run(port=5353)"), { kind: "worker", port: 0 }],
    ["postgres", new Map(), { kind: "database", port: 5432 }],
  ] as const)
    t.match(chooseStandIn({ Cmd: command.split(" "), ExposedPorts: { "7000/tcp": {} } }, "base", sources), expected, command);
});

t.test("of a Dockerfile stays what makes the configuration, and what comes from the folder", async (t) => {
  const { text, bases, base, omitted } = metadataDockerfile(
    `ARG VERSION=3.8
FROM python:3.12 AS builder
RUN pip install x \\
    y
FROM datagrok/python:\${VERSION}
COPY --from=builder /venv /venv
COPY --from=ghcr.io/uv:latest /uv /uv
COPY --chown=grok:grok app.py /app/
USER grok
HEALTHCHECK --interval=5s CMD wget --spider http://127.0.0.1/health || exit 1
CMD ["python", "app.py"]
`,
    "stand-in",
  );
  t.equal(
    text,
    'ARG VERSION=3.8\nFROM stand-in AS builder\nFROM stand-in\nCOPY app.py /app/\nUSER grok\nHEALTHCHECK --interval=5s CMD wget --spider http://127.0.0.1/health || exit 1\nCMD ["python", "app.py"]\n',
  );
  t.same(bases, ["python:3.12", "datagrok/python:3.8", "ghcr.io/uv:latest"]);
  t.equal(base, "datagrok/python:3.8");
  t.same(omitted, { run: 1, copy: 2 });
  t.match(metadataDockerfile("FROM postgres:17\n", "stand-in").text, /docker-entrypoint\.sh/, "what a known base brings along");
});

t.test("look-ups are found in literals, names and templates", async (t) => {
  const sources = new Map([
    [
      "src/a.ts",
      `const containerName: string = 'chem';
       grok.dapi.docker.dockerContainers.filter('name = "chem-chem"').first();
       // grok.dapi.docker.dockerContainers.filter('comment').first();
       dockerContainers.filter(containerName).first(); dockerContainers.filter(\`name = "x-\${containerName}"\`).list();
       this.dcName = \`\${_package.name.toLowerCase()}-autodock\`; dockerContainers.filter(this.dcName).first();
       dockerContainers.filter(unknown).first();`,
    ],
  ]);
  t.same(
    findLookUps(sources, "@datagrok/Docking").map(({ filter }) => filter),
    ['name = "chem-chem"', "chem", 'name = "x-chem"', "docking-autodock"],
  );
});
