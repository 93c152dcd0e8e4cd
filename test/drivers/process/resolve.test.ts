import { join } from "node:path";
import t from "tap";
import { parseDockerfile, localise } from "../../../drivers/process/resolve.ts";

t.test("the final stage says what runs, after the stages that it is made from", async (t) => {
  const recipe = parseDockerfile(`
# syntax=docker/dockerfile:1
ARG NODE=22
FROM node:$NODE AS base
ENV HOME_PORT=9000 MODE="a b"
WORKDIR /app
EXPOSE 9000
FROM base AS build
RUN npm ci
CMD ["npm", "run", "build"]
FROM --platform=linux/amd64 base
WORKDIR server
ENV NEXT=\${HOME_PORT}1
EXPOSE 8000-8001/tcp 53/udp $HOME_PORT
ENTRYPOINT ["node"]
CMD ["main.js", \\
     "--verbose"]
`);
  t.strictSame(recipe, {
    command: ["node", "main.js", "--verbose"],
    env: { HOME_PORT: "9000", MODE: "a b", NEXT: "90001" },
    workdirs: ["/app", "server"],
    exposed: [8000, 8001, 9000],
  });
});

t.test("a shell line is run by the shell, and alone where it is the entrypoint", async (t) => {
  t.strictSame(parseDockerfile("FROM x\nCMD node main.js && echo done").command, ["/bin/sh", "-c", "node main.js && echo done"]);
  t.strictSame(parseDockerfile('FROM x\nENTRYPOINT run it\nCMD ["more"]').command, ["/bin/sh", "-c", "run it"]);
  t.strictSame(parseDockerfile('FROM x\nCMD ["a"]\nCMD ["b"]').command, ["b"]);
});

t.test("a health check is that of the final stage, as the image's configuration has it", async (t) => {
  const check = (line: string) => parseDockerfile(`FROM x\nCMD run\n${line}`).healthcheck;
  t.strictSame(check("HEALTHCHECK CMD curl -f http://localhost/ || exit 1"), { test: ["CMD-SHELL", "curl -f http://localhost/ || exit 1"] });
  t.strictSame(check('HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2s --retries=4 \\\n  CMD ["a", "b"]'), {
    test: ["CMD", "a", "b"],
    intervalMs: 90_000,
    timeoutMs: 500,
    startPeriodMs: 2_000,
    retries: 4,
  });
  for (const none of ["", "HEALTHCHECK NONE", "HEALTHCHECK --interval=1s", "HEALTHCHECK CMD one\nHEALTHCHECK NONE"]) t.equal(check(none), undefined);
});

t.test("a Dockerfile that runs nothing is refused", async (t) => {
  t.throws(() => parseDockerfile("FROM x\nRUN make"), { code: "IMAGE_REFERENCE_INVALID" });
  t.throws(() => parseDockerfile(""), { code: "IMAGE_REFERENCE_INVALID" });
});

t.test("the folder stands for the first WORKDIR", async (t) => {
  const folder = t.testdir({ "main.js": "", server: { "index.js": "" } });
  const recipe = (text: string) => ({ ...parseDockerfile(text), folder });
  t.strictSame(localise(recipe('FROM x\nWORKDIR /app\nCMD ["node", "/app/main.js", "/etc/hosts"]'), "/our/node"), {
    command: ["/our/node", join(folder, "main.js"), "/etc/hosts"],
    cwd: folder,
  });
  t.strictSame(localise(recipe("FROM x\nWORKDIR /app\nWORKDIR server\nCMD index.js"), "/our/node").cwd, join(folder, "server"));
  t.strictSame(localise(recipe('FROM x\nCMD ["/usr/bin/node", "/main.js", "/../../etc/passwd"]'), "/our/node").command, [
    "/our/node",
    join(folder, "main.js"),
    "/../../etc/passwd",
  ]);
});
