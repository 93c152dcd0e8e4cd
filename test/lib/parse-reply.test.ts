import t from "tap";
import { MOST_REPLY_VALUES, parseReply } from "../../lib/parse-reply.ts";

t.test("a reply is parsed as JSON, and is undefined where it is none", async (t) => {
  t.same(parseReply('{"a":["b",1]}'), { a: ["b", 1] });
  t.equal(parseReply("null"), null);
  t.equal(parseReply("<html>"), undefined);
  t.equal(parseReply(""), undefined);
});

t.test("a reply of too many values is not parsed; a long text is, whatever is in it", async (t) => {
  const list = (length: number) => JSON.stringify(Array.from({ length }, () => ["a"]));
  t.equal(parseReply(list(MOST_REPLY_VALUES / 2)), undefined);
  t.equal((parseReply(list(MOST_REPLY_VALUES / 2 - 1)) as unknown[]).length, MOST_REPLY_VALUES / 2 - 1);
  t.equal(parseReply("[".repeat(MOST_REPLY_VALUES + 1)), undefined);
  const text = '["\\"{[INFO]}",'.repeat(MOST_REPLY_VALUES);
  t.same(parseReply(JSON.stringify({ text })), { text });
  const numbers = Array.from({ length: 2 * MOST_REPLY_VALUES }, () => 1);
  t.same(parseReply(JSON.stringify(numbers)), numbers);
});
