import t from "tap";
import { readJsonLists } from "../../lib/json-lists.ts";

const LIMITS = { body: 100_000, entry: 200, entries: 100 };

/** In pieces of each of these sizes, in bytes. */
const readInPieces = (body: string, size: number, limits = LIMITS) => {
  const bytes = Buffer.from(body);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
  return readJsonLists(
    (async function* () {
      yield* pieces;
    })(),
    limits,
    { body: "import", shorten: "Leave out its log.", split: "Import it in parts." },
  );
};

const IMPORT = {
  dryRun: true,
  images: [{ id: "1", dockerfile: 'FROM a\n"]},{[\\' }, "text, with ] and }", 1, null, [[], [1, "\\"]], {}],
  more: { lists: [1, [2]], empty: [] },
  containers: [],
  adopt: false,
  näme: "ä\u{1F433}",
  last: [{ é: "\u2028" }],
};

t.test("lists are read as JSON has them, wherever the pieces of the body end", async (t) => {
  for (const body of [JSON.stringify(IMPORT), JSON.stringify(IMPORT, undefined, "\t"), ` ${JSON.stringify(IMPORT, undefined, 1)}\r\n`])
    for (const size of [1, 2, 3, 5, 7, 64, 100_000]) t.strictSame(await readInPieces(body, size), IMPORT, `${size} bytes at a time`);
  for (const body of ["[]", "1", '"a"', "null", "{}", "[[1],[2]]"]) t.ok(await readInPieces(body, 1).then(() => true), body);
});

t.test("what is not JSON is refused", async (t) => {
  const broken = [
    "",
    "{",
    '{"a":[}',
    '{"a":[1}',
    '{"a":[1,]}',
    '{"a":[,1]}',
    '{"a":[1,,2]}',
    '{"a":[1 2]}',
    '{"a":[1"b"]}',
    '{"a":["b]}',
    '{"a":[{]}',
  ];
  broken.push(
    '{"a":[{"b":1]}',
    '{"a":[1]]}',
    '{"a":[1]}}',
    '{"a":[tru]}',
    '{"a":[1] "b":2}',
    '{"a":[1],}',
    '{"a":["\n"]}',
    '{"a":[1',
    '{"a":[1],"b":',
    "]",
    "}}",
  );
  for (const body of broken)
    for (const size of [1, 100]) {
      t.throws(() => JSON.parse(body) as unknown, body);
      await t.rejects(readInPieces(body, size), { code: "REQUEST_INVALID", message: "The import is not JSON." }, body);
    }
});

t.test("it is bounded", async (t) => {
  const long = "x".repeat(300);
  await t.rejects(readInPieces(JSON.stringify({ a: [], b: ["short", long] }), 64), {
    code: "REQUEST_INVALID",
    message: /Entry 2 of list 2 .* 200 bytes/,
  });
  await t.rejects(readInPieces(JSON.stringify({ a: Array.from({ length: 101 }) }), 64), {
    code: "REQUEST_INVALID",
    message: /more than 100 entries/,
  });
  await t.rejects(readInPieces(JSON.stringify({ a: { b: "x".repeat(70_000) } }), 64), {
    code: "REQUEST_INVALID",
    message: /its lists and its settings/,
  });
  await t.rejects(readInPieces(`{"a":[${" ".repeat(100_000)}]}`, 64), { code: "BODY_TOO_LARGE", message: /Import it in parts/ });
});

t.test("other turns of the event loop come between, also where entries are of one byte", async (t) => {
  const body = JSON.stringify({ a: Array.from({ length: 100_000 }, () => 1) });
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  await readInPieces(body, body.length, { body: body.length, entry: 1, entries: 100_000 });
  isOver = true;
  t.ok(turns >= body.length / 20_000, `${turns} turns`);
});
