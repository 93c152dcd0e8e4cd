import t from "tap";
import { PlainChunks } from "../../../gateway/http1/plain-chunks.ts";
import { attackChunks } from "../../fuzz/attack-chunks.ts";

// `npm run fuzz -- heads` goes on from other seeds.
const CASES = 40_000;
const SEED = 1;

t.test("chunked bodies and their mutants are read as the parser would read them, however they are cut", async (t) => {
  const { cases, refused, failures } = attackChunks(SEED, CASES);
  t.same(failures, []);
  t.ok(refused > cases / 10 && refused < cases * 0.9, `${refused} of ${cases} are refused`);
});

t.test("plain chunks are read up to what is not plain, where another chunk begins", async (t) => {
  const rows: [body: string, read: number, over: boolean][] = [
    ["5\r\nhello\r\n0\r\n\r\nrest", 15, true],
    ["A\r\n0123456789\r\na\r\n0123456789\r\n", 30, false],
    ["5\r\nhel", 6, false],
    ["5\r\nhello\r\n5;a=b\r\nhello\r\n", 10, false],
    ["5\r\nhello\r\n05\r\nhello\r\n", 10, false],
    ["5\r\nhello\r\n0\r\nX: y\r\n\r\n", 10, false],
    ["5\r\nhello\r\n0\r\n", 10, false],
    ["5\r\nhello\r\n5\r", 10, false],
    ["123456789\r\nhello", 0, false],
    ["5\nhello\n", 0, false],
    ["\r\n", 0, false],
  ];
  for (const [body, read, over] of rows) {
    const chunks = new PlainChunks();
    const bytes = Buffer.from(body, "latin1");
    t.same([chunks.read(bytes, 0, bytes.length), chunks.over], [read, over], JSON.stringify(body));
  }
});
