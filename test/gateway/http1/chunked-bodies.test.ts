import t from "tap";
import { MessageRefused, createHttp1, type MessageReader } from "../../../gateway/http1/message-reader.ts";

const http1 = createHttp1({ underscoreHeaders: "drop" });

/** The payload, the rest behind the body, and the status of a refusal. */
function read(
  text: string,
  size = text.length,
  reader: MessageReader<unknown> = http1.requests(),
): { body: string; rest?: string; refused?: number } {
  const bytes = Buffer.from(text, "latin1");
  let body = "";
  try {
    for (let from = 0; from < bytes.length; from += size) {
      const piece = bytes.subarray(from, from + size);
      const end = reader.readChunked(piece, 0, piece.length, (start, stop) => (body += piece.toString("latin1", start, stop)));
      if (end !== -1) return { body, rest: bytes.toString("latin1", from + end) };
    }
    return { body };
  } catch (error) {
    if (error instanceof MessageRefused) return { body, refused: error.status };
    throw error;
  }
}

t.test("a body ends where it ends, however it is cut", async (t) => {
  const text = '5\r\nhello\r\nA;x="y"\r\n0123\r\n\r\nab\r\n0\r\nX-Sum: 1\r\n\r\nGET /';
  for (let size = 1; size <= text.length; size++) {
    const { body, rest } = read(text, size);
    t.same([body, rest], ["hello0123\r\n\r\nab", "GET /"], `in pieces of ${size}`);
  }
});

t.test("bodies of many connections at the same time are kept apart, and larger ones than the parser's memory pass", async (t) => {
  const payloads = Array.from({ length: 40 }, (_, index) => String.fromCharCode(97 + (index % 26)).repeat(index === 7 ? 300_000 : index * 31 + 1));
  const readers = payloads.map(() => http1.responses());
  const bodies = payloads.map(() => "");
  const texts = payloads.map((payload) => Buffer.from(`${payload.length.toString(16)}\r\n${payload}\r\n0\r\n\r\n`));
  const ends = payloads.map(() => 0);
  for (let at = 0; ends.includes(0); at += 50_000) {
    for (const [index, text] of texts.entries()) {
      if (at >= text.length) continue;
      const piece = text.subarray(at, at + 50_000);
      const end = readers[index]?.readChunked(piece, 0, piece.length, (start, stop) => (bodies[index] += piece.toString("latin1", start, stop)));
      if (end !== undefined && end !== -1) ends[index] = at + end;
    }
  }
  t.same(
    bodies.map(({ length }) => length),
    payloads.map(({ length }) => length),
  );
  t.ok(bodies.every((body, index) => body === payloads[index]));
  t.same(
    ends,
    texts.map(({ length }) => length),
  );
});

t.test("what is between the bytes of a body is bounded", async (t) => {
  const extension = `1;${"a".repeat(10_000)}\r\nx\r\n`;
  t.equal(read(`${extension.repeat(5)}0\r\n\r\n`).body, "xxxxx", "each may have some");
  t.equal(read(`1;${"a".repeat(17_000)}\r\nx\r\n0\r\n\r\n`).refused, 431, "a long extension");
  t.equal(read(`0\r\n${"X: y\r\n".repeat(201)}\r\n`).refused, 431, "many trailers");
  t.equal(read(`0\r\nX: ${"y".repeat(17_000)}\r\n\r\n`, 1_000).refused, 431, "a long trailer");
  t.equal(read("0\r\nX: y", undefined).refused, undefined, "which waits for more");
});

t.test("trailers that would be more than trailers are refused", async (t) => {
  for (const name of [
    "Content-Length",
    "transfer-encoding",
    "Host",
    "Authorization",
    "Cookie",
    "x-user-api-key",
    "X_User_Api_Key",
    "X-Forwarded-For",
    "Connection",
    "TE",
  ])
    for (const size of [1, 1_000]) t.equal(read(`0\r\nX: y\r\n${name}: 1\r\n\r\n`, size).refused, 400, `${name} in pieces of ${size}`);
  t.equal(read("0\r\nX-Forwarded-For: a\r\nContent-MD5: x\r\n\r\n", 1_000, http1.responses()).refused, undefined, "a response may have more");
  for (const name of ["Set-Cookie", "Clear-Site-Data", "Service-Worker-Allowed", "NEL", "Strict-Transport-Security"])
    t.equal(read(`0\r\n${name}: a\r\n\r\n`, 1_000, http1.responses()).refused, 400, "but not what a container may not set for the whole origin");
  t.equal(read("0\r\nContent-Length: 5\r\n\r\n", 1_000, http1.responses()).refused, 400);
});

t.test("what refuses or closes in the middle leaves the next body alone", async (t) => {
  for (let round = 0; round < 1_000; round++) {
    const left = http1.requests();
    left.readChunked(Buffer.from("5\r\nhe"), 0, 5);
    left.close();
    if (read("5\r\nhello!").refused !== 400) t.fail("it is refused");
  }
  const thrown = new Error("thrown");
  t.throws(
    () =>
      http1.requests().readChunked(Buffer.from("1\r\nx\r\n"), 0, 6, () => {
        throw thrown;
      }),
    thrown,
  );
  t.same(read("1\r\nx\r\n0\r\n\r\n"), { body: "x", rest: "" });
});
