import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import t from "tap";
import type { Test } from "tap";
import { receiveUpload, unpackZip, type ZipLimits } from "../../../../control/packages/publish/receive-upload.ts";
import type { FaultCode } from "../../../../lib/fault.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { makeZip, renamed } from "./fixtures/make-zip.ts";

const { signal } = new AbortController();

t.test("an upload that brings less than 64 KiB in 30 s is given up", async (t) => {
  const clock = createStillClock();
  const client = new PassThrough();
  const body = client.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  const to = join(t.testdir({}), "package.zip");
  const received = receiveUpload({ body, to, maxBytes: 1_000_000, clock, signal });
  const failed = t.rejects(received, { code: "UPLOAD_TOO_SLOW", status: 408 });
  client.write(Buffer.alloc(65_536));
  await eventually("it happens", () => existsSync(to) && statSync(to).size === 65_536);
  await clock.advance(30_000);
  client.write(Buffer.alloc(100));
  await eventually("it happens", () => statSync(to).size === 65_636);
  await clock.advance(30_000);
  await failed;
  t.equal(client.destroyed, false, "the client is to read the reason");
});

t.test("an upload is written as it came, and ends at its limit", async (t) => {
  const to = join(t.testdir({}), "package.zip");
  const body = () =>
    (async function* whole() {
      yield Buffer.from("abc");
      yield Buffer.from("def");
    })();
  await receiveUpload({ body: body(), to, maxBytes: 6, clock: createStillClock(), signal });
  t.equal(readFileSync(to, "utf8"), "abcdef");
  const other = join(t.testdir({}), "other.zip");
  await t.rejects(receiveUpload({ body: body(), to: other, maxBytes: 5, clock: createStillClock(), signal }), { code: "PACKAGE_TOO_LARGE" });
});

const LIMITS: ZipLimits = { entries: 100, inflatedBytes: 1_000_000 };

function unpack(t: Test, zip: Buffer, limits: Partial<ZipLimits> = {}, signal = new AbortController().signal) {
  const folder = t.testdir({ into: {} });
  const file = join(folder, "package.zip");
  writeFileSync(file, zip);
  const into = join(folder, "into");
  return { into, files: unpackZip({ zip: file, into, wanted: (path) => !path.startsWith("dist/"), limits: { ...LIMITS, ...limits }, signal }) };
}

t.test("wanted files arrive with their bytes, the others are left out", async (t) => {
  const { into, files } = unpack(t, await makeZip({ "package.json": "{}", "dockerfiles/a/Dockerfile": "FROM scratch\r\n", "dist/package.js": "x" }));
  t.same(await files, ["package.json", "dockerfiles/a/Dockerfile"]);
  t.equal(readFileSync(join(into, "dockerfiles/a/Dockerfile"), "utf8"), "FROM scratch\r\n");
  t.equal(existsSync(join(into, "dist")), false);
});

t.test("a program stays executable, and no other mode bit is taken over", async (t) => {
  const { into, files } = unpack(t, await makeZip({ "dockerfiles/run.sh": "#!/bin/sh\n" }, 0o106777));
  await files;
  t.equal(statSync(join(into, "dockerfiles/run.sh")).mode & 0o7777 & ~0o022, 0o755);
});

const plain = await makeZip({ "package.json": '{"name":"x","version":"1.0.0"}', "dockerfiles/aa/b": "hello hello hello hello" });
const damaged = Buffer.from(plain);
damaged.writeUInt8(damaged.readUInt8(plain.indexOf("dockerfiles/aa/b") + 20) ^ 0xff, plain.indexOf("dockerfiles/aa/b") + 20);
const bomb = await makeZip({ "dockerfiles/zeros": Buffer.alloc(5_000_000) });
/** Says that it holds 10 bytes, and inflates to five million. */
const lyingBomb = Buffer.from(bomb);
const directory = lyingBomb.lastIndexOf(Buffer.from("504b0102", "hex"));
lyingBomb.writeUInt32LE(10, directory + 24);
const twice = renamed(await makeZip({ "dockerfiles/a": "1", "dockerfiles/b": "2" }), "dockerfiles/b", "dockerfiles/a");

const REFUSED: readonly (readonly [what: string, zip: Buffer, code: FaultCode, limits?: Partial<ZipLimits>])[] = [
  ["something that is no ZIP", Buffer.from("hello"), "PACKAGE_INVALID"],
  ["an empty body", Buffer.alloc(0), "PACKAGE_INVALID"],
  ["a truncated ZIP", plain.subarray(0, plain.length - 30), "PACKAGE_INVALID"],
  ["a ZIP that begins in its middle", plain.subarray(40), "PACKAGE_INVALID"],
  ["a ZIP with a flipped byte", damaged, "PACKAGE_INVALID"],
  ["a name with ..", renamed(plain, "dockerfiles/aa/b", "dockerfiles/../b"), "PACKAGE_INVALID"],
  ["a name with .", renamed(plain, "dockerfiles/aa/b", "dockerfiles/./bb"), "PACKAGE_INVALID"],
  ["an absolute name", renamed(plain, "dockerfiles/aa/b", "/ockerfiles/aa/b"), "PACKAGE_INVALID"],
  ["a name with a drive letter", renamed(plain, "dockerfiles/aa/b", "C:/kerfiles/aa/b"), "PACKAGE_INVALID"],
  ["a name with backslashes", renamed(plain, "dockerfiles/aa/b", "dockerfiles\\aa\\b"), "PACKAGE_INVALID"],
  ["a name with NUL", renamed(plain, "dockerfiles/aa/b", "dockerfiles/a\0/b"), "PACKAGE_INVALID"],
  ["a name with an empty part", renamed(plain, "dockerfiles/aa/b", "dockerfiles//a/b"), "PACKAGE_INVALID"],
  ["a name that no disk takes", await makeZip({ [`dockerfiles/${"a".repeat(300)}`]: "" }), "PACKAGE_INVALID"],
  ["a symbolic link", await makeZip({ "dockerfiles/link": "/etc/passwd" }, 0o120777), "PACKAGE_INVALID"],
  ["a device", await makeZip({ "dockerfiles/null": "" }, 0o020666), "PACKAGE_INVALID"],
  ["one name twice", twice, "PACKAGE_INVALID"],
  ["a file that is a folder too", await makeZip({ "dockerfiles/a": "1", "dockerfiles/a/b": "2" }), "PACKAGE_INVALID"],
  ["a file far down", await makeZip({ [`dockerfiles/${"a/".repeat(40)}b`]: "" }), "PACKAGE_INVALID"],
  [
    "a file that becomes a thousand times as large",
    await makeZip({ "dist/zeros": Buffer.alloc(20_000_000) }),
    "PACKAGE_TOO_LARGE",
    { inflatedBytes: 2 ** 30 },
  ],
  ["too many entries", plain, "PACKAGE_TOO_LARGE", { entries: 1 }],
  ["a bomb", bomb, "PACKAGE_TOO_LARGE"],
  ["a bomb that lies about its size", lyingBomb, "PACKAGE_INVALID"],
  [
    "too much in all, though nothing of it is wanted",
    await makeZip({ "dist/a": Buffer.alloc(600_000), "dist/b": Buffer.alloc(600_000) }),
    "PACKAGE_TOO_LARGE",
  ],
];

t.test("what could do harm is refused", async (t) => {
  for (const [what, zip, code, limits] of REFUSED) {
    await t.test(what, async (t) => {
      const { into, files } = unpack(t, zip, limits);
      await t.rejects(files, { code });
      t.same(readdirSync(join(into, "..")).toSorted(), ["into", "package.zip"], "nothing is written beside the folder");
    });
  }
});

t.test("it ends with the caller's own reason", async (t) => {
  const reason = new Error("gone");
  await t.rejects(unpack(t, plain, {}, AbortSignal.abort(reason)).files, reason);
});
