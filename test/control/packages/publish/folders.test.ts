import t from "tap";
import { findFolders, readDockerfilePort, folderHash } from "../../../../control/packages/publish/folders.ts";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { symlinkSync } from "node:fs";
import { join } from "node:path";

const PORTS: readonly (readonly [what: string, text: string, port: number | undefined, warnings: number])[] = [
  ["one EXPOSE", "FROM a\nEXPOSE 5353\n", 5353, 0],
  ["lower case", "from a\nexpose 80/tcp\n", 80, 0],
  ["the same port twice", "FROM a\nEXPOSE 80\nEXPOSE 80/tcp", 80, 0],
  ["several, in one line", "FROM a\nEXPOSE 8080 80", 8080, 1],
  ["several, in lines of their own", "FROM a\nEXPOSE 9000\nEXPOSE 80", 9000, 1],
  ["UDP is no port for requests", "FROM a\nEXPOSE 53/udp 80", 80, 0],
  ["UDP alone", "FROM a\nEXPOSE 53/udp", undefined, 1],
  ["a range", "FROM a\nEXPOSE 7000-7002", 7000, 0],
  ["none", "FROM a\n", undefined, 1],
  ["nothing at all", "", undefined, 1],
  ["only the final stage counts", "FROM a AS build\nEXPOSE 1\nFROM b\nEXPOSE 2", 2, 0],
  ["an earlier stage that is copied from is no base", "FROM a AS build\nEXPOSE 1\nFROM b\nCOPY --from=build /x /x", undefined, 1],
  ["the final stage inherits from the stage that it is built from", "FROM a AS Base\nEXPOSE 1\nFROM base AS mid\nFROM mid\nCMD x", 1, 0],
  ["a stage by its number", "FROM a\nEXPOSE 4\nFROM 0", 4, 0],
  ["a stage that is named like its own base", "FROM a AS a", undefined, 1],
  ["an ARG", "FROM a\nARG PORT=8080\nEXPOSE $PORT", 8080, 0],
  ["an ARG from before FROM", "ARG PORT=8081\nFROM a\nARG PORT\nEXPOSE ${PORT}/tcp", 8081, 0],
  ["an ENV", "FROM a\nENV PORT 8082\nEXPOSE ${PORT}", 8082, 0],
  ["a default", "FROM a\nEXPOSE ${PORT:-8083}", 8083, 0],
  ["a variable that is given only at the build", "FROM a\nARG PORT\nEXPOSE $PORT\nEXPOSE 80", 80, 1],
  ["a number that is no port", "FROM a\nEXPOSE 70000 80", 80, 1],
  ["a comment and a heredoc", "FROM a\n# EXPOSE 1\nRUN <<X\nEXPOSE 2\nX\nEXPOSE 3", 3, 0],
  ["a line that goes on", "FROM a\nEXPOSE \\\n  4000", 4000, 0],
  ["CRLF", "FROM a\r\nEXPOSE 5353\r\n", 5353, 0],
];

t.test("the port is the first TCP one that the final stage exposes", async (t) => {
  for (const [what, text, port, warnings] of PORTS) {
    const result = readDockerfilePort(text, "dockerfiles/x/Dockerfile");
    t.equal(result.port, port, what);
    t.equal(result.warnings.length, warnings, `${what}: ${warnings} warnings`);
  }
});

t.test("the warning about several ports names the one that is taken", async (t) => {
  t.match(readDockerfilePort("FROM a\nEXPOSE 9000 80", "f").warnings, [/go to 9000/]);
});

const { signal } = new AbortController();
const sha256 = (...parts: (string | Buffer)[]) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

t.test("the hash is the publishing client's own: sorted entries, folders too, CRLF as LF in text alone", async (t) => {
  const binary = Buffer.from("a\r\n\0b");
  const folder = t.testdir({ Dockerfile: "FROM a\r\nEXPOSE 1\r\n", "a.txt": "x", sub: { "b.bin": binary, "c.txt": "lone\rCR" }, "sub-1": "y" });
  t.equal(
    await folderHash(folder, "folder", signal),
    sha256(
      "file:Dockerfile:",
      "FROM a\nEXPOSE 1\n",
      "file:a.txt:",
      "x",
      "dir:sub:",
      "file:sub-1:",
      "y",
      "file:sub/b.bin:",
      binary,
      "file:sub/c.txt:",
      "lone\rCR",
    ),
  );
});

t.test("image.json, which the client adds after hashing, does not count", async (t) => {
  const folder = t.testdir({ Dockerfile: "FROM a", "image.json": "{}", sub: { "image.json": "{}" } });
  t.equal(await folderHash(folder, "root", signal), sha256("file:Dockerfile:", "FROM a", "dir:sub:"));
  t.equal(await folderHash(folder, "folder", signal), sha256("file:Dockerfile:", "FROM a", "dir:sub:", "file:sub/image.json:", "{}"));
});

t.test("a file that comes in many pieces counts as one that comes at once", async (t) => {
  const half = 65_536;
  const text = `${"a".repeat(half - 1)}\r\n${"é".repeat(half)}\r${"b".repeat(half)}\r\n\r`;
  const late = Buffer.concat([Buffer.from("\r\n".repeat(half)), Buffer.from([0])]);
  const broken = Buffer.concat([Buffer.alloc(half - 1, "c"), Buffer.from([0xe2, 0x82, 0x0d, 0x0a, 0xff])]);
  const folder = t.testdir({ a: text, b: late, c: broken });
  t.equal(
    await folderHash(folder, "folder", signal),
    sha256("file:a:", text.replaceAll("\r\n", "\n"), "file:b:", late, "file:c:", broken.toString("utf8").replaceAll("\r\n", "\n")),
  );
});

t.test("what is neither a file nor a folder is refused by its name, and a pipe is never opened", async (t) => {
  const make: Record<string, (path: string) => void> = {
    "is a link to a folder": (path) => symlinkSync(".", path),
    'is a link to "nowhere"': (path) => symlinkSync("nowhere", path),
    "is neither a file nor a folder": (path) => execFileSync("mkfifo", [path]),
  };
  for (const [why, put] of Object.entries(make))
    for (const name of ["data", "container.json"]) {
      const root = t.testdir({ dockerfiles: { app: { Dockerfile: "FROM a", sub: {} } } });
      put(join(root, "dockerfiles/app", name === "data" ? "sub/data" : name));
      const message = new RegExp(`^dockerfiles/app/${name === "data" ? "sub/data" : name} ${why}`);
      await t.rejects(findFolders(root, signal), { code: "PACKAGE_INVALID", message }, `${name} ${why}`);
    }
});
