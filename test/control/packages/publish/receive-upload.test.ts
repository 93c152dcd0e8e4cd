import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import t from "tap";
import { receiveUpload } from "../../../../control/packages/publish/receive-upload.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";

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
