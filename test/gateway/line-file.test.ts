import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, renameSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { LineFile } from "../../gateway/line-file.ts";
import { systemClock } from "../../lib/clock.ts";
import { Count } from "../../lib/metrics/open-metrics.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

function openFile(t: Test, path: string, onError: (error: Error) => void = (error) => t.fail(error.message)) {
  const dropped = new Count();
  return { file: new LineFile({ path, dropped, clock: systemClock(), onError }), dropped };
}

/** Lines of different lengths, each with its number. */
const lineOf = (name: string, number: number) => `${name} ${number} ${"x".repeat((number * 37) % 700)}.\n`;

function append(file: LineFile, name: string, from: number, to: number): void {
  for (let number = from; number < to; number++) file.append(Buffer.from(lineOf(name, number)), lineOf(name, number).length);
}

t.test("a close writes all lines, whole and in order", async (t) => {
  const path = join(tempFolder(t), "log");
  const { file, dropped } = openFile(t, path);
  append(file, "a", 0, 5_000);
  await file.close();
  t.equal(readFileSync(path, "utf8"), Array.from({ length: 5_000 }, (_, number) => lineOf("a", number)).join(""));
  t.equal(dropped.value, 0);
});

t.test("a few lines are written without a close", async (t) => {
  const path = join(tempFolder(t), "log");
  const { file } = openFile(t, path);
  t.teardown(() => file.close());
  append(file, "a", 0, 3);
  await eventually("the lines", () => existsSync(path) && readFileSync(path, "utf8") === [0, 1, 2].map((number) => lineOf("a", number)).join(""));
});

t.test("a line that is longer than a write is whole", async (t) => {
  const path = join(tempFolder(t), "log");
  const { file } = openFile(t, path);
  const long = `${"y".repeat(200_000)}\n`;
  append(file, "a", 0, 1);
  file.append(Buffer.from(long), long.length);
  append(file, "a", 1, 2);
  await file.close();
  t.equal(readFileSync(path, "utf8"), lineOf("a", 0) + long + lineOf("a", 1));
});

t.test("a file that is moved again and again while lines come loses none", async (t) => {
  const path = join(tempFolder(t), "log");
  const { file } = openFile(t, path);
  const count = 20;
  const next = (round: number) => `${path}.${round}`;
  for (let round = 0; round < count; round++) {
    append(file, "a", round * 100, (round + 1) * 100);
    await eventually("the file", () => existsSync(path));
    renameSync(path, next(round));
    file.reopen();
  }
  await eventually("the last file", () => existsSync(path));
  await file.close();
  const all = [...Array.from({ length: count }, (_, round) => next(round)), path].map((name) => readFileSync(name, "utf8")).join("");
  const numbers = all
    .split("\n")
    .slice(0, -1)
    .map((line) => Number(line.split(" ")[1]));
  t.same(
    numbers.toSorted((a, b) => a - b),
    Array.from({ length: count * 100 }, (_, number) => number),
  );
});

t.test("two writers to a pipe do not mix their lines", async (t) => {
  const path = join(tempFolder(t), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const files = ["a", "b"].map((name) => ({ name, ...openFile(t, path) }));
  for (const { file, name } of files) append(file, name, 0, 1_000);
  const expected = files.flatMap(({ name }) => Array.from({ length: 1_000 }, (_, number) => lineOf(name, number))).join("").length;
  let text = "";
  const into = Buffer.alloc(65_536);
  await eventually("all bytes", () => {
    try {
      for (;;) text += into.toString("latin1", 0, readSync(reader, into));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    return text.length === expected;
  });
  for (const { name } of files) {
    const own = text.split("\n").filter((line) => line.startsWith(`${name} `));
    t.same(
      own,
      Array.from({ length: 1_000 }, (_, number) => lineOf(name, number).trimEnd()),
    );
  }
  await Promise.all(files.map(({ file }) => file.close()));
});

t.test("a full disk is reported, and lines beyond 4 MiB are dropped and counted", async (t) => {
  const errors: Error[] = [];
  const { file, dropped } = openFile(t, "/dev/full", (error) => errors.push(error));
  append(file, "a", 0, 20_000);
  await eventually("the error", () => errors.length > 0);
  t.match(errors[0], { code: "ENOSPC" });
  t.ok(dropped.value > 0 && dropped.value < 20_000);
  await file.close();
});

t.test("a folder that is missing is reported", async (t) => {
  const errors: Error[] = [];
  const { file } = openFile(t, join(tempFolder(t), "none", "log"), (error) => errors.push(error));
  await eventually("the error", () => errors.length > 0);
  t.match(errors[0], { code: "ENOENT" });
  await file.close();
});

t.test("while the disk is full, lines that come one by one take no more memory than they have bytes, and are written later", async (t) => {
  const path = join(tempFolder(t), "log");
  symlinkSync("/dev/full", path);
  const clock = createStillClock();
  let errors = 0;
  const file = new LineFile({ path, dropped: new Count(), clock, onError: () => errors++ });
  append(file, "a", 0, 1);
  await eventually("the failed write", () => {
    void clock.advance(250);
    return errors > 0;
  });
  const before = process.memoryUsage().arrayBuffers;
  for (let number = 1; number < 1_000; number++) {
    append(file, "a", number, number + 1);
    await clock.advance(250);
  }
  const taken = process.memoryUsage().arrayBuffers - before;
  t.ok(taken < 4e6, `${taken} bytes`);
  unlinkSync(path);
  file.reopen();
  const all = Array.from({ length: 1_000 }, (_, number) => lineOf("a", number)).join("");
  await eventually("the lines", () => {
    void clock.advance(1_000);
    return existsSync(path) && readFileSync(path, "utf8") === all;
  });
  append(file, "b", 0, 1);
  await eventually("a later line", () => {
    void clock.advance(250);
    return readFileSync(path, "utf8").endsWith(lineOf("b", 0));
  });
  const closing = file.close();
  await clock.advance(1_000);
  await closing;
});
