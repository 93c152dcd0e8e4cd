import t from "tap";
import { createHttp1, type RequestHead } from "../../../gateway/http1/message-reader.ts";

const http1 = createHttp1({ underscoreHeaders: "drop" });
const NOTHING = { remove: [], add: [] };

const plain = (name: string) => `GET /${name} HTTP/1.1\r\nHost: ${name}\r\nX-Name: ${name}\r\nCookie: a=b\r\n\r\n`;
/** For the parser. */
const odd = (name: string) => `GET /${name} HTTP/1.1\r\nHost:${name}\r\nX_Name: gone\r\nX-Name:\t${name}\r\nCookie: a=b\r\n\r\n`;

function read(text: string): { head: RequestHead; memory: Buffer; reader: ReturnType<typeof http1.requests> } {
  const reader = http1.requests();
  const memory = Buffer.from(`before${text}behind`, "latin1");
  if (reader.readHead(memory, 6, memory.length) !== text.length + 6) throw new Error("the head is not complete");
  return { head: reader.head, memory, reader };
}

for (const [kind, textOf] of Object.entries({ plain, odd })) {
  t.test(`a kept head is valid after its memory was used for other bytes (${kind})`, async (t) => {
    const { head, memory, reader } = read(textOf("one"));
    head.keep();
    head.keep();
    memory.fill("\r\n");
    reader.dropHead();
    t.equal(head.target, "/one");
    t.equal(head.header("x-name"), "one");
    t.equal(head.text, textOf("one"));
    t.match(head.write("/", { remove: ["cookie"], add: [] }), /^GET \/ HTTP\/1\.1\r\nHost: ?one\r\nX-Name:\sone\r\n\r\n$/);
  });

  t.test(`a head that was not kept is not readable after its memory was used for other bytes (${kind})`, async (t) => {
    const { head, reader } = read(textOf("one"));
    reader.expireHead();
    t.throws(() => head.header("host"), /not kept/);
    t.throws(() => head.target, /not kept/);
    t.throws(() => head.keep(), /not kept/);
    t.equal(head.method, "GET", "but its plain fields are");
    t.equal(reader.head, head);
    const other = read(textOf("two"));
    other.reader.dropHead();
    t.throws(() => other.head.names(), /not kept/);
    t.throws(() => other.reader.head);
  });

  t.test(`many heads may be used in turn, although only the last one's lines are known (${kind})`, async (t) => {
    const heads = ["one", "two", "three", "four"].map((name) => ({ name, ...read((name === "three" ? odd : textOf)(name)) }));
    for (let round = 0; round < 3; round++)
      for (const { name, head } of heads) {
        t.same(head.names(), ["host", "x-name", "cookie"]);
        t.equal(head.header("x-name"), name);
        t.match(
          head.write("/x", { remove: ["cookie", "x-name"], add: [["A", name]] }),
          new RegExp(`^GET /x HTTP/1\\.1\\r\\nHost: ?${name}\\r\\nA: ${name}\\r\\n\\r\\n$`),
        );
        t.match(head.write("/x", NOTHING), /\r\nX-Name:\s\w+\r\nCookie: a=b\r\n\r\n$/, "removals are those of one call");
      }
  });
}

t.test("look-ups by bytes are those by text", async (t) => {
  const { head } = read("GET /a?b HTTP/1.1\r\nHost: h\r\nA:\t b \r\nx_y: z\r\nCookie: a\r\ncookie: b\r\nC:\r\nD: e\r\n\r\n");
  const { spans } = head;
  const valueOf = (name: string) => {
    const span = spans.headerSpan(name);
    return span && Buffer.from(span.bytes.subarray(span.start, span.end)).toString("latin1");
  };
  t.same(["host", "a", "c", "d"].map(valueOf), ["h", "b", "", "e"]);
  t.same(["cookie", "x_y", "b"].map(valueOf), [undefined, undefined, undefined], "repeated, ignored and absent ones have no single value");
  t.same(["cookie", "x_y", "b", "a"].map(spans.hasHeader.bind(spans)), [true, false, false, true]);
  const target = spans.targetSpan();
  t.equal(Buffer.from(target.bytes.subarray(target.start, target.end)).toString("latin1"), "/a?b");
});

t.test("a head is written at its place, and nothing beside it", async (t) => {
  const { head } = read(plain("one"));
  const edits = { remove: ["x-name"], add: [["X-New", "\xe9\t1"]] as const };
  const size = head.sizeToWrite("/target", edits, "Connection: Upgrade\r\n");
  const out = Buffer.alloc(size + 20, "-");
  const end = head.put(out, 10, "/target", edits, "Connection: Upgrade\r\n");
  t.ok(end <= size + 10);
  t.equal(
    out.toString("latin1"),
    "-".repeat(10) +
      "GET /target HTTP/1.1\r\nHost: one\r\nCookie: a=b\r\nX-New: \xe9\t1\r\nConnection: Upgrade\r\n\r\n" +
      "-".repeat(size + 20 - end),
  );
});

t.test("no character of an added line or target can end it", async (t) => {
  const { head } = read(plain("one"));
  for (let code = 0; code < 0x3000; code++) {
    const character = String.fromCharCode(code);
    const fits = (act: () => string): string | undefined => {
      try {
        return act();
      } catch {
        return undefined;
      }
    };
    const written = {
      value: fits(() => head.write("/", { remove: [], add: [["A", `b${character}c`]] })),
      name: fits(() => head.write("/", { remove: [], add: [[`A${character}b`, "c"]] })),
      target: fits(() => head.write(`/${character}`, NOTHING)),
    };
    const visible = code > 32 && code < 127;
    const may = {
      value: code === 9 || (code >= 32 && code !== 127 && code < 256),
      name: visible && /[^"(),/:;<=>?@[\\\]{}]/.test(character),
      target: visible,
    };
    for (const place of ["value", "name", "target"] as const) {
      const text = written[place];
      if ((text !== undefined) !== may[place]) t.fail(`${place} with ${code.toString(16)}`);
      if (text !== undefined && text.split(/[\r\n]+/).length !== (place === "target" ? 5 : 6))
        t.fail(`${place} with ${code.toString(16)} ends a line`);
    }
  }
  t.throws(() => head.write("/", { remove: [], add: [["", "a"]] }));
  t.equal(head.write("/", NOTHING), plain("one").replace("/one", "/"), "and what was refused leaves nothing behind");
});
