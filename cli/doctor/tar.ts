import { createReadStream, statSync } from "node:fs";

const BLOCK = 512;

/** A tar of these files, a piece at a time; `path` is where one lies in the archive, of at most 100 characters. POSIX.1-1988 ("ustar"). */
export async function* tarOf(files: readonly { path: string; from: string }[]): AsyncGenerator<Buffer> {
  for (const { path, from } of files) {
    const { size } = statSync(from);
    yield headOf(path.replace(/^\/+/, ""), size);
    for await (const piece of createReadStream(from, { end: Math.max(size - 1, 0) })) yield piece as Buffer;
    yield Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
  }
  yield Buffer.alloc(2 * BLOCK);
}

function headOf(name: string, size: number): Buffer {
  const head = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number) => head.write(`${value.toString(8).padStart(digits, "0")}\0`, at, "latin1");
  head.write(name, 0, 100);
  octal(0o755, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  head.write("        0", 148, "latin1");
  head.write("ustar\u000000", 257, "latin1");
  octal(
    head.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  return head;
}
