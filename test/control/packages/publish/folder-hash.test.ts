import { createHash } from "node:crypto";
import t from "tap";
import { folderHash } from "../../../../control/packages/publish/folders.ts";

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
